"""Pairs of pictures that are nearly the same, each with its correlation, to be looked at.

pair = AlikePair(0.998, mirrored=True, pictures=(one, other), names=("train/a.jpg", "val/b.jpg"))
save_png(overlap_sheet("train with val", [pair]), "overlap.png")
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zfnet.viz.grid import add_border, draw_text, fit, flow, hstack, to_uint8, vstack
from zfnet.viz.page import GAP, MARGIN, page, words

PICTURE = 128  # pixels, the side of each
WIDTH = 5 * (2 * PICTURE + GAP + MARGIN)  # of a line of pairs


@dataclass
class AlikePair:
    """Two pictures, uint8 (S, S, 3) each, as they are: the second is mirrored where it says so."""

    correlation: float
    mirrored: bool
    pictures: tuple[Tensor, Tensor]
    names: tuple[str, str]


def overlap_sheet(title: str, pairs: Sequence[AlikePair]) -> Tensor:
    """The pairs in their order, in lines below the title → (H, W, 3) uint8."""
    body = flow([_cell(pair) for pair in pairs], WIDTH, MARGIN) if pairs else draw_text("no near-duplicates")
    return page(title, words("each pair: correlation, and the names of both"), body)


def _cell(pair: AlikePair) -> Tensor:
    caption = f"{pair.correlation:.3f}{', mirrored' if pair.mirrored else ''}"
    pictures = [to_uint8(_sized(picture)) for picture in pair.pictures]
    lines = [hstack(pictures, GAP), draw_text(caption, bold=True), *map(_name, pair.names)]
    cell = vstack(lines, gap=GAP)
    return add_border(cell, right=max(0, 2 * PICTURE + GAP - cell.shape[1]), bottom=MARGIN)


def _sized(picture: Tensor) -> Tensor:
    """(S, S, 3) uint8 → (3, PICTURE, PICTURE) in [0, 1]; a small one stays small in the middle of white."""
    tile = fit(picture.permute(2, 0, 1)[None].float() / 255, PICTURE)[0]
    sized = torch.ones(3, PICTURE, PICTURE)
    top, left = ((PICTURE - side) // 2 for side in tile.shape[1:])
    sized[:, top : top + tile.shape[1], left : left + tile.shape[2]] = tile
    return sized


def _name(name: str) -> Tensor:
    """The end of a name, as much as stands below its pair."""
    line = draw_text(name)
    while line.shape[1] > 2 * PICTURE:
        name = "…" + name[2:]
        line = draw_text(name)
    return line
