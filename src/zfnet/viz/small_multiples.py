"""Learning curves of many runs as small multiples: one panel per table row, one line per seed.

    draw_multiples({"removed layer 7": [history, history]}, "curves.png")

A history is the content of a run's history.json.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from zfnet.viz.curves import COLORS
from zfnet.viz.figures import save_figure

COLUMNS, WIDE = 4, 34  # panels in a line, characters in a title's line
History = Sequence[Mapping[str, float]]


def draw_multiples(rows: Mapping[str, Sequence[History]], path: str | Path) -> None:
    """Draws the top-1 error over epochs, training and validation, with shared axes.

    Args:
        rows: the histories of the runs of each row, as in history.json.
        path: the PNG file.
    """
    columns = min(COLUMNS, len(rows))
    lines = -(-len(rows) // columns)
    figure = Figure(figsize=(2.9 * columns, 2.3 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(rows) :]:
        axes.set_visible(False)
    for axes, (name, histories) in zip(grid.flat, rows.items(), strict=False):
        _panel(axes, name, histories)
    for axes in grid[:, 0]:
        axes.set_ylabel("top-1 error (%)", fontsize=8)
    for axes in grid.flat[max(0, len(rows) - columns) : len(rows)]:
        axes.set_xlabel("epoch", fontsize=8)
        axes.tick_params(labelbottom=True)
    grid[0, 0].legend(fontsize=7.5, frameon=False)
    save_figure(figure, path, dpi=130)


def _panel(axes: Axes, name: str, histories: Sequence[History]) -> None:
    for split, color in COLORS.items():
        for number, history in enumerate(histories):
            points = [
                (e["epoch"], 100 * e[f"{split}/top1_error"])
                for e in history
                if f"{split}/top1_error" in e
            ]
            label = {"train": "training", "val": "validation"}[split] if number == 0 else None
            if points:
                axes.plot(*zip(*points, strict=True), color=color, linewidth=1.2, label=label)
    axes.set_title(_wrapped(name), fontsize=8, loc="left")
    axes.set_ylim(0, 100)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.tick_params(labelsize=7)


def _wrapped(name: str) -> str:
    """On at most two lines, the second cut off if it is too long."""
    if len(name) <= WIDE:
        return name
    middle = name.rfind(" ", 0, WIDE)
    rest = name[middle + 1 :]
    return f"{name[:middle]}\n{rest if len(rest) <= WIDE else rest[: WIDE - 1] + '…'}"
