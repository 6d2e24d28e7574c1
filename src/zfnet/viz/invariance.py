"""Figure 5 of the paper: a row per transformation, with images, distances and a probability.

titles = ["2 of 32 images", "conv1", "fc7", "P(class)"]
draw_invariance([Row(...)], ["parrot", "dog"], titles, "invariance.png")
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from zfnet.viz.figures import save_figure, tick_label
from zfnet.viz.grid import to_rgb


@dataclass(frozen=True)
class Row:
    """One transformation of N images.

    Attributes:
        label: of the axis.
        amounts: of the transformation.
        examples: (shown, columns, C, H, W) in [0, 1], the first images.
        ticks: one for each column of the examples.
        low, high: the distances of the two layers, (amounts, N).
        scores: the probability of the class, or another score, (amounts, N).
        are_probabilities: whether the scores are probabilities.
    """

    label: str
    amounts: Sequence[float]
    examples: Tensor
    ticks: Sequence[str]
    low: Tensor
    high: Tensor
    scores: Tensor
    are_probabilities: bool = True


def draw_invariance(
    rows: Sequence[Row], names: Sequence[str], titles: Sequence[str], path: str | Path
) -> None:
    """Writes the figure; `names` are the classes of the images shown, `titles` those of the four
    columns."""
    figure = Figure(figsize=(15, 11 / 3 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 4, squeeze=False, width_ratios=[1, 1.25, 1.25, 1.25])
    for panels, row in zip(grid, rows, strict=True):
        _examples(panels[0], row, names)
        curves = ((row.low, "Euclidean distance"), (row.high, "Euclidean distance"))
        scores = (row.scores, "probability" if row.are_probabilities else "score")
        for axes, (values, label) in zip(panels[1:], (*curves, scores), strict=True):
            _curves(axes, row, values, label)
        if row.are_probabilities:
            panels[3].set_ylim(-0.02, 1.02)
        else:
            panels[3].autoscale(axis="y")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    save_figure(figure, path, dpi=110)


def _curves(axes: Axes, row: Row, values: Tensor, label: str) -> None:
    """values (amounts, N): the shown images in the colors of their names, the mean of all in
    black."""
    count = values.shape[1]
    for n in range(len(row.examples)):
        axes.plot(row.amounts, values[:, n].tolist(), color=f"C{n}", linewidth=1.2)
    mean = values.mean(1).tolist()
    axes.plot(row.amounts, mean, color="black", linewidth=2.5, label=f"mean of {count}")
    axes.set(xlabel=row.label, ylabel=label, ylim=(0, None))
    axes.margins(x=0.01)
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)


def _examples(axes: Axes, row: Row, names: Sequence[str]) -> None:
    """A row for each image, a column for each tick."""
    shown, columns, _, height, width = row.examples.shape
    gap = max(2, min(height, width) // 28)
    down, right = height + gap, width + gap
    sheet = torch.ones(shown * down - gap, columns * right - gap, 3)
    for n, line in enumerate(to_rgb(row.examples)):
        for column, image in enumerate(line):
            y, x = n * down, column * right
            sheet[y : y + height, x : x + width] = image.permute(1, 2, 0)
    axes.imshow(sheet.numpy())
    axes.set_xticks([column * right + width / 2 for column in range(columns)], row.ticks)
    labels = [tick_label(name) for name in names[:shown]]
    axes.set_yticks([n * down + height / 2 for n in range(shown)], labels, fontsize=9)
    for n, tick in enumerate(axes.get_yticklabels()):
        tick.set_color(f"C{n}")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
