"""The two sources of every data set here: `Photos` are files, `Arrays` are images in memory."""

import hashlib
import os
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zfnet.data.decoding import UnreadableImage, decode
from zfnet.data.pixel_format import RGB8, PixelFormat
from zfnet.data.source import Source
from zfnet.errors import InputError


@dataclass
class Photos:
    """Image files; an id is a path relative to the root."""

    name: str
    root: Path
    classes: list[str]
    ids: list[str]
    labels: list[int]
    pixel_format: PixelFormat = field(default=RGB8, kw_only=True)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> Tensor:
        return decode(self.root / self.ids[index], self.pixel_format)


@dataclass
class Arrays:
    """Images in memory, uint8 (N, H, W, 3)."""

    name: str
    classes: list[str]
    ids: list[str]
    labels: list[int]
    images: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> Tensor:
        return torch.from_numpy(self.images[index]).permute(2, 0, 1)


def in_format(source: Source, pixel_format: PixelFormat) -> Source:
    """The same data set, whose images have this format.

    Raises:
        InputError: the source is not made of files, and its first image cannot be converted.
    """
    if isinstance(source, Photos) and type(source).read is Photos.read:
        return replace(source, pixel_format=pixel_format)

    def read(index: int) -> Tensor:
        image = source.read(index)
        try:
            return pixel_format.convert(image)
        except ValueError as error:
            raise UnreadableImage(f"{source.name}, {source.ids[index]}: {error}") from error

    if pixel_format != RGB8:
        try:
            pixel_format.convert(source.read(0))
        except UnreadableImage:
            pass  # reported when the store is built
        except ValueError as error:
            raise InputError(f"{source.name}: {error}") from error
    result = copy(source)
    vars(result)["read"] = read
    return result


def modification_stamp(source: Source) -> str:
    """A hash that changes when the pixels do, as far as can be told without decoding all of them.

    It covers the sizes and dates of all files (5 microseconds each), all bytes of arrays, and the
    pixels of three images of any other source."""
    digest = hashlib.sha256()
    if isinstance(source, Photos):
        for id_ in source.ids:
            digest.update(_size_and_date(f"{source.root}/{id_}"))
    elif isinstance(source, Arrays):
        digest.update(np.ascontiguousarray(source.images).data)
    else:
        for index in (0, len(source) // 2, len(source) - 1):
            digest.update(_pixels(source, index))
    return digest.hexdigest()


def _size_and_date(path: str) -> bytes:
    try:
        state = os.stat(path)  # noqa: PTH116 (a Path costs as much again)
    except OSError:  # to be found unreadable when its turn comes
        return b"none"
    return f"{state.st_size} {state.st_mtime_ns}\n".encode()


def _pixels(source: Source, index: int) -> bytes:
    try:
        return source.read(index).contiguous().numpy().tobytes()
    except UnreadableImage:
        return b"none"
