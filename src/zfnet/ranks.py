"""The processes that share an analysis: which part is whose, and who writes.

    with together(rank, world_size):               # done once, by analyze.py
        found = share_map(measure, images)         # each process measures its share; all get all
        if is_first():
            write(found)

Without `together`, this process does everything. Training is not affected: what a callback calls
runs in one process.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import distributed

T = TypeVar("T")
R = TypeVar("R")

_rank, _size = 0, 1  # of the analysis that runs


@contextmanager
def together(rank: int, size: int) -> Iterator[None]:
    """Shares the work with the processes of torch.distributed, which is initialized.

    Args:
        rank: the number of this process.
        size: how many processes there are.
    """
    global _rank, _size
    _rank, _size = rank, size
    try:
        yield
    finally:
        _rank, _size = 0, 1


def is_first() -> bool:
    """Whether this is the process that draws and writes."""
    return _rank == 0


def rank() -> int:
    """Returns the number of this process, from 0."""
    return _rank


def size() -> int:
    """Returns the number of processes."""
    return _size


def share(items: Sequence[T]) -> Sequence[T]:
    """Returns the items of this process: with P processes, every P-th."""
    return items[_rank::_size]


def wait() -> None:
    """Waits until all processes are here. Every process must call it."""
    if _size > 1:
        distributed.barrier()


def share_map(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Calls a function with each item, in the process whose share it is.

    Every process must call it with the same items.

    Args:
        function: what it returns is copied to all processes; tensors must be on the CPU.
        items: what is shared out.

    Returns:
        What the function returns for each item, in the order of the items, in every process.
    """
    return collect([function(item) for item in share(items)])


def collect(found: list[R]) -> list[R]:
    """Returns what all processes found, in the order of the items before `share`.

    Every process must call it.

    Args:
        found: a value for each item of this process; tensors must be on the CPU.
    """
    if _size == 1:
        return found
    shares: list[Any] = [None] * _size
    distributed.all_gather_object(shares, found)
    everything: list[Any] = [None] * sum(map(len, shares))
    for rank, each in enumerate(shares):
        everything[rank::_size] = each
    return everything
