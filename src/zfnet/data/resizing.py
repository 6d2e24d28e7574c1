"""Resize and center crop to the same pixels as torchvision's `weights.transforms()` on Pillow.

    same = resize(source, Resizing(232, 224, "bicubic"))       # images are squares of 232 pixels

Stored images are larger than the crop, and the middle of an odd difference depends on rounding.
The stored part is placed so that its center crop is torchvision's center crop of the whole image.
"""

from copy import copy
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from zfnet.data.decoding import EXTREME, resample
from zfnet.data.source import Source
from zfnet.errors import check_choice
from zfnet.sizes import Size, show_size, sides

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Resizing:
    """Resizes an image so that it just covers `size`, of which the net sees the center `crop`."""

    size: Size
    crop: Size
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_choice("data.interpolation", self.interpolation, FILTERS)

    @property
    def is_usual(self) -> bool:
        """Whether `zfnet.data.decoding.resize_and_crop` gives the same pixels."""
        both = zip(sides(self.size), sides(self.crop), strict=True)
        return self.interpolation == "bilinear" and not any((s - c) % 4 for s, c in both)

    def __str__(self) -> str:
        return f"{self.interpolation}-{show_size(self.crop)}"

    def cut(self, image: Tensor) -> Tensor:
        """(C, H, W) → (C, *size) of the same type."""
        height, width = image.shape[1:]
        h, w = sides(self.size)
        short, length = (height, h) if h * width >= w * height else (width, w)
        rows, columns = (int(length * side / short) for side in (height, width))
        top, left = (
            round((whole - crop) / 2) - round((stored - crop) / 2)
            for whole, stored, crop in zip((rows, columns), (h, w), sides(self.crop), strict=True)
        )
        method = FILTERS[self.interpolation]
        if rows > EXTREME * h or columns > EXTREME * w:
            down, right = height / rows, width / columns  # pixels of the image per resized pixel
            box = (left * right, top * down, (left + w) * right, (top + h) * down)
            return resample(image, (h, w), method, _inside(box, width, height))
        if short != length:
            image = resample(image, (rows, columns), method)
        return image[:, top : top + h, left : left + w]


def resize(source: Source, resizing: Resizing) -> Source:
    """The same data set, whose images have `resizing.size` pixels."""
    result = copy(source)
    vars(result)["read"] = lambda index: resizing.cut(source.read(index))
    return result


def _inside(
    box: tuple[float, float, float, float], width: int, height: int
) -> tuple[float, float, float, float]:
    """A box, clipped to the image."""
    left, top, right, bottom = box
    return max(left, 0), max(top, 0), min(right, width), min(bottom, height)
