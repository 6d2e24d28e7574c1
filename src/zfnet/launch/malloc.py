"""Keeps freed memory for the next step instead of returning it to the kernel.

A training step frees and reallocates hundreds of megabytes of activations. By default glibc maps
such blocks anew each time, and the page faults cost about a quarter of a CPU step. This has an
effect only on Linux with glibc.
"""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> None:
    """Allocates large blocks from the heap and never trims it. The process keeps its peak size."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
