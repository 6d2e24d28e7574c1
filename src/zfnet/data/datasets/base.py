"""What the data sets here are made of: `Photos` are files, `Arrays` are images in memory.

`Encoded` is the base of `Photos` and of images that lie inside larger files."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from zfnet.data.decoding import UnreadableImage, decode_from, read_file
from zfnet.data.pixel_format import RGB8, PixelFormat
from zfnet.data.source import Source
from zfnet.errors import InputError


@dataclass
class Encoded:
    """Images in files, such as JPEG. A subclass says which files, and reads the bytes of an image.

    Args:
        name, classes, ids, labels: as of `zfnet.data.source.Source`.
        root: where the files are. It precedes ids in messages.
        faults: what is wrong with records that have no image or no label, by index. They count as
            unreadable images.
        pixel_format: of the images.

    Attributes:
        in_order: whether images can only be read in their order, so that a store is needed.
    """

    in_order: ClassVar[bool] = False

    name: str
    root: Path
    classes: list[str]
    ids: list[str]
    labels: list[int]
    faults: Mapping[int, str] = field(default_factory=dict, kw_only=True)
    pixel_format: PixelFormat = field(default=RGB8, kw_only=True)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> Tensor:
        where = f"{self.root / self.ids[index]}"
        if index in self.faults:
            raise UnreadableImage(f"{where}: {self.faults[index]}")
        return decode_from(partial(self.encoded, index), where, self.pixel_format)

    def encoded(self, index: int) -> np.ndarray:
        """The bytes of one image, uint8 and writable. Called from several threads."""
        raise NotImplementedError

    def files(self) -> Iterable[str]:
        """The paths of all files. Their sizes and dates tell whether the images changed."""
        raise NotImplementedError


@dataclass
class Photos(Encoded):
    """Image files; an id is a path relative to the root."""

    def encoded(self, index: int) -> np.ndarray:
        return read_file(self.root / self.ids[index])

    def files(self) -> Iterable[str]:
        return (os.path.join(self.root, id_) for id_ in self.ids)  # noqa: PTH118 (as _size_and_date)


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
    if isinstance(source, Encoded) and type(source).read is Encoded.read:
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
    if isinstance(source, Encoded):
        for path in source.files():
            digest.update(_size_and_date(path))
    elif isinstance(source, Arrays):
        digest.update(np.ascontiguousarray(source.images).data)
    else:
        for index in (0, len(source) // 2, len(source) - 1):
            digest.update(_pixels(source, index))
    return digest.hexdigest()


def _size_and_date(path: str) -> bytes:
    try:
        state = os.stat(path)  # noqa: PTH116 (a Path costs as much again)
    except OSError:  # an address, or a file to be found unreadable when its turn comes
        return os.fsencode(f"{path}\n")
    return f"{state.st_size} {state.st_mtime_ns}\n".encode()


def _pixels(source: Source, index: int) -> bytes:
    try:
        return source.read(index).contiguous().numpy().tobytes()
    except UnreadableImage:
        return b"none"
