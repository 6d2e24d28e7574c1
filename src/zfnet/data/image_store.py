"""Image stores: each image is decoded once, its center is kept in a memory-mapped file.

    images = find_store(folder("photos", "train"), Path("stores/photos"), "train", size=256)
    images.read(0), images.labels[0]  # uint8 (256, 256, 3)
    Subset(images, torch.tensor([4, 7])).mean  # of two of them, which are not copied

A store of N images of H x W pixels in C channels is a folder:

    images.u8     uint8 (N, H, W, C), no header         labels.npy, ids.txt   N of each
    mean.npy      float32 (C, H, W), the mean pixels    unreadable.txt        what was skipped, why
    index.json    the settings; written last, so that its presence means that the rest is complete

uint16 pixels are in images.u16, float32 pixels in images.f32. The mean counts in steps of uint8
(zfnet.data.pixel_format). Without "channels" and "dtype" in index.json, as earlier versions wrote
it, pixels are uint8 in three channels.

A build proceeds in groups. After each group the pixels are on the disk and progress.npz says how
many, so that a build that was killed is resumed, with the same bytes. With `pixels=False`
everything but the pixels is written, and each `read` decodes the image again.

The name of the folder has a hash of the settings, which include the ids, labels, sizes and dates of
the files. A data set that changed therefore has another store. Dates count although a copy of the
same photos is then stored again, because bytes can change where sizes do not."""

import errno
import glob
import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from zfnet.data.datasets import modification_stamp
from zfnet.data.decoding import resize_and_crop
from zfnet.data.pixel_format import RGB8, STEPS, PixelFormat
from zfnet.data.source import Source
from zfnet.data.store_building import Build, check_bad
from zfnet.data.store_files import (
    REMEDY,
    compare,
    format_of,
    lock_folder,
    map_pixels,
    pixel_file,
    read_index,
    read_parts,
)
from zfnet.errors import InputError
from zfnet.fingerprint import digest
from zfnet.sizes import Size, as_size, sides

VERSION = 1
log = logging.getLogger(__name__)


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
    """What both kinds hold in memory."""

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
    """A complete store. `images`, (N, H, W, C), is a memory map: pages are read when they are
    touched, shared between processes, and never written back."""

    images: Tensor

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "ImageStore":
        """Opens a store. Raises InputError if it is missing, incomplete or has no pixels."""
        folder = Path(folder)
        index = read_index(folder)
        if index is None:
            raise InputError(
                f"{folder}: no complete image store, index.json is missing; build it first"
            )
        if not index["pixels"]:
            raise InputError(f"{folder}: was built without pixels (data.store=false); {REMEDY}")
        contents, pixel_format = _contents(folder, index), format_of(index)
        path = folder / pixel_file(pixel_format)
        shape = (len(contents), *sides(contents.size), pixel_format.channels)
        return cls(**vars(contents), images=map_pixels(path, shape, pixel_format.torch_dtype))

    def read(self, index: int) -> Tensor:
        return self.images[index]

    def __reduce__(self) -> tuple[Any, ...]:
        return ImageStore.open, (self.folder,)  # another process maps the file itself


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


def find_store(
    source: Source,
    parent: Path,
    name: str,
    size: Size,
    max_bad: int = 10,
    pixels: bool = True,
    pixel_format: PixelFormat = RGB8,
) -> ImageDataset:
    """The store of a data set, which is built if it is not there.

    Nothing is deleted. Before a build, other stores of the same name are logged.

    Args:
        source: the data set.
        parent: the folder of its stores.
        name: of the store. Its folder is named by name, size and a hash of the settings,
            "train-128-0a1b2c3d". One without the hash, as earlier versions named it, is used if its
            settings are the same.
        size, max_bad, pixels, pixel_format: as of `build_store`.

    Raises:
        InputError: as `build_store`.
    """
    settings = _settings(source, size, pixels, pixel_format)
    plain = parent / f"{name}-{_name_of(size)}{'' if pixels else '-index'}"
    folder = parent / f"{plain.name}-{digest(settings)[:8]}"
    if not os.path.lexists(folder / "index.json"):
        if _has_settings(plain, settings):
            folder = plain
        elif others := _other_stores(plain, folder):
            log.info(
                "%s: holds stores of other images or settings: delete what is no longer used of %s",
                parent,
                ", ".join(other.name for other in others),
            )
    return _open_or_build(source, folder, settings, max_bad, os.cpu_count())


