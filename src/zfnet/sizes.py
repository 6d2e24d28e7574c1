"""Sizes of images, in pixels: an int is a square, a pair is (height, width).

>>> as_size([224, 320]), as_size([224, 224])
((224, 320), 224)
>>> sides(224)
(224, 224)
"""

from collections.abc import Sequence

from zfnet.errors import InputError

Size = int | tuple[int, int]


def sides(size: int | Sequence[int]) -> tuple[int, int]:
    """The height and width of a size.

    Raises:
        InputError: a list has not two sides.
    """
    if isinstance(size, int):
        return size, size
    if len(size) != 2:
        raise InputError(f"image_size={list(size)}: give a side, or [height,width]")
    height, width = size
    return height, width


def as_size(size: int | Sequence[int]) -> Size:
    """A size as this package writes it: an int for a square, else (height, width).

    Raises:
        InputError: a list has not two sides.
    """
    height, width = sides(size)
    return height if height == width else (height, width)


def show_size(size: int | Sequence[int]) -> str:
    """A size as on the command line, "224" or "[224,320]"."""
    plain = as_size(size)
    return str(plain) if isinstance(plain, int) else f"[{plain[0]},{plain[1]}]"
