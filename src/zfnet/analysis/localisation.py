"""How much of a projection falls on the object: section 4.1's look at Figure 2, in numbers.

The energy of a picture is the sum of its squares. Where masks of the objects are known, its share inside the
mask says whether the pixels that excite a unit belong to the object. The control is the
same picture at a random place: what falls on the object there is what any window of that size would catch.

    on = energy_inside(pictures, starts, masks)             # (N,), shares in [0, 1]
"""

import torch
from torch import Tensor


def energy_inside(pictures: Tensor, starts: Tensor, masks: Tensor) -> Tensor:
    """The share of each picture's energy inside its mask, of what lies within the image; NaN where nothing does.

    pictures (N, 3, h, w) stand at rows and columns `starts` (N, 2) of their images, and may reach beyond the
    border; masks bool (N, H, W).
    """
    energy = pictures.square().sum(1)  # (N, h, w)
    height, width = energy.shape[1:]
    y = starts[:, 0, None] + torch.arange(height)  # (N, h)
    x = starts[:, 1, None] + torch.arange(width)
    rows, columns = masks.shape[1:]
    exists = ((y >= 0) & (y < rows))[:, :, None] & ((x >= 0) & (x < columns))[:, None, :]
    which = torch.arange(len(masks))[:, None, None]
    on = masks[which, y.clamp(0, rows - 1)[:, :, None], x.clamp(0, columns - 1)[:, None, :]]  # (N, h, w)
    energy = energy * exists
    return (energy * on).sum((1, 2)) / energy.sum((1, 2))
