"""Decode once, train from memory: every photo's centre square as raw bytes in one file, mapped and not read.

A store is a folder; its parts, for N images of S x S pixels:

    images.u8       uint8 (N, S, S, 3), no header         labels.npy, ids.txt   N of each
    mean.npy        float32 (3, S, S), the mean pixels    unreadable.txt        what was skipped, and why
    index.json      the settings; written last, so its presence says that the rest is complete

A build goes in groups. After each, the pixels are on the disk and progress.npz says how far they count, so a
build that was killed goes on from there, to the same bytes. With `pixels=False` everything but images.u8 is
made: the mean and the list of unreadable files are known, and each `read` decodes again.

The folder's name may hold a hash of the settings, among them the ids, labels, sizes and dates of the files: a data
set that grew or changed then has another store, and nobody is asked to delete the old one first. Dates count, though
a copy of the same photos is then stored again: bytes can change where sizes do not.

    images = find_store(folder("photos", "train"), Path("stores/photos"), "train", size=256)
    images.read(0), images.labels[0]  # uint8 (256, 256, 3)
    Subset(images, torch.tensor([4, 7])).mean  # that of two of them, which are not copied
"""

import errno
import glob
import hashlib
import json
import logging
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from zfnet.data.datasets import Source, modification_stamp
from zfnet.data.decoding import square
from zfnet.data.store_building import Build, check_bad
from zfnet.data.store_files import REMEDY, compare, lock_folder, map_pixels, read_index, read_parts
from zfnet.errors import InputError
from zfnet.fingerprint import digest

VERSION = 1
log = logging.getLogger(__name__)


class ImageDataset(Protocol):
    """Square images by number, from a store or decoded each time: the same pixels, labels and order."""

    ids: list[str]
    classes: list[str]
    labels: Tensor  # (N,) int64
    size: int

    @property
    def mean(self) -> Tensor:
        """(3, S, S) float32, 0 to 255."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Tensor:
        """(S, S, 3) uint8."""


@dataclass(eq=False, repr=False)
class _Contents:
    """What both kinds hold in memory, read from the folder."""

    folder: Path
    ids: list[str]
    classes: list[str]
    labels: Tensor
    mean: Tensor
    size: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(eq=False, repr=False)
class ImageStore(_Contents):
    """A complete store. `images`, (N, S, S, 3) uint8, maps the file: pages are read when touched, shared
    between processes, and never written back."""

    images: Tensor

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "ImageStore":
        """Raises InputError where there is no complete store, or one without pixels."""
        folder = Path(folder)
        index = read_index(folder)
        if index is None:
            raise InputError(f"{folder}: no complete image store, index.json is missing; build it first")
        if not index["pixels"]:
            raise InputError(f"{folder}: was built without pixels (data.store=false); {REMEDY}")
        contents = _contents(folder, index)
        return cls(**vars(contents), images=map_pixels(folder / "images.u8", len(contents), contents.size))

    def read(self, index: int) -> Tensor:
        return self.images[index]

    def __reduce__(self) -> tuple[Any, ...]:
        return ImageStore.open, (self.folder,)  # a worker process maps the file itself


@dataclass(eq=False, repr=False)
class OnTheFly(_Contents):
    """The images of a store that keeps no pixels; `rows` are their positions in the source."""

    source: Source
    rows: list[int]

    def read(self, index: int) -> Tensor:
        return square(self.source.read(self.rows[index]), self.size)


@dataclass(eq=False, repr=False)
class Subset:
    """The pictures `rows`, (M,) int64 without repeats, of other images, in that order; nothing is copied."""

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
        """Of the chosen pictures alone; from the others' sum where those are fewer. Off by two roundings of
        float32 at most."""
        if not len(self):
            return torch.zeros_like(self.base.mean)
        kept = torch.zeros(len(self.base), dtype=torch.bool)
        kept[self.rows] = True
        if len(self) <= len(self.base) // 2:
            total = self._sum(kept)
        else:
            total = (self.base.mean.double() * len(self.base)).round() - self._sum(~kept)
        return (total / len(self)).float()

    def _sum(self, which: Tensor) -> Tensor:
        """The pixels' sums over these pictures of the base, (3, S, S) float64, in whole numbers."""
        total = torch.zeros(self.size, self.size, 3, dtype=torch.int64)
        for row in which.nonzero().flatten().tolist():
            total += self.base.read(row)
        return total.permute(2, 0, 1).contiguous().double()


