"""From a file to pixels: `decode` reads the photo, `square` resizes it to the center square.

    pixels = square(decode("dog.jpg"), 256)  # uint8 (256, 256, 3)

Every raster format that Pillow opens is read, by its name (`image_extensions`) and by its content.
Formats that Pillow cannot draw by itself are not: PostScript, metafiles, videos and data files.

JPEG is decoded by libjpeg into a tensor where torchvision has that operator, everything else by
Pillow. Both give the same pixels, and Pillow alone decides what is unreadable. Colors follow
Pillow's `convert("RGB")` (alpha is dropped, CMYK is the plain complement), and 16-bit grays are
divided by 257. The resize is torch's antialiased bilinear one on uint8, which differs from Pillow's
in a few roundings (0.003 of 255 on average). Where they would be many, it is Pillow's."""

import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torchvision.io  # noqa: F401  (registers torch.ops.image)
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn.functional import interpolate

from zfnet.errors import InputError, one_line

SHORTEST = 8  # pixels; a smaller image (a tracking pixel, a broken thumbnail) is not a photo
EXTREME = 4  # of a resized image longer than this many squares, only the square is computed
SMALL = 33  # numbers up to this make a ratio with many ties

# torchvision.io.decode_jpeg is deprecated since 0.29; the operator that it calls is not.
_JPEG = getattr(torch.ops.image, "decode_jpeg", None)
_RGB = 3  # ImageReadMode.RGB


# EPS would start Ghostscript, WMF is drawn on Windows only, and Pillow cannot read the others.
NOT_READ = {"EPS", "WMF", "MPEG", "HDF5", "GRIB", "BUFR"}


class UnreadableImage(InputError):
    """The file holds no usable image; the message names the file and what is wrong."""


@cache
def image_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read, the most frequent first."""
    Image.init()
    return tuple(
        dict.fromkeys(name for name in ["JPEG", "PNG", *sorted(Image.OPEN)] if name not in NOT_READ)
    )


@cache
def image_extensions() -> frozenset[str]:
    """The endings of image files, ".jpg" and so on, in lower case."""
    formats = {*image_formats(), "MPO"}  # MPO is opened as JPEG
    return frozenset(
        ending for ending, name in Image.registered_extensions().items() if name in formats
    )


def decode(path: str | os.PathLike[str]) -> Tensor:
    """Reads an image, turned upright by its EXIF orientation.

    Args:
        path: the file.

    Returns:
        uint8 (3, H, W), RGB, channels_last.

    Raises:
        UnreadableImage: the file cannot be read or decoded, or a side is shorter than 8 pixels.
    """
    try:
        with _quiet_pillow():
            if not stat.S_ISREG(Path(path).stat().st_mode):  # a pipe would never end
                raise ValueError("this is not a file but a directory, a pipe or a device")
            return _decode(np.fromfile(path, dtype=np.uint8))
    except OSError as error:  # Pillow's own errors are OSErrors too, without strerror
        raise UnreadableImage(f"{os.fspath(path)}: {one_line(error.strerror or error)}") from error
    except MemoryError:
        raise
    except Exception as error:  # broken files make Pillow's plugins raise almost anything
        raise UnreadableImage(f"{os.fspath(path)}: {one_line(error)}") from error


def square(image: Tensor, size: int) -> Tensor:
    """Resizes the shortest side to `size` and crops the center, as torchvision's `Resize` and
    `CenterCrop` do.

    Args:
        image: uint8 (3, H, W).
        size: in pixels.

    Returns:
        uint8 (size, size, 3), contiguous.
    """
    height, width = image.shape[1:]
    short = min(height, width)
    rows, columns = int(size * height / short), int(size * width / short)
    top, left = round((rows - size) / 2), round((columns - size) / 2)
    if max(rows, columns) > EXTREME * size:
        return _square_of_strip(image, size, (rows, columns), (top, left))
    if _has_ties(short, size):
        full = _pillow(image).resize((columns, rows), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(full.crop((left, top, left + size, top + size))))
    pixels = image.permute(1, 2, 0)
    if short != size:
        # With the batch axis first, torch sees channels_last, which is twice as fast.
        batch = pixels[None].permute(0, 3, 1, 2)
        pixels = interpolate(batch, (rows, columns), mode="bilinear", antialias=True)[0].permute(
            1, 2, 0
        )
    return pixels[top : top + size, left : left + size].contiguous()


def _decode(data: np.ndarray) -> Tensor:
    if not data.size:
        raise ValueError("the file is empty")
    try:
        image: Image.Image = Image.open(io.BytesIO(data.data), formats=image_formats())
    except Image.UnidentifiedImageError as error:
        raise ValueError("this is not an image, or one of an unknown format") from error
    with image:
        if min(image.size) < SHORTEST:
            raise ValueError(
                f"{image.width} x {image.height} pixels is too small, both sides need {SHORTEST}"
            )
        if _JPEG is not None and image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
            try:
                return _JPEG(torch.from_numpy(data), _RGB, True)
            except RuntimeError:  # Pillow's message is clearer
                pass
        return torch.from_numpy(_rgb(ImageOps.exif_transpose(image))).permute(2, 0, 1)


def _rgb(image: Image.Image) -> np.ndarray:
    """Any Pillow image as uint8 (H, W, 3)."""
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range")
    if not image.mode.startswith("I"):
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    values = np.asarray(image).astype(np.int64)
    if np.min(values) < 0 or np.max(values) > 65535:
        raise ValueError("32-bit pixels have no fixed range")
    gray = ((values + 128) // 257).astype(np.uint8)
    return np.repeat(gray[:, :, None], 3, axis=2)


def _has_ties(short: int, size: int) -> bool:
    """Whether short : size is a ratio of small numbers, such as 5 : 4. Many exact values then end
    in one half, and torch's 16-bit weights round them up or down, unless the weights themselves are
    exact."""
    ratio = Fraction(short, size)
    top, bottom = ratio.numerator, ratio.denominator
    exact = (bottom == 1 and _is_power_of_two(top)) or (ratio < 1 and _is_power_of_two(bottom))
    return max(top, bottom) <= SMALL and not exact


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


def _square_of_strip(
    image: Tensor, size: int, full: tuple[int, int], corner: tuple[int, int]
) -> Tensor:
    """`square` of a very long image: of its `full` resized rows and columns only the square is
    computed."""
    height, width = image.shape[1:]
    down, right = height / full[0], width / full[1]  # source pixels per resized pixel
    top, left = corner
    bottom_edge, right_edge = min((top + size) * down, height), min((left + size) * right, width)
    box = (left * right, top * down, right_edge, bottom_edge)
    return torch.from_numpy(
        np.array(_pillow(image).resize((size, size), Image.Resampling.BILINEAR, box))
    )


def _pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


_lock = threading.Lock()
_inside = 0
_filters: warnings.catch_warnings | None = None


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Hides Pillow's warnings about odd files. The first thread to enter sets the filter and the
    last one to leave removes it, because `catch_warnings` alone is not thread-safe."""
    global _inside, _filters
    with _lock:
        if _inside == 0:
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _filters is not None:
                _filters.__exit__(None, None, None)
