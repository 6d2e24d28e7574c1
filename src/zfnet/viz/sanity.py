"""What stays of projections when something is changed: pictures above one another, and beside them the numbers.

save_png(sanity_sheet("conv5: what stays", ["map 3", "map 7"], patches, rows, located), "sanity.png")
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from zfnet.viz.figures import drawn
from zfnet.viz.grids import above, beside, bordered, centred, contrasted, fitted, framed, to_uint8, written

TILE = 112  # a picture's side; of few columns twice that
FEW = 4
MEASURES = (("tab:blue", "cosine, signed"), ("tab:orange", "rank correlation of |R|"))


@dataclass(frozen=True)
class Row:
    """A check: projections (columns, 3, h, w), and how similar all of its pictures are to the original's."""

    name: str
    pictures: Tensor
    similarity: tuple[float, float]  # cosine, rank correlation
    in_cascade: bool  # joined by a line


@dataclass(frozen=True)
class Located:
    """How often methods point at the object, and how much of their energy lies on it, in per cent."""

    title: str
    names: Sequence[str]
    pointing: Sequence[float]
    energy: Sequence[float]


def sanity_sheet(
    title: str, heads: Sequence[str], patches: Tensor, rows: Sequence[Row], located: Located | None
) -> Tensor:
    """Patches (columns, 3, h, w) in [0, 1] above their projections; the last row is chance → (H, W, 3) uint8."""
    side = max(TILE, min(2 * TILE, *patches.shape[-2:])) if len(heads) < FEW else TILE
    width = max(written(name).shape[1] for name in ("image", *(row.name for row in rows))) + 8
    blank = torch.full((1, width, 3), 255, dtype=torch.uint8)
    lines = [beside([blank, *(centred(written(head), width=side) for head in heads)], 4)]
    lines.append(_line("image", patches, side, width))
    lines += [_line(r.name, torch.stack([contrasted(one) for one in r.pictures]), side, width) for r in rows]
    sheet = above(lines, 4)
    figure = Figure(figsize=(6, sheet.shape[0] / 100), dpi=100, layout="constrained")
    panels = figure.subplots(1 if located is None else 2, 1, squeeze=False)[:, 0]
    _similarities(panels[0], rows)
    if located is not None:
        _bars(panels[1], located)
    body = beside([sheet, drawn(figure)], 20)
    return framed(above([written(title, 20, bold=True), body], 12), 12).contiguous()


def _line(name: str, pictures: Tensor, side: int, width: int) -> Tensor:
    tiles = [to_uint8(picture) for picture in fitted(pictures, side)]
    label = written(name)
    label = bordered(label, right=width - label.shape[1])
    return beside([centred(label, height=tiles[0].shape[0]), *tiles], 4)


def _similarities(axes: Axes, rows: Sequence[Row]) -> None:
    """A line over the cascade, dots for the others, dashes for chance."""
    cascade = sum(row.in_cascade for row in rows)
    for measure, (colour, words) in enumerate(MEASURES):
        values = [row.similarity[measure] for row in rows]
        axes.plot(range(cascade), values[:cascade], "-o", color=colour, label=words)
        axes.plot(range(cascade, len(rows)), values[cascade:], "o", color=colour)
        axes.axhline(values[-1], color=colour, linestyle="--", linewidth=1)
    axes.plot([], [], "--", color="grey", label=f"chance: {rows[-1].name}")
    axes.set(title="Similarity with the original", ylim=(min(0, *axes.get_ylim()), 1.04))
    axes.set_xticks(range(len(rows)), [row.name for row in rows], rotation=35, ha="right")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")


def _bars(axes: Axes, located: Located) -> None:
    every = ((located.pointing, "points at the object"), (located.energy, "energy on the object"))
    for offset, (values, words) in enumerate(every):
        bars = axes.bar([i + 0.4 * offset - 0.2 for i in range(len(values))], values, 0.38, label=words)
        axes.bar_label(bars, fmt="%.0f", fontsize=8)
    axes.set_xticks(range(len(located.names)), located.names)
    axes.set(title=located.title, ylabel="%", ylim=(0, 119))
    axes.legend(loc="upper center", ncols=2)
    axes.grid(alpha=0.3, axis="y")
