"""How a build writes images: as pixels one after the other, or as JPEGs in one file.

    with writer_of(folder, settings) as writer:
        jpeg = writer.store(image, out=group[0])
        writer.append(group, [jpeg], kept=0)
        writer.finish(kept=1)

`append` returns when the images are on the disk. A build that was killed writes its group again, at
the same place."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from zfnet.data.jpeg import decode_jpeg, encode_jpeg
from zfnet.data.store_files import JPEGS, OFFSETS, format_of, is_jpeg, pixel_file
from zfnet.io import length_of, pwrite
from zfnet.sizes import sides

OFFSET = 8  # bytes
ESTIMATE = 8  # a JPEG needs about this part of the bytes of its pixels


class Writer(ABC):
    """The files of images of a store that is being built.

    Args:
        folder: of the store.
        settings: of the store.

    Attributes:
        image_bytes: what an image needs, for JPEGs an estimate.
    """

    names: Sequence[str]
    image_bytes: int

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.files: list[int] = []
        self._open = ExitStack()

    def __enter__(self) -> "Writer":
        for name in self.names:
            file = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o666)
            self._open.callback(os.close, file)
            self.files.append(file)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @abstractmethod
    def store(self, image: Tensor, out: Tensor) -> bytes:
        """Puts an image into `out`, (H, W, C), as it will be read. Called from several threads.

        Returns:
            The JPEG, if JPEGs are written.
        """

    @abstractmethod
    def append(self, images: Tensor, jpegs: Sequence[bytes], kept: int) -> None:
        """Writes images, after the `kept` first ones, and waits for the disk.

        Args:
            images: (N, H, W, C).
            jpegs: what `store` returned for them.
            kept: the number of images before them.
        """

    @abstractmethod
    def has(self, kept: int) -> bool:
        """Whether the files hold `kept` images."""

    @abstractmethod
    def finish(self, kept: int) -> None:
        """Ends the files after `kept` images."""


class PixelWriter(Writer):
    """Writes pixels, of the same number of bytes for every image."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        super().__init__(folder, settings)
        pixel_format = format_of(settings)
        values = math.prod(sides(settings["size"])) * pixel_format.channels
        self.image_bytes = values * pixel_format.torch_dtype.itemsize
        self.names = [pixel_file(pixel_format)]

    def store(self, image: Tensor, out: Tensor) -> bytes:
        out.copy_(image)
        return b""

    def append(self, images: Tensor, jpegs: Sequence[bytes], kept: int) -> None:
        pwrite(self.files[0], images.numpy(), kept * self.image_bytes)
        os.fsync(self.files[0])

    def has(self, kept: int) -> bool:
        return length_of(self.folder / self.names[0]) >= kept * self.image_bytes

    def finish(self, kept: int) -> None:
        os.ftruncate(self.files[0], kept * self.image_bytes)
        os.fsync(self.files[0])


class JpegWriter(Writer):
    """Writes JPEGs, and where each begins."""

    names = (JPEGS, OFFSETS)

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        super().__init__(folder, settings)
        self.channels = format_of(settings).channels
        self.image_bytes = math.prod(sides(settings["size"])) * self.channels // ESTIMATE + OFFSET

    def store(self, image: Tensor, out: Tensor) -> bytes:
        jpeg = encode_jpeg(image)
        out.copy_(decode_jpeg(np.frombuffer(bytearray(jpeg), np.uint8), self.channels))
        return jpeg

    def append(self, images: Tensor, jpegs: Sequence[bytes], kept: int) -> None:
        file, offsets = self.files
        begin = self._offset(kept)
        pwrite(file, np.frombuffer(b"".join(jpegs), np.uint8), begin)
        os.fsync(file)
        ends = begin + np.cumsum([0, *map(len, jpegs)], dtype="<i8")
        pwrite(offsets, ends, kept * OFFSET)
        os.fsync(offsets)

    def has(self, kept: int) -> bool:
        if length_of(self.folder / OFFSETS) < (kept + 1) * OFFSET:
            return False
        with (self.folder / OFFSETS).open("rb") as file:
            file.seek(kept * OFFSET)
            return length_of(self.folder / JPEGS) >= int.from_bytes(file.read(OFFSET), "little")

    def finish(self, kept: int) -> None:
        end = self._offset(kept)
        for file, length in zip(self.files, (end, (kept + 1) * OFFSET), strict=True):
            os.ftruncate(file, length)
            os.fsync(file)

    def _offset(self, kept: int) -> int:
        """Where image `kept` begins."""
        return (
            int.from_bytes(os.pread(self.files[1], OFFSET, kept * OFFSET), "little") if kept else 0
        )


def writer_of(folder: Path, settings: dict[str, Any]) -> Writer:
    """What writes the images of a store of these settings."""
    return (JpegWriter if is_jpeg(settings) else PixelWriter)(folder, settings)
