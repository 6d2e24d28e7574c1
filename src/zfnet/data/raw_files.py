"""Pixels of files as they are stored: every band at its own depth.

    read_array(data)  # the bytes of a .npy file: (H, W) or (H, W, C) → (C, H, W)
    read_png16(data, keep_alpha=False)
    read_tiff(data, keep_alpha=False)

Pillow cuts colors of 16 bits to 8, and reads no TIFF of more than four bands."""

import io
import math

import numpy as np
import tifffile
import torch
import torchvision.io  # noqa: F401  (registers torch.ops.image)
from torch import Tensor

NPY = b"\x93NUMPY"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG = getattr(torch.ops.image, "decode_png", None)
_UNCHANGED = 0  # ImageReadMode.UNCHANGED
_NPY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
WHITE_IS_0, BLACK_IS_0, COLORS = 0, 1, 2  # PhotometricInterpretation
ALPHA = (1, 2)  # ExtraSamples: associated, unassociated
# (PhotometricInterpretation, SamplesPerPixel) of 8-bit files that Pillow reads completely, if the
# fourth band of colors is transparency.
PILLOW_READS = {(WHITE_IS_0, 1), (BLACK_IS_0, 1), (BLACK_IS_0, 2), (COLORS, 3), (COLORS, 4)}


def read_array(data: np.ndarray) -> Tensor:
    """The array of a .npy file, (H, W) or (H, W, C), as (C, H, W).

    Args:
        data: the bytes of the file.

    Raises:
        ValueError: it has another shape, or is damaged.
    """
    array = _npy_array(data)
    if array.ndim not in (2, 3):
        raise ValueError(f"an array of shape {array.shape}: (H, W) or (H, W, C) is needed")
    return _tensor(array if array.ndim == 3 else array[:, :, None])


def _npy_array(data: np.ndarray) -> np.ndarray:
    """The array as a view of the bytes, so that a wrong length in the header reserves no memory."""
    file = io.BytesIO(data.data)
    version = np.lib.format.read_magic(file)
    if version not in _NPY_HEADERS:
        raise ValueError(f"a .npy file of version {version}: arrays of numbers are 1 or 2")
    shape, is_fortran, dtype = _NPY_HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("an array of objects: numbers are needed")
    values = np.frombuffer(data, dtype, math.prod(shape), file.tell())
    return values.reshape(shape[::-1]).T if is_fortran else values.reshape(shape)


def is_png16(data: np.ndarray) -> bool:
    """Whether the bytes of a file begin as a PNG of 16 bits."""
    return data[:8].tobytes() == b"\x89PNG\r\n\x1a\n" and len(data) > 24 and data[24] == 16


def read_png16(data: np.ndarray, keep_alpha: bool) -> Tensor:
    """A PNG of 16 bits as uint16 (C, H, W), upright.

    Args:
        data: the bytes of the file.
        keep_alpha: whether transparency is a band.

    Raises:
        RuntimeError: it is damaged.
    """
    if _PNG is None:
        raise ValueError("this torchvision cannot read PNG files of 16 bits")
    bands = _PNG(torch.from_numpy(data), _UNCHANGED, True)
    return bands if keep_alpha or len(bands) in (1, 3) else bands[:-1]


def read_tiff(data: np.ndarray, keep_alpha: bool) -> Tensor | None:
    """The bands of a TIFF file as (C, H, W), upright.

    Bands are the samples of the first page or, of a file with several equal pages, its pages.

    Args:
        data: the bytes of the file.
        keep_alpha: whether transparency is a band.

    Returns:
        The bands; None where Pillow reads the file as well: without `keep_alpha`, gray and colors
        of 8 bits; palettes and other color spaces always.

    Raises:
        ValueError: it is damaged, or needs a decompressor that is not installed.
    """
    with tifffile.TiffFile(io.BytesIO(data.data)) as file:
        page = file.pages.first
        kind = int(page.photometric)
        if kind not in (WHITE_IS_0, BLACK_IS_0, COLORS) or page.bitspersample == 1:
            return None
        if not keep_alpha:
            if page.bitspersample == 8 and (kind, page.samplesperpixel) in PILLOW_READS:
                return None
            bands, axes = page.asarray(), page.axes
        else:
            series = file.series[0]
            bands, axes = series.asarray(), series.axes
        orientation = page.tags.valueof(274, 1)
        extra = page.extrasamples
    if bands.ndim == 2:
        bands = bands[:, :, None]
    elif bands.ndim == 3 and axes.endswith("YX"):
        bands = np.moveaxis(bands, 0, 2)
    elif bands.ndim != 3 or not axes.endswith("YXS"):
        raise ValueError(f"an image of shape {bands.shape}: (H, W, C) or (C, H, W) is needed")
    if kind == WHITE_IS_0 and bands.dtype.kind == "u":
        bands = np.iinfo(bands.dtype).max - bands
    if not keep_alpha and extra and int(extra[-1]) in ALPHA:
        bands = bands[:, :, :-1]
    return _tensor(_upright(bands, orientation))


def _upright(bands: np.ndarray, orientation: int) -> np.ndarray:
    """Bands (H, W, C) turned by the Orientation of TIFF and EXIF, 1 to 8."""
    if orientation >= 5:
        bands = bands.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        bands = bands[::-1]
    return bands[:, ::-1] if orientation in (2, 3, 6, 7) else bands


def _tensor(bands: np.ndarray) -> Tensor:
    """(H, W, C) → (C, H, W). Whole numbers of other types are 16-bit where they lie in 0 to
    65535."""
    native = np.array(bands, dtype=bands.dtype.newbyteorder("="), order="C")
    if native.dtype.kind in "iu" and native.dtype not in (np.uint8, np.uint16):
        if native.min() < 0 or native.max() > 65535:
            raise ValueError("32-bit pixels have no fixed range")
        native = native.astype(np.uint16)
    elif native.dtype.kind not in "uf":
        raise ValueError(f"pixels of {native.dtype}: uint8, uint16 or floats are needed")
    return torch.from_numpy(native).permute(2, 0, 1)
