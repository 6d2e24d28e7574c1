"""Processes that know of each other: locks that last as long as someone uses what they guard, and ends passed on.

    with locked([folder / ".lock"], f"{folder}: in use; waiting") as (_, lock):
        Popen(command, pass_fds=[lock])       # the child keeps the lock, even if this process is killed
    with one_gpu() as (device, lock): ...     # "1": of several GPUs one that no other job has

The kernel takes a lock back when the last process that holds it is gone, however it went.
"""

import ctypes
import fcntl
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

PR_SET_PDEATHSIG = 1  # sys/prctl.h
log = logging.getLogger(__name__)


def try_lock(path: Path) -> int | None:
    """A descriptor that holds the lock of `path`; None where another process holds it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


@contextmanager
def locked(paths: Sequence[Path], busy: str) -> Iterator[tuple[int, int]]:
    """Holds the first of `paths` that is free, and waits for one, saying `busy`, until there is.

    Yields its place in `paths` and a descriptor.
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
        if not waiting:
            log.info(busy)
        waiting = True
        time.sleep(0.2)


@contextmanager
def one_gpu() -> Iterator[tuple[str, int]]:
    """The name of one of this process's GPUs, for CUDA_VISIBLE_DEVICES, that no other job of this user has."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    devices = names.split(",")
    locks = [Path(tempfile.gettempdir()) / f"zfnet-{os.getuid()}-gpu-{device}.lock" for device in devices]
    with locked(locks, f"GPUs {names}: each has a job; waiting for one") as (place, lock):
        yield devices[place], lock


def die_with(parent: int) -> None:
    """This process, which `parent` started, is asked to stop (SIGTERM) when that dies. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was faster
            os.kill(os.getpid(), signal.SIGTERM)
