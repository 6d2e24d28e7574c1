"""Pairs of near-duplicate images, each with its correlation.

pair = AlikePair(0.998, mirrored=True, images=(one, other), names=("train/a.jpg", "val/b.jpg"))
save_png(overlap_sheet("train with val", [pair]), "overlap.png")
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zfnet.viz.grid import add_border, draw_text, fit, flow, hstack, to_uint8, vstack
from zfnet.viz.page import GAP, MARGIN, page, words

SIDE = 128  # pixels, the side of each
WIDTH = 5 * (2 * SIDE + GAP + MARGIN)  # of a line of pairs


@dataclass
class AlikePair:
    """Two images, uint8 (H, W, C) each; `mirrored` says that the second one is a mirror image of
    the first."""

    correlation: float
    mirrored: bool
    images: tuple[Tensor, Tensor]
    names: tuple[str, str]


def overlap_sheet(title: str, pairs: Sequence[AlikePair]) -> Tensor:
    """The pairs in lines, below the title → (H, W, 3) uint8."""
    body = (
        flow([_cell(pair) for pair in pairs], WIDTH, MARGIN)
        if pairs
        else draw_text("no near-duplicates")
    )
    return page(title, words("each pair: correlation, and the names of both"), body)


def _cell(pair: AlikePair) -> Tensor:
    caption = f"{pair.correlation:.3f}{', mirrored' if pair.mirrored else ''}"
    images = [to_uint8(_sized(image)) for image in pair.images]
    lines = [hstack(images, GAP), draw_text(caption, bold=True), *map(_name, pair.names)]
    cell = vstack(lines, gap=GAP)
    return add_border(cell, right=max(0, 2 * SIDE + GAP - cell.shape[1]), bottom=MARGIN)


def _sized(image: Tensor) -> Tensor:
    """(H, W, C) uint8 → (C, SIDE, SIDE) in [0, 1]; a small image is centered on white."""
    tile = fit(image.permute(2, 0, 1)[None].float() / 255, SIDE)[0]
    sized = torch.ones(len(tile), SIDE, SIDE)
    top, left = ((SIDE - side) // 2 for side in tile.shape[1:])
    sized[:, top : top + tile.shape[1], left : left + tile.shape[2]] = tile
    return sized


def _name(name: str) -> Tensor:
    """The end of a name, as much as fits below its pair."""
    line = draw_text(name)
    while line.shape[1] > 2 * SIDE:
        name = "…" + name[2:]
        line = draw_text(name)
    return line
