"""Figure 7 of the paper: a row a picture, five panels each.

draw_occlusion([Row(...)], "occlusion.png")
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from zfnet.viz.figures import save_figure
from zfnet.viz.grid import stretch_contrast, tile

TITLES = (
    "(a) input, and the occluder",
    "(b) strongest map: summed activity",
    "(c) its projections; first: this picture",
    "(d) probability of the class",
    "(e) most probable class",
)
NAMED = 6  # classes in a legend


@dataclass(frozen=True)
class Row:
    """One picture: pixels (3, H, W) in [0, 1], the occluder in their corner; activity, probability and best
    (ny, nx) over the centres' rows and columns; projections (k, 3, h, w), the picture's own first, None without a
    deconvnet; names of the class asked for and of all."""

    pixels: Tensor
    size: int
    rows: Tensor
    columns: Tensor
    activity: Tensor
    probability: Tensor
    best: Tensor
    projections: Tensor | None
    channel: int
    target: str
    classes: Sequence[str]


def draw_occlusion(rows: Sequence[Row], path: str | Path) -> None:
    """Writes the figure; maps stand at the occluder's centre, in pixels of the picture."""
    figure = Figure(figsize=(17, 3.5 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 5, squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        height, width = row.pixels.shape[1:]
        step = [float(at[1] - at[0]) / 2 if len(at) > 1 else row.size / 2 for at in (row.columns, row.rows)]
        edges = [float(at[i]) for at in (row.columns, row.rows) for i in (0, -1)]
        extent = (edges[0] - step[0], edges[1] + step[0], edges[3] + step[1], edges[2] - step[1])
        axes[0].imshow(row.pixels.permute(1, 2, 0).clamp(0, 1).numpy())
        axes[0].set_xlabel(row.target)
        for panel, values, top in ((axes[1], row.activity, None), (axes[3], row.probability, 1.0)):
            shown = panel.imshow(values.numpy(), extent=extent, cmap="jet", vmin=0, vmax=top)
            figure.colorbar(shown, ax=panel, fraction=0.045)
        axes[1].set_xlabel(f"map {row.channel}")
        if row.projections is None:
            axes[2].text(0.5, 0.5, "no deconvnet", ha="center", va="center")
        else:
            projections = torch.stack([stretch_contrast(one) for one in row.projections])
            axes[2].imshow(tile(projections, gap=2).permute(1, 2, 0).numpy())
        _classes(axes[4], row, extent)
        for number, panel in enumerate(axes):
            panel.set_xticks([])
            panel.set_yticks([])
            if number in (1, 3, 4):
                panel.set(xlim=(0, width), ylim=(height, 0))
    for panel, title in zip(grid[0], TITLES, strict=True):
        panel.set_title(title, fontsize=10)
    save_figure(figure, path, dpi=100)


def _classes(panel: Axes, row: Row, extent: tuple[float, float, float, float]) -> None:
    """The most probable class by colour; the legend names those that win most places."""
    found, places, counts = np.unique(row.best.numpy(), return_inverse=True, return_counts=True)
    order = counts.argsort()[::-1]
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    shown = np.minimum(rank[places.reshape(row.best.shape)], NAMED)  # all others share a colour
    colours = [colormaps["tab10"](i) for i in range(NAMED)] + [(0.8, 0.8, 0.8, 1.0)]
    panel.imshow(
        shown,
        extent=extent,
        cmap=ListedColormap(colours),
        vmin=-0.5,
        vmax=NAMED + 0.5,
        interpolation="nearest",
    )
    labels = [(colours[i], row.classes[found[order[i]]]) for i in range(min(NAMED, len(order)))]
    if len(order) > NAMED:
        labels.append((colours[NAMED], f"{len(order) - NAMED} others"))
    handles = [Patch(color=colour, label=label) for colour, label in labels]
    panel.legend(handles=handles, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2)
