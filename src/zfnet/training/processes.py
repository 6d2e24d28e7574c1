"""Processes that know of each other: a GPU that one job has, and the end of a parent passed on.

with one_gpu() as (device, lock):                   # "1": of several GPUs one that no other job has
    Popen(command, pass_fds=[lock])                 # the child keeps it, even if this process is killed
"""

import ctypes
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from zfnet.io import file_lock

PR_SET_PDEATHSIG = 1  # sys/prctl.h


@contextmanager
def one_gpu() -> Iterator[tuple[str, int]]:
    """The name of one of this process's GPUs, for CUDA_VISIBLE_DEVICES, that no other job of this user has."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    devices = names.split(",")
    locks = [Path(tempfile.gettempdir()) / f"zfnet-{os.getuid()}-gpu-{device}.lock" for device in devices]
    with file_lock(locks, f"GPUs {names}: each has a job; waiting for one") as (place, lock):
        yield devices[place], lock


def die_with(parent: int) -> None:
    """This process, which `parent` started, is asked to stop (SIGTERM) when that dies. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was faster
            os.kill(os.getpid(), signal.SIGTERM)
