"""Reading ahead: batches that nobody asked for yet are read, in the order of the file."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import memory_images
from zfnet.data import Creatures, build_store, image_datasets, reading
from zfnet.data.batch import Batch, copy_ahead
from zfnet.data.batches import Augmentation, Batches
from zfnet.data.image_store import ImageDataset, ImageStore, Subset
from zfnet.data.reading import read_ahead

CPU = torch.device("cpu")
COUNT, SIZE = 24, 16


@pytest.fixture(params=["pixels", "jpeg", "part of pixels", "part of jpeg"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> ImageDataset:
    """24 images of every kind."""
    part, _, store_format = request.param.rpartition(" of ")
    source = Creatures(2 * COUNT if part else COUNT, size=SIZE)
    store = build_store(source, tmp_path, SIZE, store_format=store_format)
    return Subset(store, torch.randperm(2 * COUNT)[:COUNT]) if part else store


def watched(images: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of the store that are read, as they are read."""
    store, read = getattr(images, "base", images), []
    name = "prefetch" if isinstance(store, ImageStore) else "read"
    function: Callable[[Any], Any] = getattr(store, name)

    def noting(what: Any) -> Any:
        read.extend(what.tolist() if isinstance(what, Tensor) else [what])
        return function(what)

    monkeypatch.setattr(store, name, noting)
    return read


@pytest.mark.parametrize("device", [CPU, torch.device("meta")])  # the latter as for a GPU
def test_images_are_those_of_the_indices(images: ImageDataset, device: torch.device) -> None:
    order = torch.randperm(COUNT)
    chunks = list(read_ahead(images, order.split(5), device))
    assert torch.equal(torch.cat([indices for indices, _, _ in chunks]), order)
    for indices, held, rows in chunks:
        expected = torch.stack([images.read(index) for index in indices.tolist()])
        assert torch.equal(held[rows], expected)
        assert device == CPU or len(held) == len(indices)


def test_four_batches_are_read_before_they_are_asked_for(
    images: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = watched(images, monkeypatch)
    steps = read_ahead(images, torch.arange(COUNT).split(4), CPU)
    next(steps)
    deadline = time.monotonic() + 20
    while len(read) < 5 * 4:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert len(list(steps)) == 5
    assert len(read) == COUNT


def test_a_batch_is_read_in_the_order_of_the_file(
    images: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "THREADS", 1)
    read = watched(images, monkeypatch)
    rows = getattr(images, "rows", torch.arange(COUNT))
    chunks = torch.randperm(COUNT).split(6)
    list(read_ahead(images, chunks, CPU))
    assert read == [row for chunk in chunks for row in sorted(rows[chunk].tolist())]


def test_nothing_is_read_after_a_loop_that_ends_early(
    images: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = watched(images, monkeypatch)
    before = threading.active_count()
    for _ in Batches(images, SIZE, 2):
        break
    found = len(read)
    assert found <= 2 * (reading.AHEAD + 1)
    assert threading.active_count() == before
    time.sleep(0.02)
    assert len(read) == found


def test_what_lies_in_memory_needs_no_thread() -> None:
    images, before = memory_images(COUNT, SIZE), threading.active_count()
    for _, held, _ in read_ahead(images, torch.arange(COUNT).split(4), CPU):
        assert held is images.images
        assert threading.active_count() == before


def test_a_store_that_is_deleted_can_be_read_to_the_end(
    images: ImageDataset, tmp_path: Path
) -> None:
    expected = [images.read(i) for i in range(COUNT)]
    shutil.rmtree(tmp_path)
    batches = list(Batches(images, SIZE, 4))
    assert torch.equal(torch.cat([b.images[b.rows] for b in batches]), torch.stack(expected))


def test_pixels_are_used_in_place_on_a_cpu(tmp_path: Path) -> None:
    store = build_store(Creatures(COUNT, size=SIZE), tmp_path, SIZE)
    assert isinstance(store, ImageStore)
    for batch in Batches(store, SIZE - 2, 4, Augmentation(SIZE, SIZE - 2)):
        assert batch.images is store.images
        assert batch.to("cpu") is batch


@pytest.mark.parametrize("room", [1.9, 2])  # memory, in sizes of the store
def test_a_small_store_is_brought_into_memory_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: float
) -> None:
    size = COUNT * SIZE * SIZE * 3
    monkeypatch.setattr(image_datasets, "memory", lambda: int(room * size))
    store = build_store(Creatures(COUNT, size=SIZE), tmp_path, SIZE)
    read, half = watched(store, monkeypatch), torch.arange(0, COUNT, 2)
    list(Batches(Subset(store, half), SIZE, 4))
    assert sorted(read) == half.tolist()
    list(Batches(Subset(store, half[1:]), SIZE, 4))
    again = [] if room == 2 else half[1:].tolist()
    assert sorted(read) == sorted([*half.tolist(), *again])
    list(Batches(store, SIZE, 4))  # of which half was not read
    assert len(read) == len(half) + len(again) + COUNT


class FakeDevice:
    """Notes what is asked of streams; module and stream in one."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def Stream(self) -> "FakeDevice":
        return self

    def Event(self) -> "FakeDevice":
        return self

    def current_stream(self, _device: torch.device) -> "FakeDevice":
        return self

    @contextmanager
    def stream(self, _stream: object) -> Iterator[None]:
        self.calls.append("(")
        yield
        self.calls.append(")")

    def wait_stream(self, _other: object) -> None:
        self.calls.append("wait for the steps")

    def record(self, _stream: object) -> None:
        self.calls.append("record")

    def wait_event(self, _event: object) -> None:
        self.calls.append("wait for the copy")


def test_a_batch_is_copied_before_the_last_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeDevice()
    monkeypatch.setattr(torch, "get_device_module", lambda _device: device)
    monkeypatch.setattr(Batch, "to", lambda batch, _device: device.calls.append("copy") or batch)
    batches = list(Batches(memory_images(6, SIZE), SIZE, 2))
    used = []
    for batch in copy_ahead(batches, CPU):
        device.calls.append("use")
        used.append(batch)
    assert used == batches
    copied = ["wait for the steps", "(", "copy", "record", ")"]
    one_step = [*copied, "wait for the copy", "use"]
    assert device.calls == [*copied, *one_step, *one_step, "wait for the copy", "use"]


def test_copying_ahead_changes_no_batch() -> None:
    """With the streams of a CPU, which do nothing."""
    batches = list(Batches(memory_images(7, SIZE), SIZE, 3))
    assert all(a is b for a, b in zip(copy_ahead(batches, CPU), batches, strict=True))
    assert list(copy_ahead([], CPU)) == []
