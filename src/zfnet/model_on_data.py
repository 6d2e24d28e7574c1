"""A network, how its input is prepared, and one split of a data set: what most analyses take.

model = ModelOnData(net, prepare, images, source, classes, batch_size=32)
model.inputs([3, 5]), model.pixels([3, 5])
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from zfnet.data.batches import Batches
from zfnet.data.datasets import Source
from zfnet.data.image_store import ImageDataset, Subset
from zfnet.data.preprocessing import Preprocessing
from zfnet.deconv import ImageBatch
from zfnet.errors import InputError
from zfnet.fingerprint import digest
from zfnet.models.default_layers import default_layers
from zfnet.models.snapshot import net_fingerprint

log = logging.getLogger(__name__)


@dataclass
class ModelOnData:
    """A network in eval mode and the images it is shown, cut to their center."""

    net: nn.Module
    prepare: Preprocessing  # turns stored images into the network's input
    images: ImageDataset
    source: Source  # of the images; has masks and parts where the data set has them
    classes: list[str]  # of the network's outputs
    batch_size: int
    _told: bool = field(default=False, init=False, repr=False)

    @property
    def crop(self) -> int:
        """The side of the images that the network sees, in pixels."""
        return self.prepare.crop

    def inputs(self, indices: Sequence[int]) -> Tensor:
        """Images as the network takes them, (N, 3, crop, crop) on its device."""
        return self._prepared(indices).to(self._device())

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """The same images (N, 3, crop, crop) in [0, 1]."""
        return self.prepare.undone(self._prepared(indices))

    def default_layers(self) -> list[str]:
        """The layers that an analysis uses when none are named: the activations of convolutions."""
        return default_layers(self.net, self.inputs([0]))

    def knows_classes(self, outputs: int | None = None) -> bool:
        """Whether the data set's classes are the network's, by name and order.

        Where they are not, an image has no true class. The log says so once.

        Args:
            outputs: How many outputs the network has; None where that is not known.
        """
        known = outputs in (None, len(self.classes)) and list(self.classes) == list(self.images.classes)
        if not known and not self._told:
            self._told = True
            log.info(
                "the labels of %s (%s) are not the classes of the network (%s): no image has a true class; "
                "each image's most probable class is used instead",
                self.source.name, some_of(self.images.classes), some_of(self.classes),
            )  # fmt: skip
        return known

    def true_classes(self, indices: Sequence[int], outputs: int | None = None) -> Tensor | None:
        """The classes of images, (N,) int64; None where the network has other classes."""
        return self.images.labels[list(indices)] if self.knows_classes(outputs) else None

    def annotation(self, index: int) -> Any:
        """What the data set knows of an image: its mask and parts."""
        return self.source.annotation(self._rows[self.images.ids[index]])  # type: ignore[attr-defined]

    @cached_property
    def _rows(self) -> dict[str, int]:
        """Rows of the source by id: it counts images that cannot be read, too."""
        return {id_: row for row, id_ in enumerate(self.source.ids)}

    def batches(self, start: int = 0) -> Iterator[ImageBatch]:
        """Batches of all images from `start` on, with their indices as ids."""
        for first in range(start, len(self.images), self.batch_size):
            indices = range(first, min(first + self.batch_size, len(self.images)))
            yield ImageBatch(self.inputs(indices), torch.tensor(indices))

    def fingerprint(self) -> dict[str, Any]:
        """What results depend on: the network, the images and how they are prepared."""
        prepare = self.prepare
        return {
            "net": net_fingerprint(self.net),
            "data": images_fingerprint(self.images, self.source.name),
            "image_size": prepare.crop,
            "preprocessing": digest(prepare.store_size, prepare.mean, prepare.std),
        }

    def check_takes_images(self) -> None:
        """Raises InputError if the network does not take images of this size."""
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


def some_of(classes: Sequence[str]) -> str:
    """How many classes there are, and the first two."""
    return f"{len(classes)}, {', '.join(classes[:2])}, ..."


def images_fingerprint(images: ImageDataset, name: str) -> dict[str, Any]:
    """Images by their ids, labels and size, and by the mean of the set that they are chosen from."""
    base = images.base if isinstance(images, Subset) else images
    ends = f": {images.ids[0]} ... {images.ids[-1]}" if images.ids else ""
    return {
        "images": f"{len(images)} of {name}{ends} ({digest(images.ids)})",
        "classes": digest(images.classes),
        "labels": digest(images.labels),
        "size": images.size,
        "mean": digest(base.mean),
    }
