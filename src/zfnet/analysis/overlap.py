"""Finds near-duplicates between two sets of images, such as test and training data.

Section 4.2 of the paper uses "normalized correlation" to find the few Caltech images that are also
in ImageNet. Here it has two steps, on images of 32 x 32 pixels. Each pair is compared twice, once
mirrored:

    coarse   x, y = all 16 x 16 x 3 values minus their mean, with norm 1:              x · y >= 0.9
    fine     each pixel minus the mean of its neighborhood, divided by its deviation:  x · y >= 0.8

The coarse step is a matrix product. Smooth images (a sky over a field) pass it whatever they show;
the fine step weighs details of any contrast equally. Copies of 1,000 photos that were re-encoded
(JPEG quality 50 and more), halved, mirrored, made brighter or darker by a tenth, or all of it,
correlate with at least 0.98 and 0.90 (brighter by a fifth, clipped at white: 0.94 and 0.85). Among
24,000,000 pairs of different photos, those that pass the coarse step reach 0.70 in the fine step.
With features of layer 5 of an ImageNet-trained AlexNet the margin would be 0.78 against 0.75. Crops
are not found, such as Caltech's Faces_easy from its Faces.

Let x = (l, r), the left half and the mirrored right half, e = (l + r) / √2 and o = (l - r) / √2.
Then one pair of products gives both orientations:

    x · y           = e · e' + o · o'
    mirrored(x) · y = e · e' - o · o'

    >>> import torch
    >>> from zfnet.analysis import near_duplicates
    >>> from zfnet.analysis.overlap import shrink
    >>> photos = torch.randint(0, 256, (20, 64, 64, 3), dtype=torch.uint8)
    >>> copies = photos[[7, 3]].flip(2)
    >>> ((rows, pairs),) = near_duplicates(shrink(photos), shrink(copies))
    >>> pairs.first, pairs.second, pairs.mirrored
    (tensor([3, 7]), tensor([1, 0]), tensor([True, True]))
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from zfnet.errors import InputError

SIDE, COARSE_SIDE = 32, 16
COARSE = 0.9  # least correlation in the coarse step
FINE = 0.8  # least correlation in the fine step
NEIGHBORHOOD = 9  # pixels, of 32
SOFTENER = 16  # of 255: deviations well below it are noise and stay small
FLAT = 1e-3  # of 255: deviation below which an image has no contrast, and no copies
ROWS, COLUMNS = 8192, 4096  # images of the first and the second set in one product: 128 MB
FINE_AT_ONCE = 1024  # pairs in one fine step


class Pairs(NamedTuple):
    """K near-duplicates.

    Attributes:
        first: int64 (K,), indices into the first set.
        second: int64 (K,), indices into the second set.
        correlation: float32 (K,), of the fine step.
        mirrored: bool (K,), whether one image is the mirror image of the other.
    """

    first: Tensor
    second: Tensor
    correlation: Tensor
    mirrored: Tensor


def shrink(images: Tensor) -> Tensor:
    """Shrinks images by averaging areas: uint8 (B, H, W, C) → uint8 (B, 32, 32, C).

    Raises:
        InputError: the images have another shape, or are smaller than 32 pixels.
    """
    if images.dim() != 4 or min(images.shape[1:3]) < SIDE:
        raise InputError(
            f"images {tuple(images.shape)}: (B, H, W, C) of at least {SIDE} pixels are needed"
        )
    means = F.adaptive_avg_pool2d(images.permute(0, 3, 1, 2).float(), SIDE)
    return means.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def near_duplicates(
    first: Tensor, second: Tensor | None = None, threshold: float = FINE, start: int = 0
) -> Iterator[tuple[int, Pairs]]:
    """Finds near-duplicates, block by block of the first set, in bounded memory.

    Args:
        first: uint8 (N, 32, 32, C), in memory or memory-mapped.
        second: uint8 (M, 32, 32, C); None compares the first set with itself, each pair once.
        threshold: least correlation in the fine step.
        start: first row, to resume a search.

    Yields:
        The number of rows of the first set that are done, and the pairs found in this block.

    Raises:
        InputError: the threshold is not a correlation.
    """
    if not -1 <= threshold <= 1:
        raise InputError(f"threshold={threshold}: correlations lie between -1 and 1")
    other = first if second is None else second
    for top in range(start, len(first), ROWS):
        rows = first[top : top + ROWS]
        halves = to_halves(rows)
        found = []
        for left in range(top // COLUMNS * COLUMNS if second is None else 0, len(other), COLUMNS):
            columns = other[left : left + COLUMNS]
            i, j = coarse_pairs(halves, to_halves(columns))
            if second is None:
                once = top + i < left + j
                i, j = i[once], j[once]
            for some_i, some_j in zip(i.split(FINE_AT_ONCE), j.split(FINE_AT_ONCE), strict=True):
                correlation, mirrored = fine_correlation(rows[some_i], columns[some_j])
                kept = correlation >= threshold
                found.append(
                    Pairs(
                        top + some_i[kept], left + some_j[kept], correlation[kept], mirrored[kept]
                    )
                )
        yield top + len(rows), concatenate_pairs(found)


def fine_correlation(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Computes the fine correlation of K pairs, uint8 (K, 32, 32, C) each.

    Returns:
        The larger correlation (K,) of the two orientations, and whether it is that of the mirrored
        one.
    """
    one, other = _normalize_locally(first), _normalize_locally(second)
    plain, mirrored = ((one * each).sum((1, 2, 3)) for each in (other, other.flip(3)))
    return torch.maximum(plain, mirrored), mirrored > plain


