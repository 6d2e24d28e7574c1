"""What stored pixels are: the number of channels, and uint8, uint16 or float32.

    grays = PixelFormat(channels=1, dtype="uint16")
    grays.convert(image)  # uint8 (3, H, W) → uint16 (1, H, W)

Black is 0. White is 255 in uint8, 65535 in uint16 and 1 in float32. A step of uint8 is 257 steps of
uint16. Preprocessing and mean images count in steps of uint8, whatever the type."""

from dataclasses import dataclass

import torch
from torch import Tensor

from zfnet.errors import check_choice

# What the values of a type are divided by to count in steps of uint8.
STEPS: dict[torch.dtype, float] = {torch.uint8: 1, torch.uint16: 257, torch.float32: 1 / 255}
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in STEPS}
LUMA = (19595, 38470, 7471)  # / 65536: 0.299 R + 0.587 G + 0.114 B, ITU-R 601, rounded as Pillow


@dataclass(frozen=True)
class PixelFormat:
    """The pixels of a data set.

    Args:
        channels: their number.
        dtype: "uint8", "uint16" or "float32".

    Raises:
        InputError: the dtype is unknown.
    """

    channels: int = 3
    dtype: str = "uint8"

    def __post_init__(self) -> None:
        check_choice("data.dtype", self.dtype, tuple(DTYPES))

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    def convert(self, image: Tensor) -> Tensor:
        """An image in this format.

        One channel becomes three equal ones, and three become their luma. Other numbers of channels
        are not converted.

        Args:
            image: uint8, uint16 or floating-point (C, H, W). Floating-point values lie in [0, 1].

        Raises:
            ValueError: the image has another number of channels, or values that this format cannot
                hold.
        """
        if image.dtype == torch.uint8 == self.torch_dtype and len(image) == self.channels:
            return image
        return self._in_dtype(self._in_channels(image))

    def _in_channels(self, image: Tensor) -> Tensor:
        found = len(image)
        if found == self.channels:
            return image
        if found == 1 and self.channels == 3:
            return image.expand(3, -1, -1)
        if found == 3 and self.channels == 1:
            return _luma(image)
        raise ValueError(
            f"has {found} channel{'s' * (found != 1)}, and data.channels={self.channels} is wanted"
        )

    def _in_dtype(self, image: Tensor) -> Tensor:
        if image.is_floating_point():
            if self.dtype != "float32":
                raise ValueError("floating-point pixels need data.dtype=float32")
            low, high = image.aminmax()
            if not (low >= 0 and high <= 1):  # NaN is neither
                raise ValueError(
                    f"floating-point pixels from {low:g} to {high:g}: they must lie between 0 "
                    "(black) and 1 (white)"
                )
            return image.float()
        if image.dtype not in STEPS:
            raise ValueError(f"pixels of {image.dtype}: uint8, uint16 or floats are needed")
        if image.dtype == self.torch_dtype:
            return image
        if self.dtype == "float32":
            return image.float() / (255 * STEPS[image.dtype])
        values = image.int()
        values = values * 257 if self.dtype == "uint16" else (values + 128) // 257
        return values.to(self.torch_dtype)


RGB8 = PixelFormat()


def in_uint8(images: Tensor) -> Tensor:
    """Stored images of any type, rounded to uint8."""
    if images.dtype == torch.uint8:
        return images
    return (images.float() / STEPS[images.dtype]).round().to(torch.uint8)


def _luma(image: Tensor) -> Tensor:
    """(3, H, W) → (1, H, W) of the same type."""
    if image.is_floating_point():
        weights = torch.tensor(LUMA, dtype=image.dtype) / 65536
        return torch.einsum("c,chw->hw", weights, image)[None]
    red, green, blue = (each * band for each, band in zip(LUMA, image.long(), strict=True))
    return ((red + green + blue + 32768) >> 16).to(image.dtype)[None]
