"""What lies in a store's folder and how it gets there: whole files or none, settings compared, one builder.

    save(folder / "index.json", data)
    with alone(folder): ...

After `save` a file holds the new bytes or the old ones, whatever happens; `alone` keeps a second builder out.
"""

import fcntl
import io
import json
import logging
import math
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zfnet.errors import InputError

MAP_NORESERVE = 0x4000 if os.uname().sysname == "Linux" else 0  # mmap has the name from Python 3.13 on
MEANING = {"contents": "contents (hash of ids, labels, classes)", "files": "files (hash of sizes and dates)"}
REMEDY = "choose another data.store_dir, or delete the folder to build it anew"
log = logging.getLogger(__name__)


def compare(folder: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    differing = [
        f"{MEANING.get(key, key)} is {found.get(key)!r} there and {value!r} was asked for"
        for key, value in asked.items()
        if found.get(key) != value
    ]
    if differing:
        raise InputError(f"{folder}: holds another store: {'; '.join(differing)}; {REMEDY}")


def read_index(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / "index.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise InputError(f"{folder / 'index.json'}: is damaged ({error}); {REMEDY}") from error


def map_pixels(path: Path, count: int, size: int) -> Tensor:
    """The file as uint8 (count, size, size, 3)."""
    return mapped(path, (count, size, size, 3), torch.uint8)


def mapped(path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The file as a tensor, its pages read when touched. Not by torch.from_file, which asks the kernel to set
    memory aside for the whole file and fails for one larger than the machine's."""
    length = math.prod(shape) * dtype.itemsize
    if length_of(path) != length:
        raise InputError(f"{path}: has {length_of(path):,} bytes and {length:,} are expected; {REMEDY}")
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), length, flags=mmap.MAP_PRIVATE | MAP_NORESERVE)
    return torch.frombuffer(pages, dtype=dtype).view(shape)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; it is the kernel's, and goes with the process."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info(f"{folder}: another process is building this store; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def pwrite(file: int, data: np.ndarray, offset: int) -> None:
    """All of it. Never through a memory map, where a full disk kills the process."""
    rest = data.data.cast("B")
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written


def save(path: Path, data: bytes) -> None:
    """The whole file or the old one, whatever happens."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def save_lines(path: Path, lines: list[str]) -> None:
    save(path, "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"))


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def length_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
