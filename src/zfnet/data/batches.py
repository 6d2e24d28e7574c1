"""Which pictures make which batch: a pure function of (seed, epoch, position), so that a run can be resumed.

The order of an epoch is `randperm` of (seed, epoch); step t of `world` processes takes the next `batch_size`
entries of it and each process every world-th of those, so that the global batch does not depend on how
many processes share it. The crop of a picture is drawn from (seed, epoch) at the picture's own index. There
are no worker processes: rows of a memory map are read in place, and pictures decoded on the fly come from
threads ahead.

    batches = Batches(store, crop=224, batch_size=128, augmentation=Augmentation(256, 224), seed=1)
    for batch in batches: ...                        # Batch
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from zfnet.data.image_store import ImageDataset, ImageStore, Subset
from zfnet.data.preprocessing import centre_crop, ten_crops

LOOK_AHEAD = 4  # batches that are decoded before they are asked for


@dataclass  # not frozen: Lightning casts a batch's tensors by assigning its fields
class Batch:
    """B pictures chosen from `images`, not yet read; `to` a device gathers and copies them there."""

    images: Tensor  # (N, S, S, 3) uint8
    rows: Tensor  # (B,) int64, into images
    crops: Tensor  # (B, 3) int64 of (y, x, mirrored)
    labels: Tensor  # (B,) int64
    indices: Tensor  # (B,) int64, into the data set

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device | str, non_blocking: bool = True) -> "Batch":
        if torch.device(device).type == "cpu":
            return self
        shape = (len(self.rows), *self.images.shape[1:])
        picked = torch.empty(shape, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
        torch.index_select(self.images, 0, self.rows, out=picked)
        return replace(
            self,
            images=picked.to(device, non_blocking=non_blocking),
            rows=torch.arange(len(self.rows), device=device),
            crops=self.crops.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
        )


@dataclass(frozen=True)
class Augmentation:
    """How training cuts a picture: one of the paper's ten crops, or any offset, mirrored or not."""

    size: int
    crop: int
    anywhere: bool = False

    def draw(self, count: int, seed: int, epoch: int) -> Tensor:
        """A crop for each of `count` pictures in this epoch: (count, 3)."""
        generator = torch.Generator().manual_seed(mix(seed, epoch, 1))
        if not self.anywhere:
            return ten_crops(self.size, self.crop)[torch.randint(10, (count,), generator=generator)]
        offsets = torch.randint(self.size - self.crop + 1, (count, 2), generator=generator)
        return torch.cat([offsets, torch.randint(2, (count, 1), generator=generator)], dim=1)


def mix(*numbers: int) -> int:
    """One 63-bit seed from several numbers (splitmix64 over them): neighbours share nothing."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return state >> 1


class Batches:
    """The batches of one split for one of `world` processes; `batch_size` counts the pictures of all of them.

    With `augmentation` shuffled, and without the last, short batch; without it in order, at the centre crop,
    every picture exactly once over all processes. With `same_order` every epoch has the order of the first.
    """

    def __init__(
        self,
        images: ImageDataset,
        crop: int,
        batch_size: int,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        same_order: bool = False,
    ) -> None:
        self.images, self.batch_size, self.augmentation = images, batch_size, augmentation
        self.seed, self.rank, self.world, self.same_order = seed, rank, world, same_order
        self.centre = centre_crop(images.size, crop)
        self.epoch = self.seen = 0
        self._resumed: dict[str, int] | None = None

    batch_sampler = None

    @property
    def sampler(self) -> "Batches":
        """Where Lightning looks for `set_epoch`; it looks for a batch sampler beside it."""
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._resumed = state

    def _share(self) -> range:
        """Positions of the epoch's order that belong to this process."""
        count = len(self.images)
        return range(count - count % self.batch_size if self.augmentation else count)[self.rank :: self.world]

    def __len__(self) -> int:
        return -(-len(self._share()) * self.world // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        count = len(self.images)
        if self.augmentation:
            epoch = 0 if self.same_order else self.epoch
            order = torch.randperm(count, generator=torch.Generator().manual_seed(mix(self.seed, epoch, 0)))
            crops = self.augmentation.draw(count, self.seed, self.epoch)
        else:
            order = torch.arange(count)
            crops = self.centre.expand(count, 3)
        resumed, self._resumed = self._resumed, None
        self.seen = resumed["seen"] if resumed and resumed["epoch"] == self.epoch else 0
        mine = self._share()
        chunks = order[mine.start : mine.stop : mine.step].split(self.batch_size // self.world)
        for indices, images, rows in self._read(chunks[self.seen : len(self)]):
            self.seen += 1
            yield Batch(images, rows, crops[indices], self.images.labels[indices], indices)

    def picked(self, indices: Sequence[int]) -> Batch:
        """These pictures, by their indices in the data set, at the centre crop."""
        chosen = torch.tensor(indices, dtype=torch.long)
        ((_, images, rows),) = self._read([chosen])
        return Batch(images, rows, self.centre.expand(len(chosen), 3), self.images.labels[chosen], chosen)

    def _read(self, chunks: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Each chunk of indices, with the tensor that holds its pictures and their rows in it."""
        images = self.images
        if isinstance(images, ImageStore):
            for indices in chunks:
                yield indices, images.images, indices
            return
        if isinstance(images, Subset) and isinstance(images.base, ImageStore):
            for indices in chunks:
                yield indices, images.base.images, images.rows[indices]
            return
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            ahead: deque[tuple[Tensor, list[Future[Tensor]]]] = deque()
            for indices in chunks:
                ahead.append((indices, [pool.submit(images.read, i) for i in indices.tolist()]))
                if len(ahead) > LOOK_AHEAD:
                    yield _stacked(*ahead.popleft())
            while ahead:
                yield _stacked(*ahead.popleft())


def _stacked(indices: Tensor, pictures: list[Future[Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    return indices, torch.stack([picture.result() for picture in pictures]), torch.arange(len(indices))
