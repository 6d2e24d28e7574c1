"""Reads an atlas, in a notebook or a script.

atlas = zfnet.atlas.load("outputs/analysis/demo")
layer = atlas["conv5"]
layer.columns["auc"]                        # of all channels
layer.activations[:, 13]                    # of all sampled images
unit = layer[13]                            # a notebook shows it as images
unit.best, unit.feeds                       # docs/atlas.md lists the values
unit.projections, unit.image(0)             # uint8 (k, H, W, 3) and (H, W, 3)
"""

import operator
import re
from collections.abc import Iterator
from dataclasses import fields
from difflib import get_close_matches
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zfnet.atlas.files import FORMAT
from zfnet.atlas.reading_unit import Unit
from zfnet.deconv import random_subset
from zfnet.errors import InputError
from zfnet.io import read_back, read_json

REMEDY = "make the atlas again"
KEYS = ("name", "folder", "channels", "tile", "sprite", "controls", "dead", "saturated")
FOLDER = re.compile(r"layer_\d+")


def load(folder: str | PathLike[str], net: int = 1) -> "Atlas":
    """Opens the atlas of a network.

    Args:
        folder: of the pages.
        net: 1, or 2 for the second network of a comparison.

    Raises:
        InputError: there is no finished atlas, a file is damaged, or another version of the
            software wrote it.
    """
    folder = Path(folder)
    path = folder / f"net_{net}" / "overview.json"
    if not path.exists():
        if (path.parent / "progress").exists():
            raise InputError(f"{path.parent}: is not finished; continue it with resume=true")
        raise InputError(f"{path}: no such file; make it with analyze.py analysis=atlas")
    return Atlas(folder, path.parent, read_json(path, REMEDY, lambda value: _checked(path, value)))


