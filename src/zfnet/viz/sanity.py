"""Sanity checks: projections after each change, and their similarity to the original.

sheet = sanity_sheet("conv5: what stays", ["channel 3", "channel 7"], patches, rows, located)
save_png(sheet, "sanity.png")
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from zfnet.viz.figures import draw
from zfnet.viz.grid import (
    add_border,
    add_frame,
    center,
    draw_text,
    fit,
    flow,
    hstack,
    stretch_contrast,
    tile,
    to_uint8,
    vstack,
)
from zfnet.viz.page import words

PANEL = 228  # a panel's side; of few columns twice that
FEW = 4
CASCADE = 9  # rows of the cascade that are shown, if it is longer
MEASURES = (("tab:blue", "cosine, signed"), ("tab:orange", "rank correlation of |R|"))


@dataclass(frozen=True)
class Row:
    """A check: a panel of projections for each column, and their similarity to the original
    ones."""

    name: str
    projections: Sequence[Tensor]
    similarity: tuple[float, float]  # cosine, rank correlation
    in_cascade: bool  # joined by a line


@dataclass(frozen=True)
class Located:
    """How often each method points at the object, and how much of its energy is on it, in
    percent."""

    title: str
    names: Sequence[str]
    pointing: Sequence[float]
    energy: Sequence[float]


def sanity_sheet(
    title: str,
    heads: Sequence[str],
    patches: Sequence[Tensor],
    rows: Sequence[Row],
    located: Located | None,
    note: str = "",
) -> Tensor:
    """Patches in [0, 1] above their projections → (H, W, 3) uint8; the last row is chance.

    Of a long cascade some rows are shown, evenly spread. The curves have all of them.
    """
    shown = _shown(rows)
    side = PANEL if len(heads) >= FEW else 2 * PANEL
    width = max(draw_text(name).shape[1] for name in ("image", *(row.name for row in rows))) + 8
    panels = [_panel(each, side) for each in patches]
    columns = max(panel.shape[1] for panel in panels)
    blank = torch.full((1, width, 3), 255, dtype=torch.uint8)
    lines = [hstack([blank, *(center(draw_text(head), width=columns) for head in heads)], 6)]
    lines.append(_line("image", panels, width, columns))
    for row in (rows[i] for i in shown):
        cells = [_panel(each + 0.5, side, as_projections=True) for each in row.projections]
        lines.append(_line(row.name, cells, width, columns))
    sheet = vstack(lines, 6)
    figure = Figure(figsize=(6, min(sheet.shape[0] / 100, 12)), dpi=100, layout="constrained")
    axes = figure.subplots(1 if located is None else 2, 1, squeeze=False)[:, 0]
    _similarities(axes[0], rows, shown)
    if located is not None:
        _bars(axes[1], located)
    body = hstack([sheet, draw(figure)], 20)
    notes = [flow(words(note), body.shape[1], gap=4)] if note else []
    return add_frame(vstack([draw_text(title, 20, bold=True), *notes, body], 12), 12).contiguous()


def _shown(rows: Sequence[Row]) -> list[int]:
    """Returns the numbers of the rows that are shown: all but a part of a long cascade."""
    cascade = [i for i, row in enumerate(rows) if row.in_cascade]
    if len(cascade) > CASCADE:
        cascade = [cascade[i * (len(cascade) - 1) // (CASCADE - 1)] for i in range(CASCADE)]
    return sorted({*cascade, *(i for i, row in enumerate(rows) if not row.in_cascade)})


def _panel(projections: Tensor, side: int, as_projections: bool = False) -> Tensor:
    """(k, C, h, w) around 0.5 → their box, about `side` pixels wide; each projection is on its own
    scale."""
    across = math.ceil(math.sqrt(len(projections)))
    projections = fit(projections, side // across)
    if as_projections:
        projections = torch.stack(
            [stretch_contrast(projection - 0.5) for projection in projections]
        )
    return to_uint8(tile(projections))


def _line(name: str, panels: Sequence[Tensor], width: int, columns: int) -> Tensor:
    label = draw_text(name)
    label = add_border(label, right=width - label.shape[1])
    cells = [center(panel, width=columns) for panel in panels]
    return hstack([center(label, height=max(panel.shape[0] for panel in panels)), *cells], 6)


def _similarities(axes: Axes, rows: Sequence[Row], named: Sequence[int]) -> None:
    """A line over the cascade, dots for the others, dashes for chance; ticks for the rows shown."""
    cascade = sum(row.in_cascade for row in rows)
    width = sum(rows[i].in_cascade for i in named) - 1  # a long cascade takes the room of its ticks
    others = range(width + 1, width + 1 + len(rows) - cascade)
    places = [i * width / max(cascade - 1, 1) for i in range(cascade)] + list(others)
    for measure, (color, label) in enumerate(MEASURES):
        values = [row.similarity[measure] for row in rows]
        axes.plot(places[:cascade], values[:cascade], "-o", color=color, label=label)
        axes.plot(places[cascade:], values[cascade:], "o", color=color)
        axes.axhline(values[-1], color=color, linestyle="--", linewidth=1)
    axes.plot([], [], "--", color="gray", label=f"chance: {rows[-1].name}")
    axes.set(title="Similarity with the original", ylim=(min(0, *axes.get_ylim()), 1.04))
    axes.set_xticks(
        [places[i] for i in named], [rows[i].name for i in named], rotation=35, ha="right"
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="best")


def _bars(axes: Axes, located: Located) -> None:
    every = ((located.pointing, "points at the object"), (located.energy, "energy on the object"))
    for offset, (values, label) in enumerate(every):
        bars = axes.bar(
            [i + 0.4 * offset - 0.2 for i in range(len(values))], values, 0.38, label=label
        )
        axes.bar_label(bars, fmt="%.0f", fontsize=8)
    axes.set_xticks(range(len(located.names)), located.names, rotation=35, ha="right")
    axes.set(title=located.title, ylabel="%", ylim=(0, 119))
    axes.legend(loc="upper center", ncols=2)
    axes.grid(alpha=0.3, axis="y")
