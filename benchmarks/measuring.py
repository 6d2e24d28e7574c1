"""How the benchmarks measure: processor seconds of one thread, both sides in turn, medians.

The clock is the processor time of the process, all its threads together, so that other programs on
the machine count little. Sides that set up their process (how freed memory is kept) each get a
`Worker`:

    with Worker(make_ours, 224) as ours, Worker(make_peer, 224) as peer:
        seconds = alternate(ours, peer)

`python -m benchmarks --tiny` runs every benchmark once on next to nothing: tests ask whether it
still works. Its numbers mean nothing."""

import multiprocessing
import os
import pickle
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

REPEATS = 5
TINY = os.environ.get("ZFNET_BENCHMARKS") == "tiny"
T = TypeVar("T")


def sized(full: T, tiny: T) -> T:
    """`full`, or `tiny` where only a benchmark's code is tested."""
    return tiny if TINY else full


@dataclass(frozen=True)
class Row:
    """One line of the table; `ratio` is how many times better ours is, or the share or deviation
    itself."""

    name: str
    ours: str
    peer: str
    ratio: float
    goal: str


def seconds_of(function: Callable[[], object]) -> float:
    """Processor seconds of one call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def alternate(*clocks: Callable[[], float], repeats: int = REPEATS) -> list[float]:
    """The median of what each gives, called in turn so that a busy machine is busy for all of
    them."""
    rounds = [[clock() for clock in clocks] for _ in range(sized(repeats, 1))]
    return [statistics.median(values) for values in zip(*rounds, strict=True)]


class Worker:
    """A process with one thread that makes a function, `make(*arguments)`, and calls it when it is
    called.

    The function has been called once, to warm up, before the first call. Its result comes back as
    it is."""

    def __init__(self, make: Callable[..., Callable[[], Any]], *arguments: object) -> None:
        self._here: Callable[[], Any] | None = None
        if TINY:  # the imports of fifty processes would take minutes
            self._here = make(*pickle.loads(pickle.dumps(arguments)))
            return
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def __call__(self) -> Any:
        if self._here is not None:
            return self._here()
        self._ours.send("call")
        return self._ours.recv()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        if self._here is None:
            self._ours.close()
            self._process.join()


def _serve(
    pipe: Any, make: Callable[..., Callable[[], Any]], arguments: tuple[object, ...]
) -> None:
    torch.set_num_threads(1)
    function = make(*arguments)
    function()
    try:
        while pipe.recv():
            pipe.send(function())
    except EOFError:
        return
