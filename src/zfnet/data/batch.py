"""A batch of stored images, and how batches get to a device: each while the step before it runs.

for batch in copy_ahead(batches, torch.device("cuda")):
    prepare(batch.images, batch.rows, batch.crops)
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass  # not frozen: Lightning casts a batch's tensors by assigning its fields
class Batch:
    """B images, as rows of `images`. `to` gathers them and copies them to a device."""

    images: Tensor  # (N, H, W, C) uint8, uint16 or float32
    rows: Tensor  # (B,) int64, into images
    crops: Tensor  # (B, 3) int64 of (y, x, mirrored)
    labels: Tensor  # (B,) int64
    indices: Tensor  # (B,) int64, into the data set

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device | str, non_blocking: bool = True) -> "Batch":
        device = torch.device(device)
        if device.type == "cpu" or self.images.device == device:
            return self
        images = self.images
        if not images.is_pinned():  # those read ahead are, and hold nothing but the batch
            shape = (len(self.rows), *self.images.shape[1:])
            images = torch.empty(shape, dtype=images.dtype, pin_memory=device.type == "cuda")
            torch.index_select(self.images, 0, self.rows, out=images)
        return replace(
            self,
            images=images.to(device, non_blocking=non_blocking),
            rows=torch.arange(len(self.rows), device=device),
            crops=self.crops.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
        )


def copy_ahead(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Batches on a device. Each is copied on a stream of its own while the last one is used.

    Pinned memory of a batch is used again for later ones: PyTorch keeps it, and waits for the copy.

    Args:
        batches: batches in host memory.
        device: with streams, such as CUDA.
    """
    module = torch.get_device_module(device)
    stream = module.Stream(**({} if device.index is None else {"device": device}))
    ahead: tuple[Batch, Any] | None = None
    for batch in batches:
        # What ran before has read the batches whose memory the copy may be given.
        stream.wait_stream(module.current_stream(device))
        with module.stream(stream):
            copied, done = batch.to(device), module.Event()
            done.record(stream)
        if ahead is not None:
            module.current_stream(device).wait_event(ahead[1])
            yield ahead[0]
        ahead = copied, done
    if ahead is not None:
        module.current_stream(device).wait_event(ahead[1])
        yield ahead[0]
