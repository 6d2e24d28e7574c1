"""Batches of units: those of one image share its forward pass.

A pass runs some images forward once, and R backward several times, each time from one unit of each
image. So many units of an image cost one forward and many backward passes. With few units of each
image it is faster to repeat the image: passes of many images are more efficient.

The images may be crops. Units of one image share a crop that holds what all of them see, if that
takes less work than a smaller crop for each.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from zfnet.deconv.crops import Crop

MANY = 4  # units of an image, at least, that share its forward pass
FORWARD = 3  # the time of a forward pass, in backward passes: 1 to 3, as measured for ConvNeXt


class SharedCrop(NamedTuple):
    """A crop of an image, and the places of its units in a list."""

    image: int
    crop: Crop
    places: list[int]

    @property
    def work(self) -> float:
        """The work for all units: backward passes of one pixel."""
        count = len(self.places)
        forward = 1 if count >= MANY else count
        rows, columns = self.crop.bottom - self.crop.top, self.crop.right - self.crop.left
        return (forward * FORWARD + count) * rows * columns


def share_crops(images: Sequence[int], crops: Sequence[Crop]) -> list[SharedCrop]:
    """Decides which units share a crop: those with the same one, or all units of an image.

    Args:
        images: the image of each unit.
        crops: the smallest crop for each unit.

    Example:
        >>> crops = [Crop(0, left, 9, left + 9) for left in (0, 1, 2, 3, 0, 90)]
        >>> [(shared.crop[1:], shared.places) for shared in share_crops([0, 0, 0, 0, 1, 1], crops)]
        [((0, 9, 12), [0, 1, 2, 3]), ((0, 9, 9), [4]), ((90, 9, 99), [5])]
    """
    same: dict[tuple[int, Crop], list[int]] = {}
    for place, key in enumerate(zip(images, crops, strict=True)):
        same.setdefault(key, []).append(place)
    of_image: dict[int, list[SharedCrop]] = {}
    for (image, crop), places in same.items():
        of_image.setdefault(image, []).append(SharedCrop(image, crop, places))
    result = []
    for image, each in of_image.items():
        tops, lefts, bottoms, rights = zip(*(shared.crop for shared in each), strict=True)
        union = Crop(min(tops), min(lefts), max(bottoms), max(rights))
        together = SharedCrop(image, union, [place for shared in each for place in shared.places])
        apart = sum(shared.work for shared in each)
        result += [together] if together.work < apart else each
    return result


def share_passes(
    images: Sequence[int], at_least: int, at_most: int
) -> Iterator[list[tuple[int, ...]]]:
    """Distributes units over passes.

    Args:
        images: the image of each unit.
        at_least: the number of images in a pass, if there are as many units. Images are repeated.
        at_most: the largest number of images in a pass.

    Yields:
        For each pass the indices of the units that start each of its backward passes, one for each
        of its images.

    Example:
        >>> list(share_passes([7, 7, 7, 7, 7, 7, 5, 5], at_least=1, at_most=16))
        [[(0,), (1,), (2,), (3,), (4,), (5,)], [(6, 7)]]
        >>> list(share_passes([7, 7, 7, 7, 7, 7, 5, 5], at_least=4, at_most=16))
        [[(0, 1, 2), (3, 4, 5)], [(6, 7)]]
        >>> list(share_passes([7, 7, 5], at_least=1, at_most=16))
        [[(0, 1, 2)]]
    """
    units: dict[int, list[int]] = {}
    for unit, image in enumerate(images):
        units.setdefault(image, []).append(unit)
    longest = -(-len(images) // at_least)  # the number of backward passes
    rows: dict[int, list[list[int]]] = {}
    for own in units.values():
        count = -(-len(own) // longest) if len(own) >= MANY else len(own)
        for row in (own[i::count] for i in range(count)):
            rows.setdefault(len(row), []).append(row)
    for alike in rows.values():
        for start in range(0, len(alike), at_most):
            yield list(zip(*alike[start : start + at_most], strict=True))
