"""What an analysis looks at: a net, how its input is prepared, and one split of a data set.

subject = Subject(net, prepare, images, source, classes, batch_size=32)
subject.inputs([3, 5]), subject.pixels([3, 5])
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zfnet.data.batches import Batches
from zfnet.data.image_store import Images
from zfnet.data.preprocessing import Preprocessing
from zfnet.data.sources import Source
from zfnet.errors import InputError
from zfnet.fingerprint import digest
from zfnet.studies.resuming import images_fingerprint, net_fingerprint


@dataclass
class Subject:
    """A net in eval mode and the pictures it is shown, at the centre crop."""

    net: nn.Module
    prepare: Preprocessing
    images: Images
    source: Source  # of the images; knows masks and parts where the data set has them
    classes: list[str]
    batch_size: int

    @property
    def crop(self) -> int:
        return self.prepare.crop

    def inputs(self, indices: Sequence[int]) -> Tensor:
        """Chosen pictures as the net sees them, (N, 3, crop, crop) on its device."""
        return self._prepared(indices).to(self._device())

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """The same as they are seen by people, in [0, 1]."""
        return self.prepare.undone(self._prepared(indices))

    def batches(self, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """All pictures from `start` on, as (inputs, indices)."""
        for first in range(start, len(self.images), self.batch_size):
            indices = range(first, min(first + self.batch_size, len(self.images)))
            yield self.inputs(indices), torch.tensor(indices)

    def fingerprint(self) -> dict[str, Any]:
        """What results on these images depend on: the net, the images and how they are prepared."""
        prepare = self.prepare
        return {
            "net": net_fingerprint(self.net),
            "data": images_fingerprint(self.images, self.source.name),
            "image_size": prepare.crop,
            "preprocessing": digest(prepare.store_size, prepare.mean, prepare.std),
        }

    def check_takes_images(self) -> None:
        """InputError, in the net's own words, where it does not take images of this size."""
        try:
            with torch.inference_mode():
                self.net(torch.zeros(1, 3, self.crop, self.crop, device=self._device()))
        except (RuntimeError, AssertionError) as error:
            raise InputError(
                f"{type(self.net).__name__} does not take images of {self.crop} x {self.crop} pixels "
                f"({str(error).splitlines()[0]}): choose another data.image_size"
            ) from error

    def _prepared(self, indices: Sequence[int]) -> Tensor:
        batch = Batches(self.images, self.crop, self.batch_size).picked(indices)
        return self.prepare(batch.images, batch.rows, batch.crops)

    def _device(self) -> torch.device:
        return next((p.device for p in self.net.parameters()), torch.device("cpu"))
