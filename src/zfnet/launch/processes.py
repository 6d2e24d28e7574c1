"""Processes that know of each other: a GPU for one job, a parent whose end is passed on.

with one_gpu() as (device, lock):      # "1": of several GPUs one that no other job has
    Popen(command, pass_fds=[lock])    # the child keeps it, even if this process is killed
"""

import ctypes
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from zfnet.io import file_lock

PR_SET_PDEATHSIG = 1  # sys/prctl.h
# In a child's environment: the process of ours that it ends with, and by which signal.
PARENT = "ZFNET_PARENT"
_parent: list[int] = []  # of this process, if it is one of ours


@contextmanager
def one_gpu(given_up: Callable[[], bool] = lambda: False) -> Iterator[tuple[str, int]]:
    """The name of one of this process's GPUs, for CUDA_VISIBLE_DEVICES, that no other job of this
    user has.

    Raises:
        InterruptedError: `given_up()`, while there is none.
    """
    names = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(
        map(str, range(torch.cuda.device_count()))
    )
    devices = names.split(",")
    locks = [
        Path(tempfile.gettempdir()) / f"zfnet-{os.getuid()}-gpu-{device}.lock" for device in devices
    ]
    with file_lock(locks, f"GPUs {names}: each has a job; waiting for one", given_up) as (
        place,
        lock,
    ):
        yield devices[place], lock


def terminate_with_parent(parent: int, number: int = signal.SIGTERM) -> None:
    """This process, which `parent` started, gets the signal `number` when that dies. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it was faster
            os.kill(os.getpid(), number)


def child_environment(number: int) -> dict[str, str]:
    """The environment of a process of ours that gets the signal `number` when this one dies
    (`follow_parent`)."""
    return {**os.environ, PARENT: f"{os.getpid()} {int(number)}"}


def follow_parent() -> None:
    """The start of each of our processes: where another one of ours started it, it ends with
    that."""
    if words := os.environ.pop(PARENT, None):
        parent, number = map(int, words.split())
        _parent.append(parent)
        terminate_with_parent(parent, number)


def started_by_ours() -> bool:
    """Whether this process is a job of a sweep, or one of the further processes of a run."""
    return bool(_parent)


def further_process() -> bool:
    """Whether this process is one of the further ones of a run on several devices, which leave the
    console alone."""
    return started_by_ours() and int(os.environ.get("LOCAL_RANK", "0")) > 0


def started_outside() -> int:
    """How many processes torchrun, SLURM or MPI started together with this one; 1 without them."""
    if started_by_ours():
        return 1
    has = os.environ.__contains__
    count = "1"
    if has("TORCHELASTIC_RUN_ID") or has("RANK") or has("LOCAL_RANK"):
        count = os.environ.get("WORLD_SIZE", "1")
    elif has("SLURM_PROCID"):
        count = os.environ.get("SLURM_STEP_NUM_TASKS") or os.environ.get("SLURM_NTASKS", "1")
    elif has("OMPI_COMM_WORLD_RANK"):
        count = os.environ.get("OMPI_COMM_WORLD_SIZE", "1")
    return int(count) if count.isdecimal() else 1
