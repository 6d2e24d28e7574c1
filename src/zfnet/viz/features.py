"""What excites a feature map, drawn as in Figures 2 and 4 of the paper.

Figure 2: the strongest activations of each map, projected down to pixels, beside the image patches that caused
them. Figure 4: the strongest one over the epochs.

save_png(feature_sheet("conv2", panels), "fig2_conv2.png")

    map 12 · max 34.1               a projection is signed: 0 is grey, black and white are ∓ its own largest
    P P P  I I I                    magnitude (but 1 %), so that a weak one is seen as well as a strong one.
    P P P  I I I                    I stands where its P stands. Small windows are enlarged by whole factors,
    P P P  I I I                    windows too big for the sheet are reduced.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zfnet.errors import InputError
from zfnet.viz.grids import (
    WHITE,
    above,
    beside,
    bordered,
    centred,
    contrasted,
    fitted,
    flowing,
    framed,
    signed,
    tiled,
    to_uint8,
    written,
)

WIDTH = 2200  # pixels of a sheet, at most about
TALLEST = 1.5  # a sheet's height over its width, at most about
SMALLEST, LARGEST = 32, 84  # sides of a tile: none is reduced below the one nor enlarged beyond the other
GAP, GRID_GAP, BLOCK_GAP, MARGIN = 2, 8, 20, 12
NARROWEST = 480  # room for title and legend above a narrow sheet
HEADER = 130  # the height of title, legend and margins, about
FRAME, FRAME_COLOUR = 3, (214, 39, 40)


@dataclass(frozen=True, eq=False)
class FeaturePanel:
    """One map: signed projections (k, 3, h, w), 0 where nothing is; the image patches (k, 3, h, w) in [0, 1] at
    the same places; the activations (k,), in any order; the map's filter (3, kh, kw) if it sees the image itself.
    """

    map: int
    pictures: Tensor
    patches: Tensor
    values: Tensor
    filter: Tensor | None = None

    def __post_init__(self) -> None:
        name = f"map {self.map}:"
        _check_pictures(name, self.pictures, self.patches, "(k, 3, h, w)")
        if self.values.shape != self.pictures.shape[:1]:
            raise InputError(
                f"{name} {len(self.pictures)} pictures but values of shape {_shape(self.values)}"
            )
        if self.filter is not None:
            _check_filter(name, self.filter)


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _check_pictures(name: str, pictures: Tensor, patches: Tensor, wanted: str) -> None:
    if pictures.dim() != wanted.count(",") + 1 or pictures.shape[-3] != 3 or 0 in pictures.shape[-2:]:
        raise InputError(f"{name} pictures are {wanted}, not {_shape(pictures)}")
    if patches.shape != pictures.shape:
        raise InputError(f"{name} patches {_shape(patches)} do not match the pictures {_shape(pictures)}")
    _check_numbers(f"{name} pictures", pictures)
    _check_numbers(f"{name} patches", patches)


def _check_filter(name: str, filter_: Tensor) -> None:
    if filter_.dim() != 3 or filter_.shape[0] != 3 or 0 in filter_.shape:
        raise InputError(f"{name} a filter is (3, kh, kw), not {_shape(filter_)}")
    _check_numbers(f"{name} a filter", filter_)


def _check_numbers(name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point() or not tensor.isfinite().all():
        raise InputError(f"{name} must be finite floating-point numbers")


def _plain(pictures: Tensor) -> Tensor:
    return pictures.detach().float().cpu()


def _box(picture: Tensor, side: int) -> Tensor:
    """(3, h, w) in [0, 1] → its box, the longer side at most `side`."""
    return to_uint8(fitted(picture[None], side)[0])


def _tile_side(room: float, pictures: Tensor) -> int:
    """The longer side of a tile that has so many pixels of room: a multiple of the picture's where it fits."""
    longer = max(pictures.shape[-2:])
    side = max(SMALLEST, min(int(room), max(LARGEST, longer)))
    return side if side < longer else side // longer * longer


