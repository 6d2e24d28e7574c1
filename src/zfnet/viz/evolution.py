"""Figure 4 of the paper: the strongest activation of channels, epoch by epoch.

    sheet = evolution_sheet("conv3", [1, 2, 5], [12, 40], projections, patches, jumped)
    save_png(sheet, "fig4_conv3.png")

             epoch 1  epoch 2  epoch 5
    map 12      P        P       [P]
                I        I       [I]

The projection P is above its image patch I. A red frame, [ ], marks another image than at the epoch
before.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from zfnet.errors import InputError
from zfnet.viz.grid import (
    MARK,
    WHITE,
    add_border,
    add_frame,
    center,
    draw_text,
    hstack,
    stretch_contrast,
    vstack,
)
from zfnet.viz.page import (
    GAP,
    GRID_GAP,
    MARGIN,
    WIDTH,
    box,
    check_projections,
    gray_key,
    page,
    plain,
    shape,
    tile_side,
    words,
)

PAPER_EPOCHS = (1, 2, 5, 10, 20, 30, 40, 64)
COLUMNS = 10  # of a figure, at most
TALLEST = 1.5  # a sheet's height over its width, at most about
HEADER = 130  # the height of title, legend and margins, about
FRAME = 3


def figure_epochs(epochs: Sequence[int]) -> list[int]:
    """The epochs that a figure has room for: all, or the paper's and the last, or else evenly
    spaced ones.

    >>> figure_epochs(range(1, 13))
    [1, 2, 5, 10, 12]
    """
    if len(epochs) <= COLUMNS:
        return list(epochs)
    paper = [epoch for epoch in epochs if epoch in PAPER_EPOCHS or epoch == epochs[-1]]
    if len(paper) > 4:
        return paper
    return [epochs[round(i * (len(epochs) - 1) / (COLUMNS - 1))] for i in range(COLUMNS)]


def _jump_key() -> Tensor:
    """The frame in small before the first word that explains it."""
    word = draw_text("another")
    frame = add_frame(torch.full((8, 8, 3), 255, dtype=torch.uint8), FRAME, MARK)
    return hstack([center(frame, word.shape[0]), word], gap=4)


def _cell(projection: Tensor, patch: Tensor, marked: bool, side: int) -> Tensor:
    """A projection above its patch, in a frame that is white unless marked."""
    pair = vstack([box(stretch_contrast(projection), side), box(patch.clamp(0, 1), side)], GAP)
    return add_frame(pair, FRAME, MARK if marked else WHITE)


def _line(label: Tensor, boxes: Sequence[Tensor], label_width: int, column_width: int) -> Tensor:
    """The label and the boxes, each box in the middle of its column."""
    first = center(label, max(box.shape[0] for box in boxes))
    first = add_border(first, right=label_width - label.shape[1] + GRID_GAP - GAP)
    return hstack([first, *(center(box, width=column_width) for box in boxes)], GAP)


def _evolution_legend() -> list[Tensor]:
    above_text = (
        "above: the projection of the strongest activation, 0 is gray, "
        "each on its own symmetric scale, its strongest 1 % saturated;"
    )
    below_text = "below: the image patch that caused it;"
    jump_text = "image won than at the epoch before"
    return [gray_key(), *words(above_text), *words(below_text), _jump_key(), *words(jump_text)]


def _check_evolution(
    epochs: Sequence[int],
    channels: Sequence[int],
    projections: Tensor,
    patches: Tensor,
    jumped: Tensor,
) -> None:
    check_projections("evolution:", projections, patches, "(channels, epochs, C, h, w)")
    expected = (len(channels), len(epochs))
    if 0 in expected:
        raise InputError("an evolution sheet needs at least one channel and one epoch")
    if tuple(projections.shape[:2]) != expected:
        raise InputError(
            f"evolution: projections {shape(projections)} are not of {len(channels)} channels at "
            f"{len(epochs)} epochs"
        )
    if tuple(jumped.shape) != expected or jumped.dtype != torch.bool:
        raise InputError(
            f"evolution: jumped is {expected} of bool, not {shape(jumped)} of {jumped.dtype}"
        )


def evolution_sheet(
    title: str,
    epochs: Sequence[int],
    channels: Sequence[int],
    projections: Tensor,
    patches: Tensor,
    jumped: Tensor,
    width: int = WIDTH,
) -> Tensor:
    """Figure 4: a row per channel, a column per epoch. A single epoch is one row, with a column per
    channel.

    Args:
        title: of the sheet.
        epochs: E of them.
        channels: M of them.
        projections: signed, (M, E, C, h, w).
        patches: the image patches, (M, E, C, h, w) in [0, 1].
        jumped: bool (M, E), whether another image won than at the epoch before: a red frame.
        width: of the sheet, in pixels, at most about; the height is 1.5 times as much at most.

    Returns:
        (H, W, 3) uint8.

    Raises:
        InputError: there is no channel or epoch, shapes do not match, or a value is not finite.
    """
    _check_evolution(epochs, channels, projections, patches, jumped)
    projections, patches = plain(projections), plain(patches)
    names, headings = (
        [f"channel {channel}" for channel in channels],
        [f"epoch {epoch}" for epoch in epochs],
    )
    if len(epochs) == 1:
        projections, patches, jumped = (
            tensor.transpose(0, 1) for tensor in (projections, patches, jumped)
        )
        names, headings = headings, names
    labels, tops = [draw_text(name) for name in names], [draw_text(heading) for heading in headings]
    label_width = max(label.shape[1] for label in labels)
    room_across = (width - 2 * MARGIN - label_width - GRID_GAP) / len(tops) - 2 * FRAME - GAP
    room_down = ((TALLEST * width - HEADER) / len(labels) - 2 * FRAME - GRID_GAP - GAP) / 2
    side = tile_side(min(room_across, room_down), projections)

    cells = [
        [_cell(*cell, side) for cell in zip(*row, strict=True)]
        for row in zip(projections, patches, jumped.tolist(), strict=True)
    ]
    column_width = max(box.shape[1] for box in (cells[0][0], *tops))
    lines = [
        _line(label, boxes, label_width, column_width)
        for label, boxes in zip([draw_text(""), *labels], [tops, *cells], strict=True)
    ]
    return page(title, _evolution_legend(), vstack(lines, GRID_GAP))
