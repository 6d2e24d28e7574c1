"""What an analysis looks at: a net, how its input is prepared, and one split of a data set.

subject = ModelOnData(net, prepare, images, source, classes, batch_size=32)
subject.inputs([3, 5]), subject.pixels([3, 5])
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
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

log = logging.getLogger(__name__)


@dataclass
class ModelOnData:
    """A net in eval mode and the pictures it is shown, at the centre crop."""

    net: nn.Module
    prepare: Preprocessing
    images: ImageDataset
    source: Source  # of the images; knows masks and parts where the data set has them
    classes: list[str]
    batch_size: int
    _told: bool = field(default=False, init=False, repr=False)

    @property
    def crop(self) -> int:
        return self.prepare.crop

    def inputs(self, indices: Sequence[int]) -> Tensor:
        """Chosen pictures as the net sees them, (N, 3, crop, crop) on its device."""
        return self._prepared(indices).to(self._device())

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """The same as they are seen by people, in [0, 1]."""
        return self.prepare.undone(self._prepared(indices))

    def knows_classes(self, outputs: int | None = None) -> bool:
        """Whether the data set's classes are the net's, by name and order. Where they are not, an image has no true
        class, which the log says once. `outputs` is how many the net gives, where that was seen."""
        known = outputs in (None, len(self.classes)) and list(self.classes) == list(self.images.classes)
        if not known and not self._told:
            self._told = True
            log.info(
                "the labels of %s (%s) are not the net's classes (%s): no image has a true class; "
                "each image's most probable class stands for them",
                self.source.name, some_of(self.images.classes), some_of(self.classes),
            )  # fmt: skip
        return known

    def true_classes(self, indices: Sequence[int], outputs: int | None = None) -> Tensor | None:
        """The net's class that each chosen picture shows, (N,) int64; None where the net knows other classes."""
        return self.images.labels[list(indices)] if self.knows_classes(outputs) else None

    def annotation(self, index: int) -> Any:
        """What the data set knows of a picture: masks and parts. The source counts unreadable pictures, too."""
        return self.source.annotation(self._rows[self.images.ids[index]])  # type: ignore[attr-defined]

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {id_: row for row, id_ in enumerate(self.source.ids)}

    def batches(self, start: int = 0) -> Iterator[ImageBatch]:
        """All pictures from `start` on, with their indices as ids."""
        for first in range(start, len(self.images), self.batch_size):
            indices = range(first, min(first + self.batch_size, len(self.images)))
            yield ImageBatch(self.inputs(indices), torch.tensor(indices))

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


def some_of(classes: Sequence[str]) -> str:
    """How many classes there are, and the first two."""
    return f"{len(classes)}, {', '.join(classes[:2])}, ..."


def net_fingerprint(net: nn.Module) -> str:
    """A net by its modules, their plain attributes, and the values of all tensors."""
    modules = [
        [name, f"{type(module).__module__}.{type(module).__qualname__}", repr(_plain(vars(module)))]
        for name, module in net.named_modules()
    ]
    tensors = [*net.named_parameters(), *net.named_buffers()]
    each = [[name, digest(tensor)] for name, tensor in tensors]
    return f"{type(net).__name__} {digest(modules, each)}"


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    kinds = (bool, int, float, str, tuple, type(None))
    names = sorted(
        name for name, value in attributes.items() if isinstance(value, kinds) and name != "training"
    )
    return {name: attributes[name] for name in names}


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