def _words(text: str, size: int = 13, bold: bool = False) -> list[Tensor]:
    return [written(word, size, bold) for word in text.split()]


def _grey_key() -> Tensor:
    """−, a bar from black to white with 0 in its middle, +."""
    low, zero, high = written("−"), written("0", bold=True), written("+")
    bar = torch.linspace(0, 255, 100).round().to(torch.uint8)[None, :, None].repeat(zero.shape[0], 1, 3)
    return bordered(beside([low, torch.minimum(bar, centred(zero, width=100)), high], gap=4), right=GRID_GAP)


def _jump_key() -> Tensor:
    """The frame in small before the first word that explains it."""
    word = written("another")
    frame = framed(torch.full((8, 8, 3), 255, dtype=torch.uint8), FRAME, FRAME_COLOUR)
    return beside([centred(frame, word.shape[0]), word], gap=4)


def _page(title: str, legend: list[Tensor], body: Tensor) -> Tensor:
    width = max(NARROWEST, body.shape[1])
    heading = flowing(_words(title, size=20, bold=True) or [written("", 20)], width, gap=6)
    lines = [heading, flowing(legend, width, gap=4), body]
    return framed(above(lines, gap=MARGIN), MARGIN).contiguous()


def _caption(panel: FeaturePanel) -> str:
    if not len(panel.values):
        return f"map {panel.map} · none"
    largest = float(panel.values.max())
    return f"map {panel.map} · max " + (f"{largest:.0f}" if abs(largest) >= 1000 else f"{largest:.3g}")


def _grid(pictures: Sequence[Tensor], cells: int, side: int) -> Tensor:
    """Pictures (3, h, w) in [0, 1] in reading order in a grid of so many cells, those left over white."""
    white = [torch.ones_like(pictures[0])] * (cells - len(pictures))
    return to_uint8(tiled(fitted(torch.stack([*pictures, *white]), side), GAP))


def _block(panel: FeaturePanel, cells: int, side: int, with_filter: bool) -> Tensor:
    if not len(panel.pictures):
        pictures = patches = [torch.ones(panel.pictures.shape[1:])]
    else:
        pictures = [contrasted(picture) for picture in _plain(panel.pictures)]
        patches = list(_plain(panel.patches).clamp(0, 1))
    grids = [_grid(pictures, cells, side), _grid(patches, cells, side)]
    if with_filter:
        height = grids[0].shape[0]
        room = min(2 * side, height)
        filter_box = torch.full((1, 1, 3), 255, dtype=torch.uint8)
        if panel.filter is not None:
            filter_box = _box(signed(_plain(panel.filter)), room)
        grids.insert(0, bordered(centred(filter_box, height), right=room - filter_box.shape[1]))
    return above([written(_caption(panel)), beside(grids, GRID_GAP)], gap=GAP)


def feature_sheet(title: str, panels: Sequence[FeaturePanel], width: int = WIDTH) -> Tensor:
    """Figure 2, one block a map in reading order → (H, W, 3) uint8, about `width` pixels wide at most.

    A grid has the cells of the panel with the most pictures; missing ones are white.
    """
    if not panels:
        raise InputError("a feature sheet needs at least one map")
    sizes = sorted({tuple(panel.pictures.shape[-2:]) for panel in panels})
    if len(sizes) > 1:
        raise InputError(
            f"all pictures of a feature sheet have one size, not {' and '.join(map(str, sizes))}"
        )
    cells = max(1, *(len(panel.pictures) for panel in panels))
    with_filter = any(panel.filter is not None for panel in panels)
    columns, across = math.ceil(math.sqrt(len(panels))), math.ceil(math.sqrt(cells))
    tiles = 2 * across + 2 * with_filter  # a filter is as large as two tiles
    gaps = 2 * (across - 1) * GAP + (1 + with_filter) * GRID_GAP
    room = ((width - 2 * MARGIN + BLOCK_GAP) / columns - BLOCK_GAP - gaps) / tiles
    side = _tile_side(room, panels[0].pictures)

    blocks = [_block(panel, cells, side, with_filter) for panel in panels]
    widest = max(block.shape[1] for block in blocks)
    blocks = [bordered(block, right=widest - block.shape[1]) for block in blocks]
    rows = [beside(blocks[i : i + columns], BLOCK_GAP) for i in range(0, len(blocks), columns)]
    places = "left: the filter; middle: projections" if with_filter else "left: projections"
    scale = "0 is grey, each on its own symmetric scale, its strongest 1 % saturated"
    legend = f"{places}, {scale}; right: image patches at the same place"
    return _page(title, [_grey_key(), *_words(legend)], above(rows, BLOCK_GAP))


