"""Where the files of a tar archive begin, so that each can be read without unpacking.

    index = index_tar("train-000.tar")
    member = index.members[0]  # Member(name="0001.jpg", offset=512, size=7301)
    data = read_part("train-000.tar", member.offset, member.size)

Only headers are read. Links, sparse files and folders are left out. An archive that is cut short or
damaged gives the members before the damage."""

import os
import tarfile
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np

from zfnet.errors import one_line

BLOCK = 512  # bytes; headers and contents begin at multiples of it
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")


class Member(NamedTuple):
    """A file in an archive: its contents are `size` bytes from `offset` on."""

    name: str
    offset: int
    size: int


@dataclass
class TarIndex:
    """The files of an archive, and what is wrong with the archive, if anything is."""

    members: list[Member]
    damage: str | None = None


def index_tar(path: str | os.PathLike[str], start: int = 0, size: int | None = None) -> TarIndex:
    """Finds the files of an archive. Of equal names the last one counts, as in unpacking.

    Args:
        path: the archive, or a file that contains it.
        start, size: where it lies in that file, in bytes; None is to the end.
    """
    members: dict[str, Member] = {}
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (also a str)
            end = os.fstat(file.fileno()).st_size if size is None else start + size
            file.seek(start)
            if file.read(8).startswith(COMPRESSED):
                return TarIndex([], "is compressed; decompress it, images are read in place")
            file.seek(start)
            damage = _collect(file, end, members)
    except OSError as error:
        damage = error.strerror or one_line(error)
    except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
        damage = f"is damaged after {len(members)} files: {one_line(error)}"
    return TarIndex(list(members.values()), damage)


def read_part(path: str | os.PathLike[str], offset: int, size: int) -> np.ndarray:
    """Some bytes of a file, uint8.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is too short.
    """
    data = np.fromfile(path, dtype=np.uint8, count=size, offset=offset)
    if len(data) < size:
        raise ValueError(f"{os.fspath(path)} ends after {len(data)} of {size} bytes")
    return data


def _collect(file: BinaryIO, end: int, members: dict[str, Member]) -> str | None:
    """Adds the files of the archive that begins here and ends at `end`; returns its damage."""
    encoding = {"encoding": "utf-8", "errors": "surrogateescape"}
    with tarfile.open(fileobj=file, mode="r:", **encoding) as archive:  # type: ignore[call-overload]
        for info in archive:
            archive.members = []  # would keep every header in memory
            if info.offset_data + info.size > end and info.isreg():
                return f"ends inside {info.name}"
            if info.isreg() and not info.issparse():
                members.pop(info.name, None)
                members[info.name] = Member(info.name, info.offset_data, info.size)
        file.seek(archive.offset)
        block = file.read(BLOCK) if archive.offset < end else b""
    if not block:
        return f"ends after {len(members)} files without the mark of its end"
    # tarfile takes a damaged header for the end.
    return f"is damaged after {len(members)} files" if block.strip(b"\0") else None
