"""Projections cut to windows of the image, and placed in the image again.

>>> import torch
>>> from zfnet.deconv import Window
>>> from zfnet.deconv.patches import paste
>>> paste(torch.ones(1, 1, 2, 2), [Window(top=-1, left=1, bottom=1, right=3)], (2, 3))
tensor([[[[0., 1., 1.],
          [0., 0., 0.]]]])
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zfnet.deconv.rules import Pair
from zfnet.deconv.units import Unit, Window
from zfnet.deconv.windows import cut
from zfnet.versions.python_names import renamed


@renamed(pictures="projections", of="crop")
@dataclass(frozen=True)
class Patches:
    """Projections of N units and the images, cropped to the units' receptive fields.

    A field that is larger than the image is cropped to the image.

    Attributes:
        projections: (N, C, h, w), signed; 0 beyond the border of the image.
        images: (N, C, h, w), the images at the same places.
        windows: the places.
        values: (N,), the units' activations, at least 0.
    """

    projections: Tensor
    images: Tensor
    windows: list[Window]
    values: Tensor

    def cpu(self) -> "Patches":
        """Returns the patches with their tensors on the CPU."""
        return Patches(self.projections.cpu(), self.images.cpu(), self.windows, self.values.cpu())

    def crop(self, images: Tensor, units: Sequence[Unit], fill: float = 0.0) -> Tensor:
        """Crops other versions of the images to the same places.

        Args:
            images: (B, C, H, W).
            units: the N units.
            fill: value beyond the border.

        Returns:
            (N, C, h, w).
        """
        which = torch.tensor([unit.image for unit in units], dtype=torch.long)
        height, width = self.projections.shape[2:]
        return cut(images, which, starts_of(self.windows), (height, width), fill)


def starts_of(windows: Sequence[Window]) -> Tensor:
    """Returns the first row and column of N windows, int64 (N, 2)."""
    return torch.tensor([(w.top, w.left) for w in windows], dtype=torch.long).view(-1, 2)


def paste(parts: Tensor, windows: Sequence[Window], size: Pair) -> Tensor:
    """Returns images that are 0 except for one window each.

    Args:
        parts: (N, C, h, w), what the windows hold.
        windows: N windows, which may reach beyond the border.
        size: (H, W) of the images.

    Returns:
        (N, C, H, W).
    """
    whole = parts.new_zeros(*parts.shape[:2], *size)
    paste_into(whole, parts, windows)
    return whole


def paste_into(whole: Tensor, parts: Tensor, windows: Sequence[Window]) -> None:
    """Overwrites one window of each image.

    Args:
        whole: the images, (N, C, H, W).
        parts: (N, C, h, w), what the windows shall hold.
        windows: N windows, which may reach beyond the border.
    """
    size = whole.shape[2:]
    for one, part, seen in zip(whole, parts, windows, strict=True):
        top, left = max(seen.top, 0), max(seen.left, 0)
        bottom, right = min(seen.bottom, size[0]), min(seen.right, size[1])
        if top < bottom and left < right:  # a unit may see nothing but padding
            rows = slice(top - seen.top, bottom - seen.top)
            columns = slice(left - seen.left, right - seen.left)
            one[:, top:bottom, left:right] = part[:, rows, columns]