def _cell(picture: Tensor, patch: Tensor, marked: bool, side: int) -> Tensor:
    """A projection above its patch, and the room of a frame around, which is white unless marked."""
    pair = above([_box(contrasted(picture), side), _box(patch.clamp(0, 1), side)], GAP)
    return framed(pair, FRAME, FRAME_COLOUR if marked else WHITE)


def _line(label: Tensor, boxes: Sequence[Tensor], label_width: int, column_width: int) -> Tensor:
    """The label, half-way down, and the boxes, each in the middle of its column."""
    first = centred(label, max(box.shape[0] for box in boxes))
    first = bordered(first, right=label_width - label.shape[1] + GRID_GAP - GAP)
    return beside([first, *(centred(box, width=column_width) for box in boxes)], GAP)


def _evolution_legend() -> list[Tensor]:
    above_text = (
        "above: the projection of the strongest activation, 0 is grey, "
        "each on its own symmetric scale, its strongest 1 % saturated;"
    )
    below_text = "below: the image patch that caused it;"
    jump_text = "image won than at the epoch before"
    return [_grey_key(), *_words(above_text), *_words(below_text), _jump_key(), *_words(jump_text)]


def _check_evolution(
    epochs: Sequence[int], maps: Sequence[int], pictures: Tensor, patches: Tensor, jumped: Tensor
) -> None:
    _check_pictures("evolution:", pictures, patches, "(maps, epochs, 3, h, w)")
    expected = (len(maps), len(epochs))
    if 0 in expected:
        raise InputError("an evolution sheet needs at least one map and one epoch")
    if tuple(pictures.shape[:2]) != expected:
        raise InputError(
            f"evolution: pictures {_shape(pictures)} are not of {len(maps)} maps at {len(epochs)} epochs"
        )
    if tuple(jumped.shape) != expected or jumped.dtype != torch.bool:
        raise InputError(f"evolution: jumped is {expected} of bool, not {_shape(jumped)} of {jumped.dtype}")


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
    pictures, patches = _plain(pictures), _plain(patches)
    names, headings = [f"map {m}" for m in maps], [f"epoch {epoch}" for epoch in epochs]
    if len(epochs) == 1:
        pictures, patches, jumped = (tensor.transpose(0, 1) for tensor in (pictures, patches, jumped))
        names, headings = headings, names
    labels, tops = [written(name) for name in names], [written(heading) for heading in headings]
    label_width = max(label.shape[1] for label in labels)
    room_across = (width - 2 * MARGIN - label_width - GRID_GAP) / len(tops) - 2 * FRAME - GAP
    room_down = ((TALLEST * width - HEADER) / len(labels) - 2 * FRAME - GRID_GAP - GAP) / 2
    side = _tile_side(min(room_across, room_down), pictures)

    cells = [
        [_cell(*cell, side) for cell in zip(*row, strict=True)]
        for row in zip(pictures, patches, jumped.tolist(), strict=True)
    ]
    column_width = max(box.shape[1] for box in (cells[0][0], *tops))
    lines = [
        _line(label, boxes, label_width, column_width)
        for label, boxes in zip([written(""), *labels], [tops, *cells], strict=True)
    ]
    return _page(title, _evolution_legend(), above(lines, GRID_GAP))
