"""Which images make which batch: a function of (seed, epoch, position), so that runs can resume.

The order of an epoch is `randperm` of (seed, epoch). Step t of `world` processes takes the next
`batch_size` entries of it, and each process every world-th of those, so that the global batch does
not depend on the number of processes. The crop of an image is drawn from (seed, epoch) at the
image's index. There are no worker processes: threads read ahead (zfnet.data.reading).

    batches = Batches(store, crop=224, batch_size=128, augmentation=Augmentation(256, 224), seed=1)
    for batch in batches: ...                        # Batch
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zfnet.data.batch import Batch, copy_ahead
from zfnet.data.image_datasets import ImageDataset
from zfnet.data.preprocessing import center_crop, ten_crops
from zfnet.data.reading import read_ahead
from zfnet.sizes import Size, sides
from zfnet.versions.python_names import renamed

__all__ = ["Augmentation", "Batch", "Batches", "mix"]


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
        device: where batches are needed. For a GPU they are there already, copied while the last
            one was used. For a CPU, and without it, they are in host memory.
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
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
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
        for batch in self._batches(chunks[self.seen : len(self)], crops):
            self.seen += 1
            yield batch

    def batch_of(self, indices: Sequence[int]) -> Batch:
        """The images at these indices of the data set, as one batch at the center crop."""
        (batch,) = self.batches_of([torch.tensor(indices, dtype=torch.long)])
        return batch

    def batches_of(self, chunks: Sequence[Tensor]) -> Iterator[Batch]:
        """A batch at the center crop for each chunk of indices, (B,) int64."""
        return self._batches(chunks, self.center.expand(len(self.images), 3))

    def _batches(self, chunks: Sequence[Tensor], crops: Tensor) -> Iterator[Batch]:
        """A batch for each chunk of indices; `crops` are those of all images."""
        labels = self.images.labels
        batches = (
            Batch(images, rows, crops[indices], labels[indices], indices)
            for indices, images, rows in read_ahead(self.images, chunks, self.device)
        )
        if self.device.type == "cpu" or not hasattr(torch.get_device_module(self.device), "Stream"):
            return batches
        return copy_ahead(batches, self.device)
