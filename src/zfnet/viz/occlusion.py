"""Figure 7 of the paper: a row of five panels per image.

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
from zfnet.viz.grid import stretch_contrast, tile, to_rgb

TITLES = (
    "(a) input, and the occluder",
    "(b) strongest channel: summed activity",
    "(c) its projections; first: this image",
    "(d) probability of the class",
    "(e) most probable class",
)
NAMED = 6  # classes in a legend


@dataclass(frozen=True)
class Row:
    """One image.

    Attributes:
        pixels: (C, H, W) in [0, 1], with the occluder in the corner.
        size: of the occluder, in pixels.
        rows, columns: its centers, (ny,) and (nx,), in pixels.
        activity: of the strongest channel, (ny, nx).
        score: the probability of the class, or another score, (ny, nx).
        best: the most probable class, (ny, nx); None for a score without classes.
        projections: (k, C, h, w), the image's own first; None without a deconvnet.
        channel: the strongest one.
        target: the name of the class or score.
        classes: the names of all classes.
    """

    pixels: Tensor
    size: int
    rows: Tensor
    columns: Tensor
    activity: Tensor
    score: Tensor
    best: Tensor | None
    projections: Tensor | None
    channel: int
    target: str
    classes: Sequence[str]


def draw_occlusion(rows: Sequence[Row], path: str | Path, note: str = "") -> None:
    """Writes the figure. The maps are in pixels of the image; a value is at the center of the
    occluder."""
    figure = Figure(figsize=(17, 3.5 * len(rows)), layout="constrained")
    figure.supxlabel(note, fontsize="medium")
    grid = figure.subplots(len(rows), 5, squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        height, width = row.pixels.shape[1:]
        step = [
            float(at[1] - at[0]) / 2 if len(at) > 1 else row.size / 2
            for at in (row.columns, row.rows)
        ]
        edges = [float(at[i]) for at in (row.columns, row.rows) for i in (0, -1)]
        extent = (edges[0] - step[0], edges[1] + step[0], edges[3] + step[1], edges[2] - step[1])
        axes[0].imshow(to_rgb(row.pixels).permute(1, 2, 0).clamp(0, 1).numpy())
        axes[0].set_xlabel(row.target)
        limits = (None, None) if row.best is None else (0, 1)
        for panel, values, (low, high) in (
            (axes[1], row.activity, (0, None)),
            (axes[3], row.score, limits),
        ):
            shown = panel.imshow(values.numpy(), extent=extent, cmap="jet", vmin=low, vmax=high)
            figure.colorbar(shown, ax=panel, fraction=0.045)
        axes[1].set_xlabel(f"channel {row.channel}")
        if row.projections is None:
            axes[2].text(0.5, 0.5, "no deconvnet", ha="center", va="center")
        else:
            projections = torch.stack([stretch_contrast(one) for one in row.projections])
            axes[2].imshow(to_rgb(tile(projections, gap=2)).permute(1, 2, 0).numpy())
        if row.best is None:
            axes[4].axis("off")
        else:
            _classes(axes[4], row, row.best, extent)
        for number, panel in enumerate(axes):
            panel.set_xticks([])
            panel.set_yticks([])
            if number in (1, 3, 4):
                panel.set(xlim=(0, width), ylim=(height, 0))
    titles = TITLES if rows[0].best is not None else [*TITLES[:3], "(d) score", ""]
    for panel, title in zip(grid[0], titles, strict=True):
        panel.set_title(title, fontsize=10)
    save_figure(figure, path, dpi=100)


def _classes(
    panel: Axes, row: Row, best: Tensor, extent: tuple[float, float, float, float]
) -> None:
    """The most probable class by color; the legend names the most frequent ones."""
    found, places, counts = np.unique(best.numpy(), return_inverse=True, return_counts=True)
    order = counts.argsort()[::-1]
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    shown = np.minimum(rank[places.reshape(best.shape)], NAMED)  # all others share a color
    colors = [colormaps["tab10"](i) for i in range(NAMED)] + [(0.8, 0.8, 0.8, 1.0)]
    panel.imshow(
        shown,
        extent=extent,
        cmap=ListedColormap(colors),
        vmin=-0.5,
        vmax=NAMED + 0.5,
        interpolation="nearest",
    )
    labels = [(colors[i], row.classes[found[order[i]]]) for i in range(min(NAMED, len(order)))]
    if len(order) > NAMED:
        labels.append((colors[NAMED], f"{len(order) - NAMED} others"))
    handles = [Patch(color=color, label=label) for color, label in labels]
    panel.legend(
        handles=handles, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2
    )
