"""Files: atomic writes, reads with a clear message for damaged files, and locks between processes.

    save_json(folder / "progress.json", {"done": 3})  # the new file or the old one, nothing between
    read_json(folder / "progress.json", "delete it to start again")
    with file_lock([folder / ".lock"], f"{folder}: in use; waiting") as (_, lock): ...

Every file that the software writes and reads again is read by `read_back`. Reading never runs code
from a file."""

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

# Python 3.13 has the name in mmap.
MAP_NORESERVE = 0x4000 if os.uname().sysname == "Linux" else 0
FULL = (errno.ENOSPC, errno.EDQUOT)
T = TypeVar("T")
log = logging.getLogger(__name__)


def read_back(path: Path, parse: Callable[[Path], T], remedy: str) -> T:
    """Reads a file that this software wrote.

    Args:
        path: the file.
        parse: reads and checks it. Any exception means that the file is damaged.
        remedy: what the user can do, an imperative.

    Returns:
        What `parse` returns.

    Raises:
        InputError: the file is missing or damaged. An InputError of `parse` is passed on.
    """
    try:
        return parse(path)
    except (InputError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; {remedy}") from error
    except (
        Exception
    ) as error:  # zip, pickle, numpy and json raise almost anything for a damaged file
        reason = one_line(
            error.strerror if isinstance(error, OSError) and error.strerror else error
        )
        raise InputError(
            f"{path}: is damaged ({type(error).__name__}: {reason[:200]}); {remedy}"
        ) from error


def read_json(path: Path, remedy: str, parse: Callable[[Any], T] = lambda value: value) -> T:
    """Reads a JSON file, checked by `parse`; errors as in `read_back`."""
    return read_back(path, lambda file: parse(json.loads(file.read_text(encoding="utf-8"))), remedy)


def read_torch(
    path: Path, remedy: str, parse: Callable[[Any], T] = lambda value: value, mapped: bool = False
) -> T:
    """Reads a torch file of plain containers and tensors onto the CPU, checked by `parse`; errors
    as in `read_back`.

    If `mapped`, the tensors are memory-mapped.
    """

    def load(file: Path) -> T:
        return parse(torch.load(file, map_location="cpu", weights_only=True, mmap=mapped or None))

    return read_back(path, load, remedy)


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turns an OSError inside into an InputError: the disk is full, or `path` cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise InputError(
                f"{path}: the disk is full; free some space, then the same command with "
                "resume=true goes on"
            ) from error
        raise InputError(
            f"{path}: cannot be written ({error.strerror or one_line(error)})"
        ) from error


def save(path: Path, data: bytes | Callable[[Any], None], durable: bool = True) -> None:
    """Writes a file atomically: a temporary file is written, flushed to the disk, and renamed.

    Args:
        path: the file.
        data: its bytes, or a function that writes them to an open binary file.
        durable: whether to wait until the file is on the disk. Without it thousands of files take
            little time, and survive the end of the process, but not a power failure.

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
                if durable:
                    os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if not durable:
            return
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def save_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """Writes a JSON file. Raises ValueError for NaN and infinity, which JSON does not have."""
    save(path, (json.dumps(value, indent=indent, allow_nan=False) + "\n").encode())


def save_torch(path: Path, value: Any) -> None:
    """Writes a torch file, via memory, because torch hides the reason when the disk is full."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    save(path, lambda file: file.write(buffer.getbuffer()))


def save_lines(path: Path, lines: list[str]) -> None:
    """Writes a text file of lines; file names that are not UTF-8 keep their bytes."""
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
    """Writes `data` at `offset`. A memory map would kill the process when the disk is full."""
    rest = data.reshape(-1).view(np.uint8).data
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written


def length_of(path: Path) -> int:
    """The bytes of a file; 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def check_length(path: Path, length: int, remedy: str) -> None:
    """Raises InputError if a file is missing or has another length, in bytes."""
    if length_of(path) != length:
        raise InputError(
            f"{path}: has {length_of(path):,} bytes and {length:,} are expected; {remedy}"
        )


def mapped(path: Path, shape: tuple[int, ...], dtype: torch.dtype, remedy: str) -> Tensor:
    """A file as a memory-mapped tensor.

    torch.from_file reserves memory for the whole file, and fails for one larger than the machine's
    memory.

    Raises:
        InputError: the file is missing, or has another length.
    """
    length = math.prod(shape) * dtype.itemsize
    check_length(path, length, remedy)
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), length, flags=mmap.MAP_PRIVATE | MAP_NORESERVE)
    return torch.frombuffer(pages, dtype=dtype).view(shape)


def try_lock(path: Path) -> int | None:
    """Locks `path`.

    Returns:
        A file descriptor that holds the lock; None if another process holds it. The kernel releases
        the lock when the last process that has the descriptor ends, in whatever way.
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
    """Holds the lock of the first of `paths` that is free, and waits until there is one.

    Args:
        paths: the files to lock.
        busy: logged once, when there is no free one.
        given_up: whether to stop waiting.

    Yields:
        The index of the path, and a file descriptor that a child process may inherit (`pass_fds`).

    Raises:
        InterruptedError: `given_up()` while waiting.
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
