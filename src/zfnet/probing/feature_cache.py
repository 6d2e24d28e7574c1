"""One layer's features of a data set on the disk, filled batch by batch and mapped, not read.

KEY.f32        float32, no header
KEY.json       of which layer, and how many pictures are done: written after their bytes are on the disk

kept = FeatureCache(folder / key, (pictures, width), {"layer": "conv5", "pool": 6})
with kept.opened() as file: ...                       # writes its bytes; then kept.save(file, done=64)
kept.features()                                       # (pictures, width)
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
    """Features of `shape`, pictures first; `about` stands in the index for a reader."""

    path: Path
    shape: tuple[int, ...]
    about: dict[str, Any]
    first: Sequence[float] = ()  # some of the first picture's features

    @property
    def data(self) -> Path:
        return self.path.with_suffix(".f32")

    @property
    def index(self) -> Path:
        return self.path.with_suffix(".json")

    @property
    def picture(self) -> int:
        """Bytes of one picture's features."""
        return 4 * math.prod(self.shape[1:])

    @property
    def done(self) -> int:
        """Pictures that are safe on the disk."""
        if not os.path.lexists(self.index):
            return 0
        done = read_json(self.index, REMEDY, self._done)
        return done if length_of(self.data) >= done * self.picture else 0

    def _done(self, state: Any) -> int:
        """What the index says; ValueError where it is none of this file."""
        done, shape = state["done"], state["shape"]
        if shape != list(self.shape) or type(done) is not int or not 0 <= done <= self.shape[0]:
            raise ValueError(f"{done} pictures are done of {shape}, where {list(self.shape)} are expected")
        return done

    @property
    def first_on_disk(self) -> list[float]:
        """Some of the first picture's features, as the index keeps them."""
        return read_json(self.index, REMEDY, lambda state: [float(each) for each in state["first"]])

    @property
    def missing(self) -> int:
        return self.shape[0] - self.done

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor to write the bytes through."""
        file = os.open(self.data, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            yield file
        finally:
            os.close(file)

    def save(self, file: int, done: int) -> None:
        """The bytes of the first `done` pictures are written: from now on a kill does not cost them."""
        os.fsync(file)
        state = {**self.about, "first": list(self.first), "shape": self.shape, "done": max(done, self.done)}
        save_json(self.index, state)

    def features(self) -> Tensor:
        return mapped(self.data, self.shape, torch.float32, REMEDY)


def check_disk_space(folder: Path, missing: Sequence[FeatureCache]) -> None:
    """Raises InputError where the features would not fit on the disk."""
    needed = sum(each.missing * each.picture for each in missing)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: the features need {needed:,} bytes and {free:,} are free; free some space, "
            "average them down (pool=6) or name fewer layers"
        )
