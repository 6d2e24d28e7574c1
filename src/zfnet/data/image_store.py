"""Decode once, train from memory: every photo's centre square as raw bytes in one file, mapped and not read.

A store is a folder; its parts, for N images of S x S pixels:

    images.u8       uint8 (N, S, S, 3), no header         labels.npy, ids.txt   N of each
    mean.npy        float32 (3, S, S), the mean pixels    unreadable.txt        what was skipped, and why
    index.json      the settings; written last, so its presence says that the rest is complete

A build goes in groups. After each, the pixels are on the disk and progress.npz says how far they count, so a
build that was killed goes on from there, to the same bytes. With `pixels=False` everything but images.u8 is
made: the mean and the list of unreadable files are known, and each `read` decodes again.

    images = build_store(folder("photos", "train"), "stores/photos", size=256)
    images.read(0), images.labels[0]  # uint8 (256, 256, 3)
    Chosen(images, torch.tensor([4, 7])).mean  # that of two of them, which are not copied
"""

import errno
import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from zfnet.data.decoding import square
from zfnet.data.sources import Source, stamp
from zfnet.data.store_building import Build, check_bad
from zfnet.data.store_files import REMEDY, compare, lock_folder, map_pixels, read_index
from zfnet.errors import InputError

VERSION = 1


class Images(Protocol):
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
class Chosen:
    """The pictures `rows`, (M,) int64 without repeats, of other images, in that order; nothing is copied."""

    base: Images
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


def build_store(
    source: Source,
    folder: str | os.PathLike[str],
    size: int,
    max_bad: int = 10,
    workers: int | None = os.cpu_count(),
    pixels: bool = True,
) -> Images:
    """The complete store in `folder`, built, finished or simply opened; `OnTheFly` with `pixels=False`.

    Unreadable images are skipped and listed in unreadable.txt. Raises InputError for more than `max_bad` of
    them, for a folder with other settings (nothing is deleted), and where the disk cannot hold the store.
    """
    folder = Path(folder)
    settings = _settings(source, size, pixels)
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
    contents = _contents(folder, settings | {"classes": list(source.classes)})
    check_bad(folder, len(source) - len(contents), len(source), max_bad)
    if pixels:
        return ImageStore.open(folder)
    kept = set(contents.ids)
    rows = [row for row, name in enumerate(source.ids) if name in kept]
    return OnTheFly(**vars(contents), source=source, rows=rows)


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
        "files": hashlib.sha256(stamp(source).encode()).hexdigest()[:16],
    }


def _is_complete(folder: Path, settings: dict[str, Any]) -> bool:
    """Raises InputError for a complete store of other settings."""
    index = read_index(folder)
    if index is None:
        return False
    compare(folder, index, settings)
    return True


def _contents(folder: Path, index: dict[str, Any]) -> _Contents:
    try:
        text = (folder / "ids.txt").read_bytes().decode(errors="surrogateescape")
        labels = torch.from_numpy(np.load(folder / "labels.npy"))
        mean = torch.from_numpy(np.load(folder / "mean.npy"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: the image store is damaged ({error}); {REMEDY}") from error
    return _Contents(folder, text.split("\n")[:-1], index["classes"], labels, mean, index["size"])
