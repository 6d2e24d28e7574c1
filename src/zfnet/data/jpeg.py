"""Stored images as JPEGs: encoded once by Pillow, decoded by libjpeg in torchvision.

    data = encode_jpeg(pixels)  # uint8 (H, W, 3) → bytes
    decode_jpeg(np.frombuffer(bytearray(data), np.uint8), 3)  # uint8 (H, W, 3), near `pixels`

The quality is 90, with colors at half the resolution (4:2:0). docs/train.md says what that costs.
"""

import io

import numpy as np
import torch
import torchvision.io  # noqa: F401  (registers torch.ops.image)
from PIL import Image
from torch import Tensor

from zfnet.data.pixel_format import PixelFormat

QUALITY = 90
CHANNELS = (1, 3)  # gray and RGB; torchvision's ImageReadMode has the same numbers

# torchvision.io.decode_jpeg is deprecated since 0.29; the operator that it calls is not.
DECODER = getattr(torch.ops.image, "decode_jpeg", None)


def can_be_jpeg(pixel_format: PixelFormat) -> bool:
    """Whether JPEG has such pixels: gray or RGB of 8 bits."""
    return pixel_format.dtype == "uint8" and pixel_format.channels in CHANNELS


def encode_jpeg(pixels: Tensor) -> bytes:
    """The JPEG of an image, uint8 (H, W, 1) or (H, W, 3)."""
    array = pixels.numpy()
    image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return buffer.getvalue()


def decode_jpeg(data: np.ndarray, channels: int) -> Tensor:
    """The pixels of a JPEG.

    Args:
        data: its bytes, uint8 and writable.
        channels: 1 or 3, those of the file.

    Returns:
        uint8 (H, W, channels), contiguous.

    Raises:
        RuntimeError: the file is damaged.
        OSError: so it is, where torchvision has no decoder and Pillow decodes.
    """
    if DECODER is not None:
        return DECODER(torch.from_numpy(data), channels).permute(1, 2, 0).contiguous()
    with Image.open(io.BytesIO(data.data), formats=["JPEG"]) as image:
        return torch.from_numpy(np.atleast_3d(np.array(image)))
