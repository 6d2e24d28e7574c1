"""The search for the nine strongest images of conv1-5 by two processes against one.

ZFNet at 224 pixels, 1,000 images from memory, one thread a process. Each image is searched once, so
two cores can be at most twice as fast. The clock is the wall's: nothing else may run."""

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from torch import distributed

from benchmarks.atlas import IMAGES, LAYERS, model_on_images
from benchmarks.measuring import Row, Worker, alternate, sized
from zfnet import ranks
from zfnet.parts import Parts
from zfnet.search import search

PROCESSES = sized(2, 1)


def bench() -> list[Row]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        alone = stack.enter_context(Worker(searching, 0, 1, folder, "alone"))
        workers = [
            stack.enter_context(Worker(searching, rank, PROCESSES, folder, "together"))
            for rank in range(PROCESSES)
        ]
        pool = stack.enter_context(ThreadPoolExecutor(PROCESSES))
        together = partial(calls, pool, workers)
        two, one = alternate(together, alone, repeats=3)
    return [
        Row(
            f"search of {IMAGES} images, two processes (one process)",
            f"{two:.1f} s",
            f"{one:.1f} s",
            one / two,
            ">= 1.8",
        )
    ]


def calls(pool: ThreadPoolExecutor, workers: Sequence[Worker]) -> float:
    """Calls workers at the same time, and returns the seconds of the slowest."""
    return max(pool.map(lambda worker: worker(), workers))


def searching(rank: int, size: int, folder: str, name: str) -> Callable[[], float]:
    """Seconds of a search, in one of so many processes."""
    model = model_on_images()
    if size > 1:
        place = f"file://{folder}/meet"
        distributed.init_process_group("gloo", place, rank=rank, world_size=size)

    def run() -> float:
        start, parts = time.perf_counter(), Parts(Path(folder), name, {})
        with ranks.together(rank, size):
            search(model, parts, LAYERS, 9)
            seconds = time.perf_counter() - start
            if rank == 0:
                parts.delete()
            ranks.wait()
        return seconds

    return run
