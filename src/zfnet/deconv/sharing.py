"""Batches of units: those of one image share its forward pass.

A pass runs some images forward once, and R backward several times, each time from one unit of each
image. So many units of an image cost one forward and many backward passes. With few units of each
image it is faster to repeat the image: passes of many images are more efficient.
"""

from collections.abc import Iterator, Sequence

MANY = 4  # units of an image, on average, that share its forward pass


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
        [[(0,), (1,), (2,), (3,), (4,), (5,)], [(6,), (7,)]]
        >>> list(share_passes([7, 7, 7, 7, 7, 7, 5, 5], at_least=4, at_most=16))
        [[(0, 1, 2, 6), (3, 4, 5, 7)]]
        >>> list(share_passes([7, 7, 5], at_least=1, at_most=16))
        [[(0, 1, 2)]]
    """
    units: dict[int, list[int]] = {}
    for unit, image in enumerate(images):
        units.setdefault(image, []).append(unit)
    many = len(images) >= MANY * len(units)
    longest = -(-len(images) // at_least) if many else 1  # the number of backward passes
    rows: dict[int, list[list[int]]] = {}
    for own in units.values():
        count = -(-len(own) // longest)
        for row in (own[i::count] for i in range(count)):
            rows.setdefault(len(row), []).append(row)
    for alike in rows.values():
        for start in range(0, len(alike), at_most):
            yield list(zip(*alike[start : start + at_most], strict=True))
