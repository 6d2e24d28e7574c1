"""Which images make which batch: a function of (seed, epoch, position), so that runs can resume.

The order of an epoch is `randperm` of (seed, epoch). Step t of `world` processes takes the next
`batch_size` entries of it, and each process every world-th of those, so that the global batch does
not depend on the number of processes. The crop of an image is drawn from (seed, epoch) at the
image's index. There are no worker processes: rows of a memory map are read in place, and images
decoded on the fly come from threads that work ahead.

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
from zfnet.data.preprocessing import center_crop, ten_crops
from zfnet.sizes import Size, sides
from zfnet.versions.python_names import renamed

LOOK_AHEAD = 4  # batches that are decoded in advance


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
        if torch.device(device).type == "cpu":
            return self
        shape = (len(self.rows), *self.images.shape[1:])
        images = torch.empty(shape, dtype=self.images.dtype, pin_memory=torch.cuda.is_available())
        torch.index_select(self.images, 0, self.rows, out=images)
        return replace(
            self,
            images=images.to(device, non_blocking=non_blocking),
            rows=torch.arange(len(self.rows), device=device),
            crops=self.crops.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
        )


@dataclass(frozen=True)
class Augmentation:
    """How training crops images of `size` to `crop`: a side or (height, width), in pixels.

    Attributes:
        random: any offset, mirrored or not; else one of the paper's ten crops.
    """

    size: Size
    crop: Size
    random: bool = False

    def draw(self, count: int, seed: int, epoch: int) -> Tensor:
        """A crop for each of `count` images in an epoch, (count, 3) of (y, x, mirrored)."""
        generator = torch.Generator().manual_seed(mix(seed, epoch, 1))
        if not self.random:
            return ten_crops(self.size, self.crop)[torch.randint(10, (count,), generator=generator)]
        free = [
            whole - part + 1 for whole, part in zip(sides(self.size), sides(self.crop), strict=True)
        ]
        if free[0] == free[1]:
            offsets = torch.randint(free[0], (count, 2), generator=generator)
        else:
            drawn = [torch.randint(each, (count, 1), generator=generator) for each in free]
            offsets = torch.cat(drawn, dim=1)
        return torch.cat([offsets, torch.randint(2, (count, 1), generator=generator)], dim=1)


def mix(*numbers: int) -> int:
    """Hashes numbers into one 63-bit seed (splitmix64); seeds of neighboring numbers are
    unrelated."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return state >> 1


@renamed(picked="batch_of")
class Batches:
    """The batches of one split for one process.

    With `augmentation` they are shuffled, and a last, short batch is dropped. Without it they are
    in order, at the center crop, and contain every image exactly once over all processes.

    Args:
        images: the split.
        crop: the size of the crops, in pixels.
        batch_size: the number of images of all processes together.
        augmentation: how images are cropped in training.
        seed: of the order and the crops.
        rank, world: this process, and the number of processes.
        same_order: every epoch has the order of the first.
    """

    def __init__(
        self,
        images: ImageDataset,
        crop: Size,
        batch_size: int,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        same_order: bool = False,
    ) -> None:
        self.images, self.batch_size, self.augmentation = images, batch_size, augmentation
        self.seed, self.rank, self.world, self.same_order = seed, rank, world, same_order
        self.center = center_crop(images.size, crop)
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
        return range(count - count % self.batch_size if self.augmentation else count)[
            self.rank :: self.world
        ]

    def __len__(self) -> int:
        return -(-len(self._share()) * self.world // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        count = len(self.images)
        if self.augmentation:
            epoch = 0 if self.same_order else self.epoch
            order = torch.randperm(
                count, generator=torch.Generator().manual_seed(mix(self.seed, epoch, 0))
            )
            crops = self.augmentation.draw(count, self.seed, self.epoch)
        else:
            order = torch.arange(count)
            crops = self.center.expand(count, 3)
        resumed, self._resumed = self._resumed, None
        self.seen = resumed["seen"] if resumed and resumed["epoch"] == self.epoch else 0
        mine = self._share()
        chunks = order[mine.start : mine.stop : mine.step].split(self.batch_size // self.world)
        for indices, images, rows in self._read(chunks[self.seen : len(self)]):
            self.seen += 1
            yield Batch(images, rows, crops[indices], self.images.labels[indices], indices)

    def batch_of(self, indices: Sequence[int]) -> Batch:
        """The images at these indices of the data set, as one batch at the center crop."""
        (batch,) = self.batches_of([torch.tensor(indices, dtype=torch.long)])
        return batch

    def batches_of(self, chunks: Sequence[Tensor]) -> Iterator[Batch]:
        """A batch at the center crop for each chunk of indices, (B,) int64."""
        for indices, images, rows in self._read(chunks):
            yield Batch(
                images,
                rows,
                self.center.expand(len(indices), 3),
                self.images.labels[indices],
                indices,
            )

    def _read(self, chunks: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Each chunk of indices, with the tensor that holds its images and their rows in it."""
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
                    yield _stack(*ahead.popleft())
            while ahead:
                yield _stack(*ahead.popleft())


def _stack(indices: Tensor, images: list[Future[Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    return indices, torch.stack([image.result() for image in images]), torch.arange(len(indices))
