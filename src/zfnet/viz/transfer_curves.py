"""Figure 9: accuracy over training images per class, one panel per data set, with a shared scale.

panel = Panel("Caltech-256", ours={"scratch": [(15, 9.0, 1.4), ...]}, paper={})
draw_transfer([panel], "figure9.png")
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from zfnet.viz.figures import save_figure

# Images per class, accuracy in per cent, its deviation.
Points = Sequence[tuple[int, float, float | None]]

COLUMNS = 3
COLORS = {"pre-trained, frozen": "tab:blue", "from scratch": "tab:orange"}
GRAYS = ("0.35", "0.55")  # of other curves


@dataclass(frozen=True)
class Panel:
    """The curves of a data set by name: ours are solid, the paper's dotted."""

    title: str
    ours: Mapping[str, Points] = field(default_factory=dict)
    paper: Mapping[str, Points] = field(default_factory=dict)


def draw_transfer(panels: Sequence[Panel], path: str | Path) -> None:
    """Draws the figure.

    Args:
        panels: one per data set.
        path: the PNG file.
    """
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.6 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _panel(axes, panel)
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy per class (%)")
    save_figure(figure, path, dpi=130)


def _panel(axes: Axes, panel: Panel) -> None:
    grays = iter(GRAYS * 10)
    for name, points in panel.paper.items():
        label = f"{name}, paper" if name in COLORS else name
        _curve(axes, points, COLORS.get(name) or next(grays), ":", label)
    for name, points in panel.ours.items():
        _curve(axes, points, COLORS.get(name) or next(grays), "-", name)
    axes.set_title(panel.title, fontsize=10, loc="left")
    axes.set(xlabel="training images per class", xlim=(0, None), ylim=(0, 100))
    axes.set_xticks(
        sorted(
            {
                k
                for curves in (panel.ours, panel.paper)
                for each in curves.values()
                for k, *_ in each
            }
        )
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(fontsize=7.5, frameon=False, loc="best")


def _curve(axes: Axes, points: Points, color: str, style: str, label: str) -> None:
    ks, means, deviations = zip(*points, strict=True)
    spread = [each or 0 for each in deviations]
    axes.errorbar(
        ks,
        means,
        spread,
        color=color,
        linestyle=style,
        marker="o",
        markersize=3.5,
        capsize=2,
        linewidth=1.4,
        label=label,
    )
