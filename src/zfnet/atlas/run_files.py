"""What the folder of a training run tells about its network: the curves, and how features evolved.

    history(run)      # [{"epoch": 1, "train/loss": 2.3, ...}, ...]
    evolution(run)    # {1: {"conv1": Winners(...), ...}, ...}

Without a run, or without its files, both are empty.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from zfnet.analysis.evolution import Winners, read_evaluation
from zfnet.atlas.tiles import PIXELATED, patch_tiles, projection_tiles, sheet, webp
from zfnet.io import read_json, read_torch, save
from zfnet.viz import figure_epochs


def history(run: Path | None) -> list[dict[str, Any]]:
    """Returns the metrics of each epoch, of `history.json`."""
    path = None if run is None else run / "history.json"
    return read_json(path, "delete it to leave the curve out") if path and path.exists() else []


def training_curves(run: Path | None) -> dict[str, Any] | None:
    """Returns the epochs, and the values of each metric; None without `history.json`."""
    epochs = history(run)
    if not epochs:
        return None
    names = [name for name in epochs[-1] if name != "epoch"]
    curves = {name: [epoch.get(name) for epoch in epochs] for name in names}
    return {"epochs": [epoch["epoch"] for epoch in epochs], "curves": curves}


def evolution(run: Path | None) -> dict[int, dict[str, Winners]]:
    """Returns the strongest image of each channel by epoch and layer, of `evolution/epoch_*.pt`."""
    paths = [] if run is None else sorted((run / "evolution").glob("epoch_*.pt"))
    return {
        int(path.stem.removeprefix("epoch_")): read_torch(
            path, "delete it to leave its epoch out", read_evaluation, mapped=True
        )[1]
        for path in paths
    }


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