def build_store(
    source: Source,
    folder: str | os.PathLike[str],
    size: Size,
    max_bad: int = 10,
    workers: int | None = os.cpu_count(),
    pixels: bool = True,
    pixel_format: PixelFormat = RGB8,
) -> ImageDataset:
    """Builds a store, or resumes its build, or opens it if it is complete.

    Args:
        source: the data set.
        folder: of the store.
        size: of the stored images, in pixels: a side, or (height, width).
        max_bad: how many unreadable images are skipped, and listed in unreadable.txt.
        workers: the number of decoding threads.
        pixels: False builds a store without pixels, whose images are decoded each time.
        pixel_format: that of the source's images (see `zfnet.data.datasets.base.in_format`).

    Raises:
        InputError: more images are unreadable, the folder holds a store of other settings, or the
            disk is too small.
    """
    settings = _settings(source, size, pixels, pixel_format)
    return _open_or_build(source, Path(folder), settings, max_bad, workers)


def _open_or_build(
    source: Source, folder: Path, settings: dict[str, Any], max_bad: int, workers: int | None
) -> ImageDataset:
    try:
        if not _is_complete(folder, settings):
            folder.mkdir(parents=True, exist_ok=True)
            with lock_folder(folder):
                # Another process may have built it meanwhile.
                if not _is_complete(folder, settings):
                    Build(source, folder, settings, max_bad).run(workers)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"{folder}: the disk is full; what was built stays: free some space and run the "
                "same command "
                "again, or choose another data.store_dir or data.store=false"
            ) from error
        raise InputError(
            f"{folder}: {error.strerror or error}; choose another data.store_dir"
        ) from error
    index = read_index(folder)
    if index is None:
        raise InputError(
            f"{folder}: the store was removed while it was opened; run the same command again"
        )
    contents = _contents(folder, index)
    check_bad(folder, len(source) - len(contents), len(source), max_bad)
    if settings["pixels"]:
        return ImageStore.open(folder)
    kept = set(contents.ids)
    rows = [row for row, name in enumerate(source.ids) if name in kept]
    return OnTheFly(**vars(contents), source=source, rows=rows)


def _has_settings(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether the folder is a complete store of these settings."""
    try:
        index = read_index(folder)
    except InputError:  # damaged
        return False
    return index is not None and all(index.get(key) == value for key, value in settings.items())


def _other_stores(plain: Path, folder: Path) -> list[Path]:
    """Other folders of stores with the name of `plain`, with or without a hash."""
    hashed = plain.parent.glob(f"{glob.escape(plain.name)}-" + "[0-9a-f]" * 8)
    return sorted(path for path in (plain, *hashed) if path != folder and path.is_dir())


def _name_of(size: Size) -> str:
    return "x".join(map(str, [size] if isinstance(size, int) else size))


def _settings(
    source: Source, size: Size, pixels: bool, pixel_format: PixelFormat
) -> dict[str, Any]:
    """What two stores must share to be the same."""
    if not len(source):
        raise InputError(f"{source.name}: the data set holds no images")
    contents = json.dumps([source.classes, [int(label) for label in source.labels], source.ids])
    return {
        "version": VERSION,
        "source": source.name,
        "size": size if isinstance(size, int) else list(size),
        "pixels": pixels,
        **({} if pixel_format == RGB8 else asdict(pixel_format)),
        "images": len(source),
        "contents": hashlib.sha256(contents.encode()).hexdigest()[:16],
        "files": hashlib.sha256(modification_stamp(source).encode()).hexdigest()[:16],
    }


def _is_complete(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether the store is complete. Raises InputError if it has other settings."""
    index = read_index(folder)
    if index is None:
        return False
    compare(folder, index, settings)
    return True


def _contents(folder: Path, index: dict[str, Any]) -> _Contents:
    ids, labels, mean = read_parts(folder, index)
    return _Contents(folder, ids, index["classes"], labels, mean, as_size(index["size"]))
