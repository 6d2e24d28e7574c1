"""Freed memory is kept for the next step instead of being given back to the kernel.

A training step frees and asks again for hundreds of megabytes of activations. glibc maps such
blocks freshly each time, and touching them costs about a quarter of a CPU step. This is for Linux
with glibc, and does nothing elsewhere."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> None:
    """Large blocks come from the heap, which is never trimmed; the process keeps its peak size."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
