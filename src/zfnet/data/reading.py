"""Reading ahead: threads bring the images of the next batches while the step uses this one.

    for indices, images, rows in read_ahead(store, order.split(128), torch.device("cpu")):
        images[rows]

A store of pixels is a memory map. On a CPU its images are used in place, and the threads only see
to it that they are in memory, which is needed once if the store is small. Otherwise they are read
into the memory of the batch: JPEGs and files are decoded, and for a GPU pixels are copied into
pinned memory. The images of a batch are read in the order of the file."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from zfnet.data.image_datasets import ImageDataset, ImageStore, Subset

AHEAD = 4  # batches
TASK = 8  # images that a thread decodes or copies at once
TOUCHED = 32  # images that a thread brings into memory at once; microseconds if they are there
THREADS = max(4, os.cpu_count() or 1)  # one that waits for the disk needs no core

# Indices of images, the tensor that holds these images, and their rows in it.
Chunk = tuple[Tensor, Tensor, Tensor]


def read_ahead(
    images: ImageDataset, chunks: Sequence[Tensor], device: torch.device
) -> Iterator[Chunk]:
    """Reads the images of chunks of indices, up to four chunks in advance.

    Args:
        images: the data set.
        chunks: indices, (B,) int64 each.
        device: where the images will be used. For a CUDA device they are in pinned memory.

    Yields:
        The indices; a tensor that holds their images, (N, H, W, C); their rows in it, (B,) int64.
    """
    store, places = _places(images)
    if store is None or device.type != "cpu":
        pin = device.type == "cuda"
        yield from _in_threads(
            chunks, lambda indices: _Copied(images, store, indices, places[indices], pin)
        )
    elif store.is_in_memory(places) or len(chunks) == 1:  # nothing can be read ahead of one chunk
        for indices in chunks:
            yield indices, store.images, places[indices]
    else:
        yield from _in_threads(chunks, lambda indices: _InPlace(store, indices, places[indices]))


class _InPlace:
    """Images of a memory map, which the tasks bring into memory."""

    def __init__(self, store: ImageStore, indices: Tensor, rows: Tensor) -> None:
        self.store, self.indices, self.rows = store, indices, rows

    def tasks(self) -> list[Callable[[], None]]:
        parts = self.rows.sort().values.split(TOUCHED)
        return [partial(self.store.prefetch, part) for part in parts]

    def chunk(self) -> Chunk:
        return self.indices, self.store.images, self.rows


class _Copied:
    """Images in memory of their own, which the tasks fill."""

    def __init__(
        self,
        images: ImageDataset,
        store: ImageStore | None,
        indices: Tensor,
        places: Tensor,
        pin: bool,
    ) -> None:
        self.images, self.store, self.indices, self.places = images, store, indices, places
        self.pin = pin
        self.copies: Tensor | None = None
        self.lock = threading.Lock()

    def tasks(self) -> list[Callable[[], None]]:
        return [partial(self._read, rows) for rows in self.places.argsort().split(TASK)]

    def _read(self, rows: Tensor) -> None:
        if self.store is not None:
            self.store.prefetch(self.places[rows])
        for row, index in zip(rows.tolist(), self.indices[rows].tolist(), strict=True):
            image = self.images.read(index)
            with self.lock:
                if self.copies is None:  # the first image tells the shape and the type
                    shape = (len(self.indices), *image.shape)
                    self.copies = torch.empty(shape, dtype=image.dtype, pin_memory=self.pin)
            self.copies[row].copy_(image)

    def chunk(self) -> Chunk:
        assert self.copies is not None
        return self.indices, self.copies, torch.arange(len(self.indices))


def _in_threads(
    chunks: Sequence[Tensor], start: Callable[[Tensor], _InPlace | _Copied]
) -> Iterator[Chunk]:
    pool = ThreadPoolExecutor(THREADS)
    ahead: deque[tuple[_InPlace | _Copied, list[Future[None]]]] = deque()

    def finish() -> Chunk:
        work, futures = ahead.popleft()
        for future in futures:
            future.result()
        return work.chunk()

    try:
        for indices in chunks:
            work = start(indices)
            ahead.append((work, [pool.submit(task) for task in work.tasks()]))
            if len(ahead) > AHEAD:
                yield finish()
        while ahead:
            yield finish()
    finally:
        pool.shutdown(cancel_futures=True)


def _places(images: ImageDataset) -> tuple[ImageStore | None, Tensor]:
    """The store of pixels that holds the images, if one does, and where they are in their file."""
    base = images.base if isinstance(images, Subset) else images
    places = images.rows if isinstance(images, Subset) else torch.arange(len(images))
    return base if isinstance(base, ImageStore) else None, places
