"""Figure 2 of the paper: the strongest activations of each channel beside the image patches.

    save_png(feature_sheet("conv2", panels), "fig2_conv2.png")

    map 12 · max 34.1
    P P P  I I I
    P P P  I I I
    P P P  I I I

A projection P is signed: 0 is gray, black and white are ∓ its own largest magnitude (99th
percentile), so that weak ones are visible, too. The image patch I is at the same place as its P.
Small windows are enlarged by integer factors, and windows too big for the sheet are reduced.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zfnet.errors import InputError
from zfnet.viz.grid import (
    Part,
    add_border,
    center,
    draw_frame,
    draw_text,
    fit,
    hstack,
    normalize_signed,
    stretch_contrast,
    tile,
    to_rgb,
    to_uint8,
    vstack,
)
from zfnet.viz.page import (
    GAP,
    GRID_GAP,
    MARGIN,
    WIDTH,
    box,
    check_numbers,
    check_projections,
    gray_key,
    page,
    plain,
    shape,
    tile_side,
    words,
)

BLOCK_GAP = 20


@dataclass(frozen=True, eq=False)
class FeaturePanel:
    """One channel.

    Attributes:
        channel: its index.
        projections: signed, (k, C, h, w).
        patches: the image patches at the same places, (k, C, h, w) in [0, 1].
        values: the activations, (k,).
        filter: the channel's filter (C, kh, kw), if it sees the image itself.
        parts: what to frame of each patch, such as the place of a token that sees the whole image;
            () to frame nothing.

    Raises:
        InputError: shapes do not match, or a value is not finite.
    """

    channel: int
    projections: Tensor
    patches: Tensor
    values: Tensor
    filter: Tensor | None = None
    parts: Sequence[Part] = ()

    def __post_init__(self) -> None:
        name = f"channel {self.channel}:"
        check_projections(name, self.projections, self.patches, "(k, C, h, w)")
        if self.values.shape != self.projections.shape[:1]:
            raise InputError(
                f"{name} {len(self.projections)} projections but values of shape "
                f"{shape(self.values)}"
            )
        if self.parts and len(self.parts) != len(self.values):
            raise InputError(f"{name} {len(self.parts)} parts for {len(self.values)} patches")
        if self.filter is not None:
            _check_filter(name, self.filter, self.projections.shape[1])


def _check_filter(name: str, filter_: Tensor, channels: int) -> None:
    if filter_.dim() != 3 or filter_.shape[0] != channels or 0 in filter_.shape:
        raise InputError(f"{name} a filter is ({channels}, kh, kw), not {shape(filter_)}")
    check_numbers(f"{name} a filter", filter_)


def _caption(panel: FeaturePanel) -> str:
    if not len(panel.values):
        return f"channel {panel.channel} · none"
    largest = float(panel.values.max())
    return f"channel {panel.channel} · max " + (
        f"{largest:.0f}" if abs(largest) >= 1000 else f"{largest:.3g}"
    )


def _grid(images: Sequence[Tensor], cells: int, side: int, parts: Sequence[Part] = ()) -> Tensor:
    """Images (C, h, w) in [0, 1] in reading order in a grid of so many cells, those left over
    white."""
    white = [torch.ones_like(images[0])] * (cells - len(images))
    tiles = to_rgb(fit(torch.stack([*images, *white]), side))
    for i, part in enumerate(parts):
        tiles[i] = draw_frame(tiles[i], part)
    return to_uint8(tile(tiles, GAP))


def _block(panel: FeaturePanel, cells: int, side: int, with_filter: bool) -> Tensor:
    if not len(panel.projections):
        projections = patches = [torch.ones(panel.projections.shape[1:])]
    else:
        projections = [stretch_contrast(projection) for projection in plain(panel.projections)]
        patches = list(plain(panel.patches).clamp(0, 1))
    grids = [_grid(projections, cells, side), _grid(patches, cells, side, panel.parts)]
    if with_filter:
        height = grids[0].shape[0]
        room = min(2 * side, height)
        filter_box = torch.full((1, 1, 3), 255, dtype=torch.uint8)
        if panel.filter is not None:
            filter_box = box(normalize_signed(plain(panel.filter)), room)
        grids.insert(0, add_border(center(filter_box, height), right=room - filter_box.shape[1]))
    return vstack([draw_text(_caption(panel)), hstack(grids, GRID_GAP)], gap=GAP)


def feature_sheet(
    title: str, panels: Sequence[FeaturePanel], width: int = WIDTH, note: str = ""
) -> Tensor:
    """Figure 2: one block per channel, in reading order.

    Args:
        title: of the sheet.
        panels: the channels; projections of all have the same size.
        width: of the sheet, in pixels, at most about.
        note: what else the legend says.

    Returns:
        (H, W, 3) uint8. Each grid has the cells of the panel with the most projections; missing
        ones are white.

    Raises:
        InputError: there is no panel, or projections have several sizes.
    """
    if not panels:
        raise InputError("a feature sheet needs at least one map")
    sizes = sorted({tuple(panel.projections.shape[-2:]) for panel in panels})
    if len(sizes) > 1:
        raise InputError(
            f"all projections of a feature sheet have one size, not {' and '.join(map(str, sizes))}"
        )
    cells = max(1, *(len(panel.projections) for panel in panels))
    with_filter = any(panel.filter is not None for panel in panels)
    columns, across = math.ceil(math.sqrt(len(panels))), math.ceil(math.sqrt(cells))
    tiles = 2 * across + 2 * with_filter  # a filter is as large as two tiles
    gaps = 2 * (across - 1) * GAP + (1 + with_filter) * GRID_GAP
    room = ((width - 2 * MARGIN + BLOCK_GAP) / columns - BLOCK_GAP - gaps) / tiles
    side = tile_side(room, panels[0].projections)

    blocks = [_block(panel, cells, side, with_filter) for panel in panels]
    widest = max(block.shape[1] for block in blocks)
    blocks = [add_border(block, right=widest - block.shape[1]) for block in blocks]
    rows = [hstack(blocks[i : i + columns], BLOCK_GAP) for i in range(0, len(blocks), columns)]
    places = "left: the filter; middle: projections" if with_filter else "left: projections"
    scale = "0 is gray, each on its own symmetric scale, its strongest 1 % saturated"
    legend = f"{places}, {scale}; right: image patches at the same place"
    legend += ", frames: the unit's own position" if any(panel.parts for panel in panels) else ""
    legend += f"; {note}" if note else ""
    return page(title, [gray_key(), *words(legend)], vstack(rows, BLOCK_GAP))
