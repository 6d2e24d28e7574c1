"""Relations between processes: one GPU per job, and processes that end with their parent.

    with one_gpu() as (device, lock):      # "1": a GPU that no other job uses
        Popen(command, pass_fds=[lock])

The child keeps the lock of the GPU if this process is killed.
"""

import ctypes
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from zfnet.io import file_lock

PR_SET_PDEATHSIG = 1  # sys/prctl.h
# In the environment of a child process: the id of its parent, and the signal to end with.
PARENT = "ZFNET_PARENT"
# In the message of an error: the process has lost another one of its run, which has an error, too.
LOST_CONNECTION = re.compile("gloo|nccl|connection", re.IGNORECASE)
_parent: list[int] = []  # the parent's id, if a process of this project started this one


@contextmanager
def one_gpu(given_up: Callable[[], bool] = lambda: False) -> Iterator[tuple[str, int]]:
    """Reserves one of the visible GPUs. Waits while other jobs of this user hold all of them.

    Args:
        given_up: called while waiting; returns True to stop waiting.

    Yields:
        The name of the GPU for CUDA_VISIBLE_DEVICES, and the file descriptor of its lock.

    Raises:
        InterruptedError: if `given_up()` returns True before a GPU is free.
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
    """Sends this process a signal when its parent dies. Works on Linux only.

    Args:
        parent: the process id of the parent.
        number: the signal.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # the parent has died already
            os.kill(os.getpid(), number)


def child_environment(number: int) -> dict[str, str]:
    """Returns the environment for a child process that ends with this one (see `follow_parent`).

    Args:
        number: the signal that the child gets when this process dies.
    """
    return {**os.environ, PARENT: f"{os.getpid()} {int(number)}"}


def follow_parent() -> None:
    """Makes this process end with its parent, if a process of this project started it."""
    if words := os.environ.pop(PARENT, None):
        parent, number = map(int, words.split())
        _parent.append(parent)
        terminate_with_parent(parent, number)


def started_by_ours() -> bool:
    """Whether this process is a job of a sweep or an additional process of a run."""
    return bool(_parent)


def further_process() -> bool:
    """Whether this is an additional process of a run on several devices.

    Such a process writes nothing to the console.
    """
    return started_by_ours() and int(os.environ.get("LOCAL_RANK", "0")) > 0


def started_outside() -> int:
    """Returns how many processes torchrun, SLURM or MPI started; 1 without them."""
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


def started_on_node() -> int:
    """Returns how many of the processes of `started_outside` run on this machine."""
    count = started_outside()
    if count == 1:
        return 1
    get = os.environ.get
    on_node = get("LOCAL_WORLD_SIZE") or get("OMPI_COMM_WORLD_LOCAL_SIZE")
    if on_node is None:
        on_node = get("SLURM_NTASKS_PER_NODE") or str(count // int(get("SLURM_NNODES", "1")))
    return int(on_node)
