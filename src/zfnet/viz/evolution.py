"""Figure 4 of the paper: what excites feature maps most, epoch by epoch.

save_png(evolution_sheet("conv3", [1, 2, 5], [12, 40], pictures, patches, jumped), "fig4_conv3.png")

             epoch 1  epoch 2  epoch 5        P, the projection, stands above its image patch I;
    map 12      P        P       [P]          a red frame marks another image than at the epoch before.
                I        I       [I]
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from zfnet.errors import InputError
from zfnet.viz.grid import WHITE, add_border, add_frame, center, draw_text, hstack, stretch_contrast, vstack
from zfnet.viz.page import (
    GAP,
    GRID_GAP,
    MARGIN,
    WIDTH,
    box,
    check_pictures,
    grey_key,
    page,
    plain,
    shape,
    tile_side,
    words,
)

TALLEST = 1.5  # a sheet's height over its width, at most about
HEADER = 130  # the height of title, legend and margins, about
FRAME, FRAME_COLOUR = 3, (214, 39, 40)


def _jump_key() -> Tensor:
    """The frame in small before the first word that explains it."""
    word = draw_text("another")
    frame = add_frame(torch.full((8, 8, 3), 255, dtype=torch.uint8), FRAME, FRAME_COLOUR)
    return hstack([center(frame, word.shape[0]), word], gap=4)


def _cell(picture: Tensor, patch: Tensor, marked: bool, side: int) -> Tensor:
    """A projection above its patch, and the room of a frame around, which is white unless marked."""
    pair = vstack([box(stretch_contrast(picture), side), box(patch.clamp(0, 1), side)], GAP)
    return add_frame(pair, FRAME, FRAME_COLOUR if marked else WHITE)


def _line(label: Tensor, boxes: Sequence[Tensor], label_width: int, column_width: int) -> Tensor:
    """The label, half-way down, and the boxes, each in the middle of its column."""
    first = center(label, max(box.shape[0] for box in boxes))
    first = add_border(first, right=label_width - label.shape[1] + GRID_GAP - GAP)
    return hstack([first, *(center(box, width=column_width) for box in boxes)], GAP)


def _evolution_legend() -> list[Tensor]:
    above_text = (
        "above: the projection of the strongest activation, 0 is grey, "
        "each on its own symmetric scale, its strongest 1 % saturated;"
    )
    below_text = "below: the image patch that caused it;"
    jump_text = "image won than at the epoch before"
    return [grey_key(), *words(above_text), *words(below_text), _jump_key(), *words(jump_text)]


def _check_evolution(
    epochs: Sequence[int], maps: Sequence[int], pictures: Tensor, patches: Tensor, jumped: Tensor
) -> None:
    check_pictures("evolution:", pictures, patches, "(maps, epochs, 3, h, w)")
    expected = (len(maps), len(epochs))
    if 0 in expected:
        raise InputError("an evolution sheet needs at least one map and one epoch")
    if tuple(pictures.shape[:2]) != expected:
        raise InputError(
            f"evolution: pictures {shape(pictures)} are not of {len(maps)} maps at {len(epochs)} epochs"
        )
    if tuple(jumped.shape) != expected or jumped.dtype != torch.bool:
        raise InputError(f"evolution: jumped is {expected} of bool, not {shape(jumped)} of {jumped.dtype}")


def evolution_sheet(
    title: str,
    epochs: Sequence[int],
    maps: Sequence[int],
    pictures: Tensor,
    patches: Tensor,
    jumped: Tensor,
    width: int = WIDTH,
) -> Tensor:
    """Figure 4: a row a map, a column an epoch; a single epoch is one row, a column a map.

    Signed projections (M, E, 3, h, w) above their image patches (M, E, 3, h, w) in [0, 1]; a red frame where
    jumped (M, E), i.e. where another image won than at the epoch before → (H, W, 3) uint8, about `width` pixels
    wide and 1.5 times as high at most.
    """
    _check_evolution(epochs, maps, pictures, patches, jumped)
    pictures, patches = plain(pictures), plain(patches)
    names, headings = [f"map {m}" for m in maps], [f"epoch {epoch}" for epoch in epochs]
    if len(epochs) == 1:
        pictures, patches, jumped = (tensor.transpose(0, 1) for tensor in (pictures, patches, jumped))
        names, headings = headings, names
    labels, tops = [draw_text(name) for name in names], [draw_text(heading) for heading in headings]
    label_width = max(label.shape[1] for label in labels)
    room_across = (width - 2 * MARGIN - label_width - GRID_GAP) / len(tops) - 2 * FRAME - GAP
    room_down = ((TALLEST * width - HEADER) / len(labels) - 2 * FRAME - GRID_GAP - GAP) / 2
    side = tile_side(min(room_across, room_down), pictures)

    cells = [
        [_cell(*cell, side) for cell in zip(*row, strict=True)]
        for row in zip(pictures, patches, jumped.tolist(), strict=True)
    ]
    column_width = max(box.shape[1] for box in (cells[0][0], *tops))
    lines = [
        _line(label, boxes, label_width, column_width)
        for label, boxes in zip([draw_text(""), *labels], [tops, *cells], strict=True)
    ]
    return page(title, _evolution_legend(), vstack(lines, GRID_GAP))
