"""From a file to pixels: `decode` reads the photo, `resize_and_crop` cuts its center.

    pixels = resize_and_crop(decode("dog.jpg"), 256)  # uint8 (256, 256, 3)
    grays = decode("dog.jpg", PixelFormat(channels=1))  # uint8 (1, H, W)

Every raster format that Pillow opens is read, by its name (`image_extensions`) and by its content,
and so are .npy files. Formats that Pillow cannot draw by itself are not: PostScript, metafiles,
videos and data files.

JPEG is decoded by libjpeg into a tensor where torchvision has that operator. What Pillow would cut
or not read, deep colors and many bands, is read by zfnet.data.raw_files. Everything else is read by
Pillow. Colors follow Pillow's `convert("RGB")` (alpha is dropped, CMYK is the plain complement),
and of 16 bits they are divided by 257. One channel is Pillow's `convert("L")`. Other numbers of
channels are the file's bands, transparency included.

The resize is torch's antialiased bilinear one on uint8, which differs from Pillow's in a few
roundings (0.003 of 255 on average). Where they would be many, it is Pillow's. Deeper pixels are
resized by Pillow as floats."""

import io
import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn.functional import interpolate

from zfnet.data.jpeg import DECODER as _JPEG
from zfnet.data.pixel_format import RGB8, PixelFormat
from zfnet.data.raw_files import NPY, TIFF, is_png16, read_array, read_png16, read_tiff
from zfnet.errors import InputError, one_line
from zfnet.sizes import Size, sides

SHORTEST = 8  # pixels; a smaller image (a tracking pixel, a broken thumbnail) is not a photo
EXTREME = 4  # of a resized image longer than this many crops, only the crop is computed
SMALL = 33  # numbers up to this make a ratio with many ties

_GRAY, _RGB = 1, 3  # ImageReadMode

# Modes of Pillow whose bands are the file's; others are colors in another form.
BANDED = ("L", "LA", "RGB", "RGBA", "CMYK")


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
    known = Image.registered_extensions().items()
    return frozenset({".npy", *(ending for ending, name in known if name in formats)})


def decode(path: str | os.PathLike[str], pixel_format: PixelFormat = RGB8) -> Tensor:
    """Reads an image, turned upright by its EXIF orientation.

    Args:
        path: the file.
        pixel_format: of the result; the default is RGB, uint8.

    Returns:
        (channels, H, W) of the format's dtype.

    Raises:
        UnreadableImage: the file cannot be read or decoded, has another number of channels, or a
            side is shorter than 8 pixels.
    """
    return decode_from(partial(read_file, path), os.fspath(path), pixel_format)


def decode_from(read: Callable[[], np.ndarray], where: str, pixel_format: PixelFormat) -> Tensor:
    """`decode` of an image that lies inside a larger file.

    Args:
        read: returns the bytes of the image, uint8 and writable.
        where: the image, for messages.
        pixel_format: of the result.

    Raises:
        UnreadableImage: as `decode`, or `read` raises an error.
        InputError: `read` raises it, because no image can be read.
    """
    try:
        with _quiet_pillow():
            return pixel_format.convert(_decode(read(), pixel_format.channels))
    except OSError as error:  # Pillow's own errors are OSErrors too, without strerror
        raise UnreadableImage(f"{where}: {one_line(error.strerror or error)}") from error
    except (MemoryError, InputError):
        raise
    except Exception as error:  # broken files make Pillow's plugins raise almost anything
        raise UnreadableImage(f"{where}: {one_line(error)}") from error


def read_file(path: str | os.PathLike[str]) -> np.ndarray:
    """The bytes of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is a directory, a pipe or a device.
    """
    if not stat.S_ISREG(Path(path).stat().st_mode):  # a pipe would never end
        raise ValueError("this is not a file but a directory, a pipe or a device")
    return np.fromfile(path, dtype=np.uint8)


def resize_and_crop(image: Tensor, size: Size) -> Tensor:
    """Resizes an image so that it just covers `size`, and crops the center.

    For a square, this is torchvision's `Resize` of the shortest side and `CenterCrop`.

    Args:
        image: uint8, uint16 or float32 (C, H, W).
        size: of the result, in pixels.

    Returns:
        (h, w, C) of the same type, contiguous.
    """
    (height, width), (h, w) = image.shape[1:], sides(size)
    # The side that is resized to its length in the result; of the other one, something is cropped.
    short, length = (height, h) if h * width >= w * height else (width, w)
    rows, columns = int(length * height / short), int(length * width / short)
    top, left = round((rows - h) / 2), round((columns - w) / 2)
    if short != length:
        is_deep = image.dtype != torch.uint8
        if is_deep or rows > EXTREME * h or columns > EXTREME * w:
            return _resize_part(image, (h, w), (rows, columns), (top, left))
        if _has_ties(short, length):
            image = resample(image, (rows, columns), Image.Resampling.BILINEAR)
        else:
            # With the batch axis first, torch sees channels_last, which is twice as fast.
            batch = image.permute(1, 2, 0)[None].permute(0, 3, 1, 2)
            image = interpolate(batch, (rows, columns), mode="bilinear", antialias=True)[0]
    return image[:, top : top + h, left : left + w].permute(1, 2, 0).contiguous()