def concatenate_pairs(parts: list[Pairs]) -> Pairs:
    """Concatenates pairs."""
    empty = torch.zeros(0, dtype=torch.long)
    nothing = Pairs(empty, empty, torch.zeros(0), torch.zeros(0, dtype=torch.bool))
    return Pairs(*(torch.cat(each) for each in zip(nothing, *parts, strict=True)))


def to_halves(small: Tensor) -> tuple[Tensor, Tensor]:
    """Normalizes images (N, 32, 32, C) at 16 x 16 pixels; returns e and o, (N, 128 C) each."""
    numbers = F.avg_pool2d(small.permute(0, 3, 1, 2).float(), SIDE // COARSE_SIDE)  # (N, C, 16, 16)
    numbers = _normalize(numbers.flatten(1)).view_as(numbers) / math.sqrt(2)
    left, right = numbers.chunk(2, dim=3)
    right = right.flip(3)
    return (left + right).flatten(1), (left - right).flatten(1)


def coarse_pairs(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Returns the pairs (i, j) that pass the coarse step in either orientation."""
    best = (first[1] @ second[1].T).abs_()  # (R, C)
    best.addmm_(first[0], second[0].T)
    i, j = (best >= COARSE).nonzero(as_tuple=True)
    return i, j


def _normalize_locally(small: Tensor) -> Tensor:
    """Normalizes local contrast: (N, 32, 32, C) → (N, C, 32, 32), each of norm 1."""
    pixels = small.permute(0, 3, 1, 2).float()
    difference = pixels - _neighborhood_mean(pixels)
    deviation = _neighborhood_mean(difference.square().mean(1, keepdim=True)).sqrt()
    scaled = difference / (deviation + SOFTENER)
    return _normalize(scaled.flatten(1)).view_as(scaled)


def _neighborhood_mean(maps: Tensor) -> Tensor:
    """Returns the mean of each pixel's neighborhood within the image."""
    for size in ((NEIGHBORHOOD, 1), (1, NEIGHBORHOOD)):  # the mean over a square is separable
        maps = F.avg_pool2d(maps, size, 1, (size[0] // 2, size[1] // 2), count_include_pad=False)
    return maps


def _normalize(numbers: Tensor) -> Tensor:
    """Scales each row (N, D) minus its mean to norm 1; 0 for a row without contrast."""
    numbers = numbers - numbers.mean(1, keepdim=True)
    norm = numbers.norm(dim=1, keepdim=True)
    return torch.where(norm > FLAT * math.sqrt(numbers.shape[1]), numbers / norm, 0)
