"""What the folder of a training run tells about its network: the curves, and how features evolved.

run = RunFiles(folder, epochs=5)    # of a checkpoint after five epochs
run.history()      # [{"epoch": 1, "train/loss": 2.3, ...}, ...]
run.evolution()    # {1: {"conv1": Winners(...), ...}, ...}
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zfnet.analysis.evolution import Winners, read_evaluation
from zfnet.atlas.tiles import PIXELATED, patch_tiles, projection_tiles, sheet, webp
from zfnet.io import read_json, read_torch, save
from zfnet.viz import figure_epochs


@dataclass(frozen=True)
class RunFiles:
    """The files of a run. Without a run, or without its files, nothing is known.

    Attributes:
        folder: of the run, if there is one.
        epochs: the last epoch that is read; None for all.
    """

    folder: Path | None
    epochs: int | None = None

    def history(self) -> list[dict[str, Any]]:
        """Returns the metrics of each epoch, of `history.json`."""
        path = None if self.folder is None else self.folder / "history.json"
        if path is None or not path.exists():
            return []
        epochs: list[dict[str, Any]] = read_json(path, "delete it to leave the curve out")
        return [each for each in epochs if self._is_seen(each["epoch"])]

    def curves(self) -> dict[str, Any] | None:
        """Returns the epochs, and the values of each metric; None without `history.json`."""
        epochs = self.history()
        if not epochs:
            return None
        names = [name for name in epochs[-1] if name != "epoch"]
        curves = {name: [epoch.get(name) for epoch in epochs] for name in names}
        return {"epochs": [epoch["epoch"] for epoch in epochs], "curves": curves}

    def evolution(self) -> dict[int, dict[str, Winners]]:
        """Returns the strongest image of each channel by epoch and layer.

        They are those of `evolution/epoch_*.pt`.
        """
        paths = [] if self.folder is None else (self.folder / "evolution").glob("epoch_*.pt")
        files = {int(path.stem.removeprefix("epoch_")): path for path in paths}
        remedy = "delete it to leave its epoch out"
        return {
            epoch: read_torch(files[epoch], remedy, read_evaluation, mapped=True)[1]
            for epoch in sorted(files)
            if self._is_seen(epoch)
        }

    def _is_seen(self, epoch: int) -> bool:
        return self.epochs is None or epoch <= self.epochs


def draw_evolution(
    folder: Path, winners: Mapping[int, Winners], units: Sequence[dict[str, Any]]
) -> None:
    """Writes `evolution_<channel>.webp` for the channels that the run has drawn.

    A row of projections and a row of patches, for up to nine epochs. The unit's record gets
    "drawn" and "shown", the places of these epochs in its list.

    Args:
        folder: of the layer.
        winners: the strongest images by epoch.
        units: the records of all channels.
    """
    epochs, first = list(winners), next(iter(winners.values()))
    shown = [epochs.index(epoch) for epoch in figure_epochs(epochs)]
    chosen = [winners[epochs[place]] for place in shown]
    if any(each.channels.tolist() != first.channels.tolist() for each in chosen):
        return  # the run drew other channels after a change of its settings
    for row, channel in enumerate(first.channels.tolist()):
        tiles = torch.stack(
            [
                projection_tiles(torch.stack([each.projections[row, 0] for each in chosen])),
                patch_tiles(torch.stack([each.patches[row, 0] for each in chosen]).float() / 255),
            ]
        )
        lossless = max(tiles.shape[2:4]) <= PIXELATED
        save(folder / f"evolution_{channel}.webp", webp(sheet(tiles), lossless), durable=False)
        units[channel]["evolution"] |= {"drawn": True, "shown": shown}
