"""Resize and center crop to the same pixels as torchvision's `weights.transforms()` on Pillow.

    same = resize(source, Resizing(232, 224, "bicubic"))       # images are squares of 232 pixels

Stored squares are larger than the crop, and the middle of an odd difference depends on rounding.
The square is placed so that its center crop is torchvision's center crop of the whole image."""

from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zfnet.data.decoding import EXTREME
from zfnet.data.source import Source
from zfnet.errors import check_choice

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Resizing:
    """Resizes the shortest side to `size` pixels, of which the net sees the center `crop`."""

    size: int
    crop: int
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_choice("data.interpolation", self.interpolation, FILTERS)

    @property
    def is_usual(self) -> bool:
        """Whether `zfnet.data.decoding.square` gives the same pixels."""
        return self.interpolation == "bilinear" and (self.size - self.crop) % 4 == 0

    def __str__(self) -> str:
        return f"{self.interpolation}-{self.crop}"

    def square(self, image: Tensor) -> Tensor:
        """uint8 (3, H, W) → uint8 (3, size, size)."""
        height, width = image.shape[1:]
        short = min(height, width)
        rows, columns = (int(self.size * side / short) for side in (height, width))
        middle = round((self.size - self.crop) / 2)
        top, left = (round((side - self.crop) / 2) - middle for side in (rows, columns))
        whole = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
        if max(rows, columns) > EXTREME * self.size:
            down, right = height / rows, width / columns  # pixels of the image per resized pixel
            box = (left * right, top * down, (left + self.size) * right, (top + self.size) * down)
            result = whole.resize(
                (self.size, self.size), FILTERS[self.interpolation], _inside(box, width, height)
            )
        else:
            result = (
                whole
                if short == self.size
                else whole.resize((columns, rows), FILTERS[self.interpolation])
            )
            result = result.crop((left, top, left + self.size, top + self.size))
        return torch.from_numpy(np.array(result)).permute(2, 0, 1)


def resize(source: Source, resizing: Resizing) -> Source:
    """The same data set, whose images are squares of `resizing.size` pixels."""
    result = copy(source)
    vars(result)["read"] = lambda index: resizing.square(source.read(index))
    return result


def _inside(
    box: tuple[float, float, float, float], width: int, height: int
) -> tuple[float, float, float, float]:
    """A box, clipped to the image."""
    left, top, right, bottom = box
    return max(left, 0), max(top, 0), min(right, width), min(bottom, height)
