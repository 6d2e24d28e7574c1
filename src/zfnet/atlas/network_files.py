"""The files of one network in an atlas: tiles, values of the layers, and images.

files = NetworkFiles(folder / "net_1")
files.write_tiles(0, range(128), tiles)     # net_1/layer_0/unit_0.webp and so on
files.write_script("classes.js", classes)   # net_1/classes.js
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zfnet.atlas.files import write_json, write_script
from zfnet.atlas.records import LayerFindings, Records
from zfnet.atlas.run_files import draw_evolution
from zfnet.atlas.tiles import PIXELATED, image_tiles, sheet, webp
from zfnet.io import npy, save
from zfnet.model_on_data import ModelOnData

UNITS_FILE, TILES_FILE, TILES_ACROSS = 32, 64, 8  # channels in a file of the pages, and in a row
AT_ONCE = 8  # images


class NetworkFiles:
    """Writes the files of one network.

    Args:
        folder: where they are, in the folder of the pages.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def layer(self, number: int) -> Path:
        """Returns the folder of a layer, which exists."""
        folder = self.folder / f"layer_{number}"
        folder.mkdir(exist_ok=True)
        return folder

    def write_tiles(self, number: int, channels: range, tiles: Tensor) -> None:
        """Writes the tiles of some channels of a layer.

        Args:
            number: of the layer.
            channels: the first is a multiple of TILES_FILE.
            tiles: uint8 (channels, rows, columns, H, W, 3), see `zfnet.atlas.units.Shown`.
        """
        folder, lossless = self.layer(number), _keeps_pixels(tiles)
        for channel, each in zip(channels, tiles, strict=True):
            save(folder / f"unit_{channel}.webp", webp(sheet(each), lossless), durable=False)
        for start in range(0, len(channels), TILES_FILE):
            part = tiles[start : start + TILES_FILE, :2, 0]  # (N, 2, H, W, 3)
            rows = -(-len(part) // TILES_ACROSS)
            cells = torch.full((rows * TILES_ACROSS, *part.shape[1:]), 128, dtype=torch.uint8)
            cells[: len(part)] = part
            grid = cells.unflatten(0, (rows, TILES_ACROSS)).transpose(1, 2).flatten(0, 1)
            name = f"tiles_{(channels.start + start) // TILES_FILE}.webp"
            save(folder / name, webp(sheet(grid), lossless), durable=False)

    def write_layer(
        self, number: int, found: LayerFindings, records: Records, preview: Tensor
    ) -> None:
        """Writes the values of a layer, and its strip for the overview.

        Args:
            number: of the layer.
            found: what was measured.
            records: of its units.
            preview: a projection and a patch of N channels, uint8 (N, 2, H, W, 3).
        """
        folder = self.layer(number)
        units = [records.unit(channel) for channel in range(found.channels)]
        if found.winners:
            draw_evolution(folder, found.winners, units)
        write_json(folder / "layer.json", {"layer": found.name, "units": units})
        self.write_script(f"{folder.name}/summary.js", records.summary())
        for start in range(0, len(units), UNITS_FILE):
            part = {unit["channel"]: unit for unit in units[start : start + UNITS_FILE]}
            self.write_script(f"{folder.name}/units_{start // UNITS_FILE}.js", part)
        save(folder / "activations.npy", npy(found.statistics.values(found.name).numpy()))
        strip = preview.transpose(0, 1)  # (2, N, H, W, 3)
        save(folder / "preview.webp", webp(sheet(strip), _keeps_pixels(strip)), durable=False)

    def write_images(self, model: ModelOnData, indices: Sequence[int]) -> None:
        """Writes the images of a data set at these indices, as the network sees them."""
        folder = self.folder / "images"
        folder.mkdir(exist_ok=True)
        for start in range(0, len(indices), AT_ONCE):
            part = indices[start : start + AT_ONCE]
            pixels = image_tiles(model.shown(model.pixels(part)))
            for index, image in zip(part, pixels, strict=True):
                save(folder / f"{index}.webp", webp(image), durable=False)

    def write_script(self, name: str, value: Any) -> None:
        """Writes a script that hands a value to the pages.

        Args:
            name: its path in the folder of the network.
            value: as for `write_json`.
        """
        write_script(self.folder.parent, f"{self.folder.name}/{name}", value)


def _keeps_pixels(tiles: Tensor) -> bool:
    """Whether tiles (..., H, W, 3) are so small that they are stored without loss."""
    return max(tiles.shape[-3:-1]) <= PIXELATED
