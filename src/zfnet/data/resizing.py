"""A resize and a centre crop as torchvision's `weights.transforms()` do them on Pillow's images, to the same pixels.

    same = resize(source, Resizing(232, 224, "bicubic"))       # whose images are squares of 232 pixels

Stored squares are larger than the crop, and the middle of an odd difference is a matter of rounding: the square lies
so that its centre crop is torchvision's of the whole image.
"""

from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zfnet.data.datasets import Source
from zfnet.data.decoding import EXTREME
from zfnet.errors import InputError

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Resizing:
    """The shortest side to `size` pixels, of which the net sees the centre `crop`."""

    size: int
    crop: int
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.interpolation not in FILTERS:
            raise InputError(
                f"data.interpolation={self.interpolation!r} is unknown: choose one of {', '.join(FILTERS)}"
            )

    @property
    def is_usual(self) -> bool:
        """Whether a store's own square (zfnet.data.decoding) is the same."""
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
                whole if short == self.size else whole.resize((columns, rows), FILTERS[self.interpolation])
            )
            result = result.crop((left, top, left + self.size, top + self.size))
        return torch.from_numpy(np.array(result)).permute(2, 0, 1)


def resize(source: Source, resizing: Resizing) -> Source:
    """The same images as squares of `resizing.size` pixels."""
    result = copy(source)
    vars(result)["read"] = lambda index: resizing.square(source.read(index))
    return result


def is_drawn(source: Source) -> bool:
    """Whether a data set draws its pictures, at the size at which they are stored."""
    return hasattr(getattr(source, "whole", source), "annotation")


def _inside(
    box: tuple[float, float, float, float], width: int, height: int
) -> tuple[float, float, float, float]:
    """A box without what roundings put beyond the image."""
    left, top, right, bottom = box
    return max(left, 0), max(top, 0), min(right, width), min(bottom, height)