def resample(
    image: Tensor,
    size: tuple[int, int],
    method: Image.Resampling,
    box: tuple[float, float, float, float] | None = None,
) -> Tensor:
    """Resizes an image with Pillow.

    Args:
        image: uint8, uint16 or float32 (C, H, W).
        size: the height and width of the result.
        method: of Pillow.
        box: the part to resize, (left, top, right, bottom) in pixels; None is all.

    Returns:
        (C, *size) of the same type. Values beyond its range, which bicubic interpolation can give,
        are clipped.
    """
    is_uint8 = image.dtype == torch.uint8
    if is_uint8 and len(image) == 3:
        parts = [image.permute(1, 2, 0)]
    else:
        parts = list(image if is_uint8 else image.float())
    resized = [
        np.array(Image.fromarray(part.contiguous().numpy()).resize(size[::-1], method, box))
        for part in parts
    ]
    if is_uint8 and len(image) == 3:
        return torch.from_numpy(resized[0]).permute(2, 0, 1)
    result = torch.from_numpy(np.stack(resized))
    if image.dtype == torch.uint16:
        return result.round().clamp(0, 65535).to(torch.uint16)
    return result if is_uint8 else result.clamp(0, 1)


def _decode(data: np.ndarray, channels: int) -> Tensor:
    """The image as (C, H, W), of so many channels where Pillow or libjpeg convert to them."""
    if not data.size:
        raise ValueError("the file is empty")
    if (bands := _raw(data, channels not in (1, 3))) is not None:
        _check_size(*bands.shape[:0:-1])
        return bands
    try:
        image: Image.Image = Image.open(io.BytesIO(data.data), formats=image_formats())
    except Image.UnidentifiedImageError as error:
        raise ValueError("this is not an image, or one of an unknown format") from error
    with image:
        _check_size(*image.size)
        if _JPEG is not None and image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
            mode = {1: _GRAY, 3: _RGB}.get(channels)
            if mode == _RGB or (mode == _GRAY and image.mode == "L"):
                try:
                    return _JPEG(torch.from_numpy(data), mode, True)
                except RuntimeError:  # Pillow's message is clearer
                    pass
        pixels = _pixels(ImageOps.exif_transpose(image), channels)
        return torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)


def _raw(data: np.ndarray, keep_alpha: bool) -> Tensor | None:
    """The bands of a file that Pillow would cut or not read; None for other files."""
    magic = data[:6].tobytes()
    if magic == NPY:
        return read_array(data)
    if magic[:4] in TIFF:
        return read_tiff(data, keep_alpha)
    return read_png16(data, keep_alpha) if is_png16(data) else None


def _check_size(width: int, height: int) -> None:
    if min(width, height) < SHORTEST:
        raise ValueError(f"{width} x {height} pixels is too small, both sides need {SHORTEST}")


def _pixels(image: Image.Image, channels: int) -> np.ndarray:
    """Any Pillow image as uint8, uint16 or float32, (H, W) or (H, W, C)."""
    if image.mode == "F":
        return np.array(image)
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if np.min(values) < 0 or np.max(values) > 65535:
            raise ValueError("32-bit pixels have no fixed range")
        return values.astype(np.uint16)
    if channels == 1:
        mode = "L"
    elif channels == 3:
        mode = "RGB"
    elif image.mode == "1":
        mode = "L"
    elif image.mode in BANDED:
        mode = image.mode
    else:
        mode = "RGBA" if image.has_transparency_data else "RGB"
    return np.array(image if image.mode == mode else image.convert(mode))


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


def _resize_part(
    image: Tensor, size: tuple[int, int], full: tuple[int, int], corner: tuple[int, int]
) -> Tensor:
    """`resize_and_crop` that computes only the result, not all `full` rows and columns of the
    resized image."""
    height, width = image.shape[1:]
    down, right = height / full[0], width / full[1]  # source pixels per resized pixel
    top, left = corner
    bottom_edge = min((top + size[0]) * down, height)
    right_edge = min((left + size[1]) * right, width)
    box = (left * right, top * down, right_edge, bottom_edge)
    return resample(image, size, Image.Resampling.BILINEAR, box).permute(1, 2, 0).contiguous()


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
