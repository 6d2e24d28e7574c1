"""Whether a step waits for a disk that is slower than memory: a reader that sleeps, and a step too.

The disk brings one image after the other, at 1.25 times the rate of the step. Both kinds of stores
read ahead: the threads wait until pixels are in memory, or decode JPEGs. The peer reads the images
of a batch when the step needs them. The last row is a disk of 0.8 times the rate of the step: the
step has to wait, and the limit is the rate of the disk. Times are of the clock on the wall, and the
wait for the first batch does not count."""

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import Row, sized
from benchmarks.photos import in_memory, made_photos, source_of
from zfnet.data import reading
from zfnet.data.batches import Batches
from zfnet.data.image_datasets import open_store
from zfnet.data.image_store import ImageStore, build_store

STORED, CROP, BATCH = sized(256, 32), sized(224, 28), sized(32, 2)
STEP = sized(0.08, 0.004)  # seconds


class Disk:
    """Brings one image after the other, in the order in which threads ask for them."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.lock, self.free = seconds, threading.Lock(), 0.0

    def wait_for(self, images: int) -> None:
        with self.lock:
            done = max(time.perf_counter(), self.free) + images * self.seconds
            self.free = done
        time.sleep(max(done - time.perf_counter(), 0))


def bench() -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        source = source_of(made_photos(Path(folder) / "photos"))
        for store_format in ("pixels", "jpeg"):
            store = Path(folder) / store_format
            build_store(source, store, STORED, store_format=store_format)
            rows.append(read_ahead_against_in_turn(store, f"store of {store_format}"))
        waited, seconds = STEP / 0.8 - STEP, wait_of_a_step(store, 0.8, reading.AHEAD)
    rows.append(
        Row(
            "wait of a step, disk of 0.8 times its rate",
            f"{1e3 * seconds:.1f} ms",
            f"{1e3 * waited:.1f} ms, the limit",
            seconds / waited,
            "<= 1.2",
        )
    )
    return rows


def read_ahead_against_in_turn(store: Path, name: str) -> Row:
    ours, peer = (wait_of_a_step(store, 1.25, ahead) for ahead in (reading.AHEAD, 0))
    return Row(
        f"wait of a step of {1e3 * STEP:.0f} ms, disk of 1.25 times its rate, {name}",
        f"{1e3 * ours:.1f} ms",
        f"{1e3 * peer:.1f} ms",
        ours / STEP,
        "<= 0.01 of the step",
    )


def wait_of_a_step(folder: Path, rate: float, ahead: int) -> float:
    """Seconds that a step waits for its batch, on average over an epoch.

    Args:
        folder: of the store.
        rate: of the disk, as a multiple of the rate of the steps.
        ahead: batches that are read in advance.
    """
    store = open_store(folder)  # of which nothing was read before
    slow = "prefetch" if isinstance(store, ImageStore) else "read"
    read, disk = getattr(type(store), slow), Disk(STEP / rate / BATCH)

    def from_disk(what: Any) -> Any:
        disk.wait_for(len(what) if slow == "prefetch" else 1)
        return read(store, what)

    kept, reading.AHEAD = reading.AHEAD, ahead
    setattr(store, slow, from_disk)
    try:
        return _mean_wait(Batches(store, CROP, BATCH))
    finally:
        reading.AHEAD = kept


def _mean_wait(batches: Batches) -> float:
    steps, waits = iter(batches), []
    while True:
        start = time.perf_counter()
        if next(steps, None) is None:
            return sum(waits[1:]) / len(waits[1:])
        waits.append(time.perf_counter() - start)
        time.sleep(STEP)
