"""Table 7 as curves: accuracy per class over the layers, a panel for each number of images.

lines = [Line("svm", [("conv1", 44.8, 0.7), ...], ours=True)]
draw_probe({"caltech101, 30": lines}, "layer_probe.png")
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zfnet.viz.figures import save_figure

ROW = 11  # points, of the numbers beneath the axis


@dataclass(frozen=True)
class Line:
    """A classifier by layer: (layer, accuracy in per cent, its deviation); NaN deviations are not
    drawn."""

    name: str
    points: Sequence[tuple[str, float, float]]
    ours: bool


def draw_probe(panels: Mapping[str, Sequence[Line]], path: str | Path) -> None:
    """Writes the figure: ours solid, with the numbers below, and the paper's dotted in the same
    color."""
    figure = Figure(figsize=(1.5 + 4.8 * len(panels), 4.2), layout="constrained")
    for axes, (title, lines) in zip(
        figure.subplots(1, len(panels), squeeze=False, sharey=True)[0], panels.items(), strict=True
    ):
        _panel(axes, lines)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_ylabel("accuracy per class (%)")
    save_figure(figure, path, dpi=130)


def _panel(axes: Axes, lines: Sequence[Line]) -> None:
    layers = list(dict.fromkeys(layer for line in lines if line.ours for layer, *_ in line.points))
    colors: dict[str, str] = {}
    for line in lines:
        if not line.points:
            continue
        color = colors.setdefault(line.name.split(",")[0], f"C{len(colors)}")
        x = [layers.index(layer) for layer, *_ in line.points]
        y = [accuracy for _, accuracy, _ in line.points]
        deviation = [std if std == std else 0 for *_, std in line.points]
        style = "-o" if line.ours else ":s"
        axes.errorbar(
            x, y, deviation, fmt=style, color=color, label=line.name, markersize=4, capsize=2
        )
        row = list(colors).index(line.name.split(",")[0])
        for place, accuracy in zip(x, y, strict=True) if line.ours else ():
            axes.annotate(
                f"{accuracy:.1f}",
                (place, 0),
                (0, -21 - ROW * row),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=8,
                color=color,
            )
    axes.set_xticks(range(len(layers)), layers, fontsize=8)
    axes.set_ylim(0, 100)
    axes.set_xlabel("layers kept, up to", labelpad=6 + ROW * len(colors))
    axes.margins(x=0.08)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