class Atlas:
    """An atlas of one network; `load` makes it. `atlas["conv5"]` is a layer.

    Attributes:
        overview: the network, the data and the layers, as docs/atlas.md describes them.
    """

    def __init__(self, site: Path, folder: Path, overview: dict[str, Any]) -> None:
        self.overview = overview
        self._site, self._folder = site, folder
        self._read: dict[str, Layer] = {}

    @property
    def title(self) -> str:
        """What the network is called."""
        return str(self.overview["title"])

    @property
    def layers(self) -> list[str]:
        """The names of the layers, from the pixels up."""
        return [layer["name"] for layer in self.overview["layers"]]

    @property
    def classes(self) -> list[str]:
        """The classes of the data set; [] if it has none."""
        return list(self.overview["data"]["classes"])

    @cached_property
    def sampled(self) -> np.ndarray:
        """The images of the rows of `Layer.activations`: int64 (S,), indices in the split."""
        data = self.overview["data"]
        return random_subset(data["images"], data["sampled"]).numpy()

    @cached_property
    def comparison(self) -> dict[str, Any] | None:
        """The comparison of two networks, as docs/atlas.md describes it; None for one network."""
        path = self._site / "compare.json"
        return read_json(path, REMEDY, dict) if path.exists() else None

    def image(self, index: int) -> np.ndarray:
        """Reads a whole image that the atlas shows, as the network sees it.

        Args:
            index: in the split, such as `unit.top[0]["image"]`.

        Returns:
            uint8 (H, W, 3).
        """
        return _read_image(self._folder / "images" / f"{operator.index(index)}.webp")

    def __getitem__(self, name: str) -> "Layer":
        if name not in self.layers:
            near = get_close_matches(str(name), self.layers, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise InputError(
                f"layer {name!r} is not in the atlas: it has {', '.join(self.layers)}{hint}"
            )
        if name not in self._read:
            description = self.overview["layers"][self.layers.index(name)]
            self._read[name] = Layer(self, self._folder / description["folder"], description)
        return self._read[name]

    def __repr__(self) -> str:
        data = self.overview["data"]
        return (
            f"<atlas of {self.title!r}: {', '.join(self.layers)}; "
            f"{data['images']:,} images of {data['name']}>"
        )


class Layer:
    """A layer of an atlas. `layer[13]` is a unit, and iteration gives all units.

    Attributes:
        atlas: that it is part of.
        description: as docs/atlas.md describes it.
    """

    def __init__(self, atlas: Atlas, folder: Path, description: dict[str, Any]) -> None:
        self.atlas, self.description, self._folder = atlas, description, folder

    @property
    def name(self) -> str:
        """Its name in the network."""
        return str(self.description["name"])

    @cached_property
    def units(self) -> list[Unit]:
        """All units, by channel."""
        return read_json(self._folder / "layer.json", REMEDY, self._parse)

    @cached_property
    def activations(self) -> np.ndarray:
        """The largest activation of each channel in each sampled image, float32 (S, C).

        The file is memory-mapped.
        """
        shape = (self.atlas.overview["data"]["sampled"], len(self))

        def read(path: Path) -> np.ndarray:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            if (array.dtype, array.shape) != (np.float32, shape):
                raise ValueError(f"{array.dtype} {array.shape}, not float32 {shape}")
            return array

        return read_back(self._folder / "activations.npy", read, REMEDY)

    @cached_property
    def columns(self) -> dict[str, np.ndarray]:
        """One value for each of the C channels, for numpy, or for `pandas.DataFrame`.

        `largest`, `mean` and `deviation` are of the images' activations, `active` is the share of
        images that activate the channel, `dead` says that none does. `at_largest` is the number of
        images that reach the largest activation, and `saturated` says that these are more than the
        atlas shows. `best_class` is the index of
        the class that the channel prefers, -1 if there is none; `auc` and `z` say how clearly.
        `energy_on_object` is the share of the projections' energy on objects. What is unknown is
        NaN.
        """
        best = [unit.best or {"class": -1} for unit in self.units]
        numbers = {
            name: [getattr(unit, name) for unit in self.units]
            for name in ("largest", "at_largest", "mean", "deviation", "active", "energy_on_object")
        } | {name: [each.get(name) for each in best] for name in ("auc", "z")}
        columns = {name: np.array(values, np.float64) for name, values in numbers.items()}
        return columns | {
            "best_class": np.array([each["class"] for each in best], np.int64),
            "dead": columns["largest"] <= 0,
            "saturated": np.isin(np.arange(len(self)), self.description["saturated"]),
        }

    def tiles(self, file: str, rows: int, columns: int) -> np.ndarray:
        """Cuts a file of this layer into its tiles, uint8 (rows, columns, H, W, 3)."""
        height, width = self.description["tile"]
        if not rows * columns:
            return np.zeros((rows, columns, height, width, 3), np.uint8)
        path = self._folder / file
        sheet = _read_image(path)
        if sheet.shape != (rows * height, columns * width, 3):
            raise InputError(
                f"{path}: has {sheet.shape[0]} x {sheet.shape[1]} pixels, and "
                f"{rows * height} x {columns * width} are expected; {REMEDY}"
            )
        return sheet.reshape(rows, height, columns, width, 3).swapaxes(1, 2)

    def _parse(self, value: Any) -> list[Unit]:
        names = [each.name for each in fields(Unit) if each.name != "layer"]
        units = [Unit(self, **{name: each[name] for name in names}) for each in value["units"]]
        if [unit.channel for unit in units] != list(range(len(self))):
            raise ValueError(f"it has not the channels 0 to {len(self) - 1}")
        return units

    def __len__(self) -> int:
        return int(self.description["channels"])

    def __iter__(self) -> Iterator[Unit]:
        return iter(self.units)

    def __getitem__(self, channel: int) -> Unit:
        if not 0 <= operator.index(channel) < len(self):
            raise InputError(f"{self.name} has the channels 0 to {len(self) - 1}, not {channel}")
        return self.units[channel]

    def __repr__(self) -> str:
        dead = len(self.description["dead"])
        return f"<layer {self.name!r}: {len(self)} channels, {dead} dead>"


def _checked(path: Path, overview: Any) -> dict[str, Any]:
    """Checks what paths and shapes are made of."""
    if overview["version"] != FORMAT:
        raise InputError(
            f"{path}: is of version {overview['version']!r}, and this software reads version "
            f"{FORMAT}; make the atlas again"
        )
    known = [
        *((overview, key) for key in ("title", "data", "layers")),
        *((overview["data"], key) for key in ("name", "images", "sampled", "classes")),
        *((layer, key) for layer in overview["layers"] for key in KEYS),
    ]
    missing = [key for place, key in known if key not in place]
    if missing:
        raise ValueError(f"{missing[0]!r} is missing")
    for layer in overview["layers"]:
        if not FOLDER.fullmatch(layer["folder"]):
            raise ValueError(f"a layer's folder is {layer['folder']!r}")
    return dict(overview)


def _read_image(path: Path) -> np.ndarray:
    """Reads a WebP file, uint8 (H, W, 3)."""

    def read(file: Path) -> np.ndarray:
        with Image.open(file, formats=["webp"]) as image:
            return np.asarray(image.convert("RGB"))

    return read_back(path, read, REMEDY)
