"""Pictures of numbers: 0 is mid-grey, one symmetric scale over red, green and blue.

save_png(filter_sheet(net.conv1.conv.weight), "filters.png")
"""

import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

SHEET_SIDE = 600  # pixels that a sheet of filters is enlarged to, about


def signed(pictures: Tensor) -> Tensor:
    """Any real values → [0, 1] with 0 at 0.5 and the largest magnitude of all at 0 or 1."""
    largest = pictures.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return pictures / (2 * largest) + 0.5


def tiled(pictures: Tensor, gap: int = 1) -> Tensor:
    """(N, 3, H, W) in [0, 1] → one (3, H', W') of nearly square shape, white between and in the empty cells."""
    count, channels, height, width = pictures.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = torch.ones(channels, rows * (height + gap) - gap, columns * (width + gap) - gap)
    for i, picture in enumerate(pictures):
        y, x = i // columns * (height + gap), i % columns * (width + gap)
        sheet[:, y : y + height, x : x + width] = picture
    return sheet


def to_uint8(picture: Tensor) -> Tensor:
    """(3, H, W) in [0, 1] → (H, W, 3) uint8."""
    return picture.mul(255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()


def filter_sheet(filters: Tensor) -> Tensor:
    """First-layer filters (N, 3, k, k) on one scale → (H, W, 3) uint8, enlarged without smoothing."""
    sheet = tiled(signed(filters.detach().float().cpu()))
    factor = max(1, SHEET_SIDE // sheet.shape[-1])
    return to_uint8(F.interpolate(sheet[None], scale_factor=factor, mode="nearest")[0])


def save_png(picture: Tensor, path: str | Path) -> None:
    """Writes (H, W, 3) uint8."""
    Image.fromarray(picture.numpy()).save(path)
