"""One layer's features of a data set on the disk, written batch by batch and memory-mapped.

    KEY.f32     float32, no header
    KEY.json    the layer, and how many images are done

KEY.json is written after the bytes of these images are on the disk.

    cache = FeatureCache(folder / key, (images, width), {"layer": "conv5", "pool": 6})
    with cache.open() as file: ...              # write the bytes, then cache.save(file, done=64)
    cache.features()                            # (images, width)
"""

import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zfnet.errors import InputError
from zfnet.io import length_of, mapped, read_json, save_json

REMEDY = "delete it to compute the features again"


@dataclass(frozen=True)
class FeatureCache:
    """The files of one layer's features.

    Attributes:
        path: without a suffix.
        shape: images first.
        about: what the index says to a reader.
        first: some of the first image's features.
    """

    path: Path
    shape: tuple[int, ...]
    about: dict[str, Any]
    first: Sequence[float] = ()

    @property
    def data(self) -> Path:
        return self.path.with_suffix(".f32")

    @property
    def index(self) -> Path:
        return self.path.with_suffix(".json")

    @property
    def image_bytes(self) -> int:
        """Bytes of one image's features."""
        return 4 * math.prod(self.shape[1:])

    @property
    def done(self) -> int:
        """The number of images whose features are on the disk.

        Raises:
            InputError: the index is damaged.
        """
        if not os.path.lexists(self.index):
            return 0
        done = read_json(self.index, REMEDY, self._done)
        return done if length_of(self.data) >= done * self.image_bytes else 0

    def _done(self, state: Any) -> int:
        """What the index says; ValueError if it belongs to another file."""
        done, shape = state["done"], state["shape"]
        if shape != list(self.shape) or type(done) is not int or not 0 <= done <= self.shape[0]:
            raise ValueError(
                f"{done} images are done of {shape}, where {list(self.shape)} are expected"
            )
        return done

    @property
    def first_on_disk(self) -> list[float]:
        """`first`, as the index says."""
        return read_json(self.index, REMEDY, lambda state: [float(each) for each in state["first"]])

    @property
    def missing(self) -> int:
        """The number of images whose features are not on the disk."""
        return self.shape[0] - self.done

    @contextmanager
    def open(self) -> Iterator[int]:
        """A file descriptor to write the bytes."""
        file = os.open(self.data, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            yield file
        finally:
            os.close(file)

    def save(self, file: int, done: int) -> None:
        """Makes the features of the first `done` images, which are written, survive a kill."""
        os.fsync(file)
        state = {
            **self.about,
            "first": list(self.first),
            "shape": self.shape,
            "done": max(done, self.done),
        }
        save_json(self.index, state)

    def features(self) -> Tensor:
        """All features, of `shape`. Pages are read from the disk when they are touched."""
        return mapped(self.data, self.shape, torch.float32, REMEDY)


def check_disk_space(folder: Path, missing: Sequence[FeatureCache]) -> None:
    """Raises InputError if the missing features do not fit on the disk."""
    needed = sum(each.missing * each.image_bytes for each in missing)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: the features need {needed:,} bytes and {free:,} are free; free some space, "
            "average them down (pool=6) or name fewer layers"
        )
