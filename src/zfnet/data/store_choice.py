"""Which format an image store takes where `data.store_format` names none.

    formats, reason = preferred_formats(needed=252_000_000_000, folder=Path("stores/imagenet"))
    formats  # ("jpeg", "pixels") where so many bytes exceed the memory or the free disk

A store of pixels is read at the speed of memory if it fits there. One that does not is read from
the disk in every epoch: JPEGs are a tenth of it. The first format of which there is a store is
used, so that a choice is kept."""

import os
import shutil
from pathlib import Path

PIXELS_FIRST = ("pixels", "jpeg")
JPEG_FIRST = ("jpeg", "pixels")
LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container, in bytes, or "max"


def preferred_formats(needed: int, folder: Path) -> tuple[tuple[str, ...], str | None]:
    """The formats in the order of preference.

    Args:
        needed: the bytes of the pixels of all splits.
        folder: of the stores.

    Returns:
        The formats, and why JPEG is preferred; None if it is not.
    """
    for limit, place in ((memory(), "memory"), (free_disk(folder), "free disk")):
        if needed > limit:
            return JPEG_FIRST, f"{needed:,} bytes of pixels exceed the {place} ({limit:,} bytes)"
    return PIXELS_FIRST, None


def memory() -> int:
    """The bytes of memory that the machine or the container has."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(machine, int(LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or no limit
        return machine


def free_disk(folder: Path) -> int:
    """The free bytes where a folder is, or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
