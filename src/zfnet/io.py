"""Files: written whole or not at all, read back with one clear line when they are damaged, locked by one process.

    save_json(folder / "progress.json", {"done": 3})        # the new file or the old one, whatever happens
    read_json(folder / "progress.json", "delete it to start again")
    with file_lock([folder / ".lock"], f"{folder}: in use; waiting") as (_, lock): ...

Every file that the software writes and reads back goes through `read_back`. Nothing that is read runs code.
"""

import errno
import fcntl
import io
import json
import logging
import math
import mmap
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from zfnet.errors import InputError, one_line

MAP_NORESERVE = 0x4000 if os.uname().sysname == "Linux" else 0  # mmap has the name from Python 3.13 on
FULL = (errno.ENOSPC, errno.EDQUOT)
T = TypeVar("T")
log = logging.getLogger(__name__)


def read_back(path: Path, parse: Callable[[Path], T], remedy: str) -> T:
    """What `parse` makes of a file.

    Args:
        path: the file.
        parse: reads and checks it. Whatever it raises means that the file is damaged.
        remedy: what the user can do, an imperative.

    Raises:
        InputError: "PATH: is damaged (REASON); REMEDY". An InputError of `parse` comes out as it is.
    """
    try:
        return parse(path)
    except (InputError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; {remedy}") from error
    except Exception as error:  # a damaged file fails anywhere inside zip, pickle, numpy or json
        reason = one_line(error.strerror if isinstance(error, OSError) and error.strerror else error)
        raise InputError(f"{path}: is damaged ({type(error).__name__}: {reason[:200]}); {remedy}") from error


def read_json(path: Path, remedy: str, parse: Callable[[Any], T] = lambda value: value) -> T:
    """A JSON file, checked by `parse`; errors as in `read_back`."""
    return read_back(path, lambda file: parse(json.loads(file.read_text(encoding="utf-8"))), remedy)


def read_torch(
    path: Path, remedy: str, parse: Callable[[Any], T] = lambda value: value, mapped: bool = False
) -> T:
    """A torch file of plain containers and tensors on the CPU, checked by `parse`; errors as in `read_back`.

    With `mapped` the tensors are read from the disk when they are touched.
    """

    def load(file: Path) -> T:
        return parse(torch.load(file, map_location="cpu", weights_only=True, mmap=mapped or None))

    return read_back(path, load, remedy)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError inside into one line.

    Raises:
        InputError: the disk is full, or `path` cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise InputError(
                f"{path}: the disk is full; free some space and run the same command again"
            ) from error
        raise InputError(f"{path}: cannot be written ({error.strerror or one_line(error)})") from error


def save(path: Path, data: bytes | Callable[[Any], None]) -> None:
    """Writes the whole file or leaves the old one, whatever happens.

    Args:
        path: the file. It is written beside its place, flushed to the disk, and renamed.
        data: its bytes, or what writes them to an open binary file.

    Raises:
        InputError: the disk is full, or the folder cannot be written. Nothing is left behind.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    with writing(path):
        try:
            with temporary.open("wb") as file:
                if callable(data):
                    data(file)
                else:
                    file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def save_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """A JSON file. NaN and infinity are a ValueError, for JSON has neither."""
    save(path, (json.dumps(value, indent=indent, allow_nan=False) + "\n").encode())


def save_torch(path: Path, value: Any) -> None:
    """A torch file. It is made in memory first, because torch hides the reason when a disk is full."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    save(path, lambda file: file.write(buffer.getbuffer()))


def save_lines(path: Path, lines: list[str]) -> None:
    """A text file, one line each; file names that are not UTF-8 keep their bytes."""
    save(path, "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"))


def npy(array: np.ndarray) -> bytes:
    """The bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(**arrays: Any) -> bytes:
    """The bytes of a .npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def pwrite(file: int, data: np.ndarray, offset: int) -> None:
    """Writes all of `data` at `offset`. Never through a memory map, where a full disk kills the process."""
    rest = data.data.cast("B")
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written


def length_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def mapped(path: Path, shape: tuple[int, ...], dtype: torch.dtype, remedy: str) -> Tensor:
    """The file as a tensor, its pages read when touched. Not by torch.from_file, which asks the kernel to set
    memory aside for the whole file and fails for one larger than the machine's.

    Raises:
        InputError: the file is missing, or has another length.
    """
    length = math.prod(shape) * dtype.itemsize
    if length_of(path) != length:
        raise InputError(f"{path}: has {length_of(path):,} bytes and {length:,} are expected; {remedy}")
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), length, flags=mmap.MAP_PRIVATE | MAP_NORESERVE)
    return torch.frombuffer(pages, dtype=dtype).view(shape)


def try_lock(path: Path) -> int | None:
    """A descriptor that holds the lock of `path`; None where another process holds it.

    The kernel takes a lock back when the last process that holds it is gone, however it went.
    """
    with writing(path):
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


@contextmanager
def file_lock(
    paths: Sequence[Path], busy: str, given_up: Callable[[], bool] = lambda: False
) -> Iterator[tuple[int, int]]:
    """Holds the first of `paths` that is free, and waits for one, logging `busy` once, until there is.

    Yields:
        Its place in `paths`, and a descriptor that a child process may inherit (`pass_fds`).

    Raises:
        InterruptedError: `given_up()`, while there is none.
    """
    waiting = False
    while True:
        for place, path in enumerate(paths):
            file = try_lock(path)
            if file is not None:
                try:
                    yield place, file
                finally:
                    os.close(file)
                return
        if given_up():
            raise InterruptedError(busy)
        if not waiting:
            log.info(busy)
        waiting = True
        time.sleep(0.2)