def find_store(
    source: Source, parent: Path, name: str, size: int, max_bad: int = 10, pixels: bool = True
) -> ImageDataset:
    """The store of `source` in `parent`, found or built.

    Its folder is called `name`, size and a hash of its settings, "train-128-0a1b2c3d". One of the same settings
    without the hash, as earlier versions named it, is used too. Nothing is deleted; before a build, the stores of
    `name` that hold something else are logged.

    Raises:
        InputError: as `build_store`.
    """
    settings = _settings(source, size, pixels)
    plain = parent / f"{name}-{size}{'' if pixels else '-index'}"
    folder = parent / f"{plain.name}-{digest(settings)[:8]}"
    if not os.path.lexists(folder / "index.json"):
        if _fits(plain, settings):
            folder = plain
        elif others := _others(plain, folder):
            log.info(
                "%s: holds stores of other images or settings: delete what is no longer used of %s",
                parent,
                ", ".join(other.name for other in others),
            )
    return _built(source, folder, settings, max_bad, os.cpu_count())


def build_store(
    source: Source,
    folder: str | os.PathLike[str],
    size: int,
    max_bad: int = 10,
    workers: int | None = os.cpu_count(),
    pixels: bool = True,
) -> ImageDataset:
    """The complete store in `folder`, built, finished or simply opened; `OnTheFly` with `pixels=False`.

    Unreadable images are skipped and listed in unreadable.txt. Raises InputError for more than `max_bad` of
    them, for a folder with other settings (nothing is deleted), and where the disk cannot hold the store.
    """
    return _built(source, Path(folder), _settings(source, size, pixels), max_bad, workers)


def _built(
    source: Source, folder: Path, settings: dict[str, Any], max_bad: int, workers: int | None
) -> ImageDataset:
    try:
        if not _is_complete(folder, settings):
            folder.mkdir(parents=True, exist_ok=True)
            with lock_folder(folder):
                if not _is_complete(folder, settings):  # another process may have built it meanwhile
                    Build(source, folder, settings, max_bad).run(workers)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"{folder}: the disk is full; what was built stays: free some space and run the same command "
                "again, or choose another data.store_dir or data.store=false"
            ) from error
        raise InputError(f"{folder}: {error.strerror or error}; choose another data.store_dir") from error
    index = read_index(folder)
    if index is None:
        raise InputError(f"{folder}: the store was removed while it was opened; run the same command again")
    contents = _contents(folder, index)
    check_bad(folder, len(source) - len(contents), len(source), max_bad)
    if settings["pixels"]:
        return ImageStore.open(folder)
    kept = set(contents.ids)
    rows = [row for row, name in enumerate(source.ids) if name in kept]
    return OnTheFly(**vars(contents), source=source, rows=rows)


def _fits(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether a complete store of these settings lies there."""
    try:
        index = read_index(folder)
    except InputError:  # damaged
        return False
    return index is not None and all(index.get(key) == value for key, value in settings.items())


def _others(plain: Path, folder: Path) -> list[Path]:
    """Folders of stores that have the name of `plain`, with a hash or without, but `folder`."""
    hashed = plain.parent.glob(f"{glob.escape(plain.name)}-" + "[0-9a-f]" * 8)
    return sorted(path for path in (plain, *hashed) if path != folder and path.is_dir())


def _settings(source: Source, size: int, pixels: bool) -> dict[str, Any]:
    """What makes two stores the same."""
    if not len(source):
        raise InputError(f"{source.name}: the data set holds no images")
    contents = json.dumps([source.classes, [int(label) for label in source.labels], source.ids])
    return {
        "version": VERSION,
        "source": source.name,
        "size": size,
        "pixels": pixels,
        "images": len(source),
        "contents": hashlib.sha256(contents.encode()).hexdigest()[:16],
        "files": hashlib.sha256(modification_stamp(source).encode()).hexdigest()[:16],
    }


def _is_complete(folder: Path, settings: dict[str, Any]) -> bool:
    """Raises InputError for a complete store of other settings."""
    index = read_index(folder)
    if index is None:
        return False
    compare(folder, index, settings)
    return True


def _contents(folder: Path, index: dict[str, Any]) -> _Contents:
    ids, labels, mean = read_parts(folder, index)
    return _Contents(folder, ids, index["classes"], labels, mean, index["size"])
