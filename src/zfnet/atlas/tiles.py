"""Small images of projections and patches, and the sheets in which they are stored.

    tiles = projection_tiles(projections)     # (N, C, h, w), signed → uint8 (N, H, W, 3)
    save(folder / "unit_13.webp", webp(sheet(tiles.unflatten(0, (rows, columns)))))

All units of a layer see windows of one size, so their tiles have one size, too. Tiles are at most
SIDE pixels long. Windows of up to PIXELATED pixels keep their pixels, and are stored without loss.
"""

import io

import torch
from PIL import Image
from torch import Tensor

from zfnet.viz.grid import fit, normalize_signed, stretch_contrast, to_rgb

SIDE = 72
PIXELATED = 16
QUALITY = 65  # of WebP, from 0 to 100
EFFORT = 1  # of the encoder, from 0 to 6


def projection_tiles(projections: Tensor) -> Tensor:
    """Reduces signed projections to tiles: 0 is gray, each on its own scale, as in Figure 2.

    Args:
        projections: (N, C, h, w).

    Returns:
        uint8 (N, H, W, 3).
    """
    # Projections may be tiny, and `fit` is exact where 0 is 0.5.
    small = _fit(torch.stack([normalize_signed(each) for each in projections.float()])) - 0.5
    return _to_uint8(torch.stack([stretch_contrast(each) for each in small]))


def patch_tiles(patches: Tensor) -> Tensor:
    """Reduces image patches (N, C, h, w) in [0, 1] to tiles, uint8 (N, H, W, 3)."""
    return _to_uint8(_fit(patches))


def image_tiles(images: Tensor) -> Tensor:
    """Converts whole images (N, C, H, W) in [0, 1] to uint8 (N, H, W, 3)."""
    return _to_uint8(images)


def blank(size: tuple[int, int], *shape: int) -> Tensor:
    """Returns mid-gray tiles, (*shape, H, W, 3), for windows of `size` (h, w)."""
    height, width = _fit(torch.zeros(1, 1, *size)).shape[2:]
    return torch.full((*shape, height, width, 3), 128, dtype=torch.uint8)


def sheet(tiles: Tensor) -> Tensor:
    """Arranges tiles (rows, columns, H, W, 3) as one image (rows * H, columns * W, 3)."""
    return tiles.transpose(1, 2).flatten(0, 1).flatten(1, 2)


def webp(image: Tensor, lossless: bool = False) -> bytes:
    """Encodes an image, uint8 (H, W, 3), as WebP."""
    file = io.BytesIO()
    Image.fromarray(image.contiguous().numpy()).save(
        file, "webp", quality=QUALITY, method=EFFORT, lossless=lossless
    )
    return file.getvalue()


def _fit(images: Tensor) -> Tensor:
    return images if max(images.shape[2:]) <= PIXELATED else fit(images, SIDE)


def _to_uint8(images: Tensor) -> Tensor:
    return to_rgb(images).mul(255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
