"""Images of one size: of a store, decoded each time, or a part of others.

    store = ImageStore.open("stores/photos/train-256-0a1b2c3d")
    store.read(0), store.labels[0]  # uint8 (256, 256, 3)
    Subset(store, torch.tensor([4, 7])).mean  # of two of them, which are not copied

zfnet.data.image_store builds and finds stores."""

import mmap
import os
import weakref
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from zfnet.data.decoding import resize_and_crop
from zfnet.data.jpeg import decode_jpeg
from zfnet.data.pixel_format import STEPS
from zfnet.data.source import Source
from zfnet.data.store_choice import memory
from zfnet.data.store_files import (
    JPEGS,
    OFFSETS,
    REMEDY,
    format_of,
    is_jpeg,
    map_pixels,
    pixel_file,
    read_index,
    read_offsets,
    read_parts,
)
from zfnet.errors import InputError, one_line
from zfnet.io import check_length
from zfnet.sizes import Size, as_size, sides


class ImageDataset(Protocol):
    """Images of one size, from a store or decoded each time: the same pixels, labels and order."""

    ids: list[str]
    classes: list[str]
    labels: Tensor  # (N,) int64
    size: Size

    @property
    def mean(self) -> Tensor:
        """(C, H, W) float32, 0 to 255."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Tensor:
        """(H, W, C) uint8, uint16 or float32."""


@dataclass(eq=False, repr=False)
class _Contents:
    """What all kinds hold in memory."""

    folder: Path
    ids: list[str]
    classes: list[str]
    labels: Tensor
    mean: Tensor
    size: Size

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(eq=False, repr=False)
class ImageStore(_Contents):
    """A complete store of pixels. `images`, (N, H, W, C), is a memory map of `file`: pages are read
    when they are touched, shared between processes, and never written back.

    Without a file the images lie in memory."""

    images: Tensor
    file: Path | None = None

    def __post_init__(self) -> None:
        self._stays = 2 * self.images.nbytes <= memory()
        self._was_read = torch.zeros(len(self), dtype=torch.bool)
        if self.file is not None:
            self._opened = _open(self, self.file)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "ImageStore":
        """Opens a store. Raises InputError if it is missing, incomplete or has no pixels."""
        folder = Path(folder)
        index = _complete_index(folder)
        if is_jpeg(index):
            raise InputError(f"{folder}: is a store of JPEGs; {REMEDY}")
        contents, pixel_format = _contents(folder, index), format_of(index)
        path = folder / pixel_file(pixel_format)
        shape = (len(contents), *sides(contents.size), pixel_format.channels)
        images = map_pixels(path, shape, pixel_format.torch_dtype)
        return cls(**vars(contents), images=images, file=path)

    def read(self, index: int) -> Tensor:
        return self.images[index]

    def is_in_memory(self, rows: Tensor) -> bool:
        """Whether the images `rows` were prefetched before, and stay where they are because the
        memory has room for twice the store."""
        return self.file is None or (self._stays and bool(self._was_read[rows].all()))

    def prefetch(self, rows: Tensor) -> None:
        """Brings the images `rows`, (B,) int64, into memory, and returns when they are there."""
        if self.is_in_memory(rows):
            return
        size = self.images[0].nbytes
        if hasattr(os, "posix_fadvise"):  # the disk may then read all of them at once
            for row in rows.tolist():
                os.posix_fadvise(self._opened, row * size, size, os.POSIX_FADV_WILLNEED)
        pages = self.images.view(torch.uint8).view(len(self), size)
        for bytes_of_pages in (pages[:, :: mmap.PAGESIZE], pages[:, -1:]):
            bytes_of_pages.index_select(0, rows)
        self._was_read[rows] = True

    def __reduce__(self) -> tuple[Any, ...]:
        return ImageStore.open, (self.folder,)  # another process maps the file itself


@dataclass(eq=False, repr=False)
class JpegStore(_Contents):
    """A complete store of JPEGs, which are decoded when they are read.

    `offsets`, (N + 1,) int64, is where each begins in the file."""

    offsets: Tensor

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "JpegStore":
        """Opens a store. Raises InputError if it is missing, incomplete or holds no JPEGs."""
        folder = Path(folder)
        index = _complete_index(folder)
        if not is_jpeg(index):
            raise InputError(f"{folder}: is a store of pixels; {REMEDY}")
        contents = _contents(folder, index)
        expected = index.get("hashes", {}).get(OFFSETS)
        return cls(
            **vars(contents), offsets=read_offsets(folder / OFFSETS, len(contents), expected)
        )

    def __post_init__(self) -> None:
        path, length = self.folder / JPEGS, int(self.offsets[-1])
        check_length(path, length, REMEDY)
        self._opened = _open(self, path)

    def read(self, index: int) -> Tensor:
        begin, end = self.offsets[index : index + 2].tolist()
        data = np.empty(end - begin, dtype=np.uint8)
        try:
            if os.preadv(self._opened, [data.data], begin) < len(data):
                raise ValueError("the file is shorter than it was")
            pixels = decode_jpeg(data, len(self.mean))
            if pixels.shape[:2] != sides(self.size):
                raise ValueError(f"it has {pixels.shape[0]} x {pixels.shape[1]} pixels")
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                f"{self.folder / JPEGS}: image {self.ids[index]} is damaged ({one_line(error)}); "
                f"{REMEDY}"
            ) from error
        return pixels

    def __reduce__(self) -> tuple[Any, ...]:
        return JpegStore.open, (self.folder,)


@dataclass(eq=False, repr=False)
class OnTheFly(_Contents):
    """The images of a store without pixels; `rows` are their indices in the source."""

    source: Source
    rows: list[int]

    def read(self, index: int) -> Tensor:
        return resize_and_crop(self.source.read(self.rows[index]), self.size)


@dataclass(eq=False, repr=False)
class Subset:
    """The images `rows`, (M,) int64 without repeats, of `base`, in that order. Nothing is
    copied."""

    base: ImageDataset
    rows: Tensor

    def __post_init__(self) -> None:
        self.ids = [self.base.ids[row] for row in self.rows.tolist()]
        self.labels = self.base.labels[self.rows]
        self.classes, self.size = self.base.classes, self.base.size

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> Tensor:
        return self.base.read(int(self.rows[index]))

    @cached_property
    def mean(self) -> Tensor:
        """The mean of the chosen images, computed from the others if those are fewer. Exact up to
        two float32 roundings."""
        if not len(self):
            return torch.zeros_like(self.base.mean)
        kept = torch.zeros(len(self.base), dtype=torch.bool)
        kept[self.rows] = True
        dtype = self.base.read(0).dtype
        if len(self) <= len(self.base) // 2:
            total = self._sum(kept)
        else:
            whole = self.base.mean.double() * len(self.base) * STEPS[dtype]
            total = (whole if dtype.is_floating_point else whole.round()) - self._sum(~kept)
        return (total / len(self) / STEPS[dtype]).float()

    def _sum(self, which: Tensor) -> Tensor:
        """The sum over images of the base, (C, H, W) float64, of integers exact."""
        channels = len(self.base.mean)
        total = torch.zeros(*sides(self.size), channels, dtype=torch.float64)
        for row in which.nonzero().flatten().tolist():
            total += self.base.read(row)
        return total.permute(2, 0, 1).contiguous()


def open_store(folder: Path) -> ImageStore | JpegStore:
    """Opens a store of either kind. Raises InputError if it is missing, incomplete or damaged."""
    return (JpegStore if is_jpeg(_complete_index(folder)) else ImageStore).open(folder)


def on_the_fly(folder: Path, source: Source) -> OnTheFly:
    """The images of a store without pixels.

    Args:
        folder: of the store.
        source: what it was built from.

    Raises:
        InputError: the store is missing, incomplete or damaged.
    """
    contents = _contents(folder, _index(folder))
    kept = set(contents.ids)
    rows = [row for row, name in enumerate(source.ids) if name in kept]
    return OnTheFly(**vars(contents), source=source, rows=rows)


def _open(owner: object, path: Path) -> int:
    """A descriptor of a file, closed with its owner. It remains valid if the file is deleted."""
    file = os.open(path, os.O_RDONLY)
    weakref.finalize(owner, os.close, file)
    return file


def _index(folder: Path) -> dict[str, Any]:
    index = read_index(folder)
    if index is None:
        raise InputError(
            f"{folder}: no complete image store, index.json is missing; build it first"
        )
    return index


def _complete_index(folder: Path) -> dict[str, Any]:
    """The settings of a store that has images."""
    index = _index(folder)
    if not index["pixels"]:
        raise InputError(f"{folder}: was built without pixels (data.store=false); {REMEDY}")
    return index


def _contents(folder: Path, index: dict[str, Any]) -> _Contents:
    ids, labels, mean = read_parts(folder, index)
    return _Contents(folder, ids, index["classes"], labels, mean, as_size(index["size"]))
