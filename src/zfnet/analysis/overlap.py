"""Near-duplicates between two sets of pictures: the overlap of a test set with what a net has learned from.

Section 4.2 of the paper finds the few Caltech pictures that ImageNet has too "using normalized correlation". Here
in two steps, on small pictures of 32 x 32 pixels, each picture beside the other and beside its mirror image:

    coarse   x, y = all 16 x 16 x 3 numbers minus their mean, of norm 1:   x · y >= 0.9
    fine     every pixel minus its neighbourhood's mean, over that neighbourhood's deviation:  x · y >= 0.8

The first is one matrix product, and smooth pictures (a sky over a field) pass it whatever they show; the second
weighs detail of any contrast alike. Copies of 1,000 photos, re-encoded (JPEG quality 50 and more), halved, mirrored,
brighter or darker by a tenth, or all of it, correlate by 0.98 and 0.90 at least (brighter by a fifth, cut at white:
0.94 and 0.85); of 24,000,000 pairs of different photos those that pass the first step come to 0.70 in the second.
By features, layer 5 of an ImageNet-trained AlexNet, it would be 0.78 against 0.75. What is not found: crops, such as
Caltech's Faces_easy of its Faces.

With x = (l, r), the left half and the mirrored right one, and e = (l + r) / √2, o = (l - r) / √2, both orientations
cost one product:  x · y = e · e' + o · o',  mirrored(x) · y = e · e' - o · o'.

    small = torch.cat([shrink(batch) for batch in batches])     # batches (B, S, S, 3) uint8
    for done, pairs in near_duplicates(small, other_small): ...
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from zfnet.errors import InputError

SIDE, COARSE_SIDE = 32, 16
COARSE = 0.9  # correlation from which on a pair is looked at closely
FINE = 0.8  # that of copies
NEIGHBOURHOOD = 9  # pixels of 32
SOFTENER = 16  # of 255: deviations well below it are noise and stay small
FLAT = 1e-3  # of 255: deviation of a picture that has no contrast, and no copies
ROWS, COLUMNS = 8192, 4096  # pictures of the first and the second set in one product: 128 MB
CLOSELY = 1024  # pairs looked at closely at once


class Pairs(NamedTuple):
    """K near-duplicates: where they stand in the two sets, how alike they are, and whether one is mirrored."""

    first: Tensor  # (K,) int64
    second: Tensor  # (K,) int64
    correlation: Tensor  # (K,) float32, of the fine step
    mirrored: Tensor  # (K,) bool


def shrink(pictures: Tensor) -> Tensor:
    """uint8 (B, S, S, 3) → uint8 (B, 32, 32, 3), means of areas."""
    if pictures.dim() != 4 or pictures.shape[3] != 3 or min(pictures.shape[1:3]) < SIDE:
        raise InputError(
            f"pictures {tuple(pictures.shape)}: (B, S, S, 3) of at least {SIDE} pixels are compared"
        )
    means = F.adaptive_avg_pool2d(pictures.permute(0, 3, 1, 2).float(), SIDE)
    return means.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def near_duplicates(
    first: Tensor, second: Tensor | None = None, threshold: float = FINE, start: int = 0
) -> Iterator[tuple[int, Pairs]]:
    """For every block of the first set from row `start` on: how many of its rows are done now, and the pairs found.

    first (N, 32, 32, 3) and second (M, 32, 32, 3) uint8, in memory or mapped; without a second one the first is
    compared with itself, each pair once. Memory is bounded but for the pairs themselves.
    """
    if not -1 <= threshold <= 1:
        raise InputError(f"threshold={threshold}: correlations lie between -1 and 1")
    other = first if second is None else second
    for top in range(start, len(first), ROWS):
        rows = first[top : top + ROWS]
        halves = _halves(rows)
        found = []
        for left in range(top // COLUMNS * COLUMNS if second is None else 0, len(other), COLUMNS):
            columns = other[left : left + COLUMNS]
            i, j = _alike(halves, _halves(columns))
            if second is None:
                once = top + i < left + j
                i, j = i[once], j[once]
            for some_i, some_j in zip(i.split(CLOSELY), j.split(CLOSELY), strict=True):
                correlation, mirrored = correlate_closely(rows[some_i], columns[some_j])
                kept = correlation >= threshold
                found.append(
                    Pairs(top + some_i[kept], left + some_j[kept], correlation[kept], mirrored[kept])
                )
        yield top + len(rows), join_groups(found)


def correlate_closely(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The fine correlation (K,) of K pairs of small pictures, uint8 (K, 32, 32, 3) each: the better of both
    orientations, and whether that is the mirrored one."""
    one, other = _detail(first), _detail(second)
    plain, mirrored = ((one * each).sum((1, 2, 3)) for each in (other, other.flip(3)))
    return torch.maximum(plain, mirrored), mirrored > plain


def join_groups(parts: list[Pairs]) -> Pairs:
    """All pairs of several, in their order."""
    empty = torch.zeros(0, dtype=torch.long)
    nothing = Pairs(empty, empty, torch.zeros(0), torch.zeros(0, dtype=torch.bool))
    return Pairs(*(torch.cat(each) for each in zip(nothing, *parts, strict=True)))


def _halves(small: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised 16 x 16 pictures of (N, 32, 32, 3) as even and odd halves, (N, 384) each."""
    numbers = F.avg_pool2d(small.permute(0, 3, 1, 2).float(), SIDE // COARSE_SIDE)  # (N, 3, 16, 16)
    numbers = _normalised(numbers.flatten(1)).view_as(numbers) / math.sqrt(2)
    left, right = numbers.chunk(2, dim=3)
    right = right.flip(3)
    return (left + right).flatten(1), (left - right).flatten(1)


def _alike(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The pairs (i, j) that pass the coarse step in either orientation."""
    best = (first[1] @ second[1].T).abs_()  # (R, C)
    best.addmm_(first[0], second[0].T)
    i, j = (best >= COARSE).nonzero(as_tuple=True)
    return i, j


def _detail(small: Tensor) -> Tensor:
    """Locally normalised pictures of norm 1, (N, 3, 32, 32)."""
    pixels = small.permute(0, 3, 1, 2).float()
    off = pixels - _around(pixels)
    deviation = _around(off.square().mean(1, keepdim=True)).sqrt()
    scaled = off / (deviation + SOFTENER)
    return _normalised(scaled.flatten(1)).view_as(scaled)


def _around(maps: Tensor) -> Tensor:
    """The mean of each pixel's neighbourhood, as much of it as there is."""
    for size in ((NEIGHBOURHOOD, 1), (1, NEIGHBOURHOOD)):  # a square's mean is that of its columns' means
        maps = F.avg_pool2d(maps, size, 1, (size[0] // 2, size[1] // 2), count_include_pad=False)
    return maps


def _normalised(numbers: Tensor) -> Tensor:
    """(N, D) minus each row's mean, of norm 1; 0 for a row without contrast."""
    numbers = numbers - numbers.mean(1, keepdim=True)
    norm = numbers.norm(dim=1, keepdim=True)
    return torch.where(norm > FLAT * math.sqrt(numbers.shape[1]), numbers / norm, 0)
