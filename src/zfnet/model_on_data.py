"""A network, its preprocessing and one split of a data set: the input of most analyses.

    model = ModelOnData(net, prepare, images, source, classes, batch_size=32)
    model.inputs([3, 5]), model.pixels([3, 5])
    if has_annotations(model):
        object_of(model, 3).mask, object_of(model, 3).parts

Images are referred to by their index in the split.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from zfnet.data.batches import Batch, Batches
from zfnet.data.image_store import ImageDataset, Subset
from zfnet.data.preprocessing import Preprocessing, center_crop
from zfnet.data.source import AnnotatedSource, Source
from zfnet.deconv import Deconvnet, ImageBatch, Patches, Unit
from zfnet.errors import InputError
from zfnet.fingerprint import digest
from zfnet.models.default_layers import default_layers
from zfnet.models.snapshot import net_fingerprint
from zfnet.sizes import Size, sides

log = logging.getLogger(__name__)


Places = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Object:
    """What the center crop shows of an object."""

    mask: Tensor  # bool (H, W)
    parts: Places  # centers (x, y) of the parts inside the crop


@dataclass
class ModelOnData:
    """A network in eval mode, and images that are cropped to their center."""

    net: nn.Module
    prepare: Preprocessing  # converts stored images to the input of the network
    images: ImageDataset
    source: Source  # of the images; has masks and parts if the data set has them
    classes: list[str]  # names of the outputs of the network
    batch_size: int
    channels_shown: Sequence[int] | None = None  # by figures; None: all
    _told: bool = field(default=False, init=False, repr=False)

    def to(self, device: torch.device) -> None:
        """Moves the network and the preparation of its images to a device."""
        self.net.to(device)
        self.prepare.to(device)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next((p.device for p in self.net.parameters()), torch.device("cpu"))

    @property
    def crop(self) -> Size:
        """The size of the images that the network takes, in pixels: a side, or (height, width)."""
        return self.prepare.crop

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images that the network takes."""
        return (self.prepare.channels, *sides(self.crop))

    def shown(self, images: Tensor) -> Tensor:
        """Returns the channels of images that figures show.

        Args:
            images: images, projections or filters, (..., C, H, W).
        """
        if self.channels_shown is None or list(self.channels_shown) == list(
            range(images.shape[-3])
        ):
            return images
        return images[..., list(self.channels_shown), :, :]

    def inputs(self, indices: Sequence[int]) -> Tensor:
        """Returns preprocessed images, (N, C, H, W), on the device of the network.

        Args:
            indices: the indices of N images.
        """
        return self.preprocess(self._batch(indices)).to(self.device)

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """Returns the same images with values in [0, 1], (N, C, H, W), on the CPU.

        Args:
            indices: the indices of N images.
        """
        return self.pixels_of(self.preprocess(self._batch(indices)))

    def pixels_of(self, inputs: Tensor) -> Tensor:
        """Returns preprocessed images (N, C, H, W) with values in [0, 1], on the CPU."""
        return self.prepare.denormalize(inputs.to(self.prepare.mean.device)).cpu()

    def inputs_of(self, units: Sequence[Unit]) -> tuple[Tensor, list[Unit]]:
        """Returns the preprocessed images of units.

        Args:
            units: N units; `image` is the index of an image.

        Returns:
            The images (B, C, H, W), and the units; `image` is a row of the images.
        """
        rows = {index: row for row, index in enumerate(dict.fromkeys(u.image for u in units))}
        return self.inputs(list(rows)), [replace(u, image=rows[u.image]) for u in units]

    def default_layers(self) -> list[str]:
        """Returns the default layers of analyses: the activations of convolutions."""
        return default_layers(self.net, self.inputs([0]))

    def knows_classes(self, outputs: int | None = None) -> bool:
        """Whether the data set's classes are the network's, by name and order.

        If they are not, images have no true class, and the log says so once.

        Args:
            outputs: the number of outputs of the network; None if it is unknown.
        """
        known = outputs in (None, len(self.classes)) and list(self.classes) == list(
            self.images.classes
        )
        if not known and not self._told:
            self._told = True
            log.info(
                "the labels of %s (%s) are not the classes of the network (%s): no image has a "
                "true class; "
                "each image's most probable class is used instead",
                self.source.name, some_of(self.images.classes), some_of(self.classes),
            )  # fmt: skip
        return known

    def true_classes(self, indices: Sequence[int], outputs: int | None = None) -> Tensor | None:
        """Returns the true classes of images, (N,) int64.

        Args:
            indices: the indices of N images.
            outputs: the number of outputs of the network; None if it is unknown.

        Returns:
            The classes, or None if the network has other classes.
        """
        return self.images.labels[list(indices)] if self.knows_classes(outputs) else None

    def annotation(self, index: int) -> Any:
        """Returns the mask and the parts of an image, if the data set has them.

        Args:
            index: the index of the image.
        """
        return self.source.annotation(self._rows[self.images.ids[index]])  # type: ignore[attr-defined]

    @cached_property
    def _rows(self) -> dict[str, int]:
        """Rows of the source by id. The source also contains images that cannot be read."""
        return {id_: row for row, id_ in enumerate(self.source.ids)}

    def batches(self, indices: Sequence[int] | None = None) -> Iterator[ImageBatch]:
        """Yields batches of preprocessed images with their indices as ids.

        Args:
            indices: the images to use; None for all in order.
        """
        chosen = torch.tensor(
            range(len(self.images)) if indices is None else indices, dtype=torch.long
        )
        chunks = [chunk for chunk in chosen.split(self.batch_size) if len(chunk)]
        device = self.prepare.mean.device
        batches = Batches(self.images, self.crop, self.batch_size, device=device)
        for batch in batches.batches_of(chunks):
            yield ImageBatch(self.preprocess(batch).to(self.device), batch.indices)

    def project(
        self, deconv: Deconvnet, layer: str, units: Sequence[Unit]
    ) -> tuple[Patches, Tensor]:
        """Projects units of a layer to the image with a deconvnet.

        Args:
            deconv: the deconvnet of the network.
            layer: the name of the layer.
            units: N units; `image` is the index of an image.

        Returns:
            The projections, and the pixels at the same places, (N, C, h, w) in [0, 1]. Pixels
            beyond the border are gray.
        """
        inputs, units = self.inputs_of(units)
        patches = deconv.patches(inputs, layer, units)
        return patches, patches.crop(self.pixels_of(inputs), units, fill=0.5)

    def fingerprint(self) -> dict[str, Any]:
        """Returns what results depend on: the network, the images and their preprocessing."""
        prepare = self.prepare
        return {
            "net": net_fingerprint(self.net),
            "data": images_fingerprint(self.images, self.source.name),
            "image_size": prepare.crop if isinstance(prepare.crop, int) else list(prepare.crop),
            "preprocessing": digest(prepare.store_size, prepare.mean, prepare.std),
        }

    def check_takes_images(self) -> None:
        """Checks that the network accepts images of this size.

        Raises:
            InputError: if it does not.
        """
        try:
            with torch.inference_mode():
                self.net(torch.zeros(1, *self.shape, device=self.device))
        except (RuntimeError, AssertionError) as error:
            channels, height, width = self.shape
            of_channels = "" if channels == 3 else f" in {channels} channels"
            raise InputError(
                f"{type(self.net).__name__} does not take images of {height} x {width} pixels"
                f"{of_channels} ({str(error).splitlines()[0]}): choose another data.image_size"
            ) from error

    def preprocess(self, batch: Batch) -> Tensor:
        """Preprocesses a batch.

        Args:
            batch: B images.

        Returns:
            The input of the network, (B, C, H, W), on the device of the preprocessing.
        """
        batch = batch.to(self.prepare.mean.device)
        return self.prepare(batch.images, batch.rows, batch.crops)

    def _batch(self, indices: Sequence[int]) -> Batch:
        return Batches(self.images, self.crop, self.batch_size).batch_of(indices)


def has_annotations(model: ModelOnData) -> bool:
    """Whether the data set itself has the masks and parts of its objects."""
    return isinstance(model.source, AnnotatedSource)


def object_of(model: ModelOnData, index: int) -> Object:
    """The object of an image, as the data set knows it."""
    top, left, _ = center_crop(model.images.size, model.crop).tolist()
    known, (height, width) = model.annotation(index), sides(model.crop)
    moved = {name: (x - left, y - top) for name, (x, y) in known.parts.items()}
    inside = {
        name: (x, y)
        for name, (x, y) in moved.items()
        if -0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5
    }
    return Object(known.mask[top : top + height, left : left + width], inside)


def some_of(classes: Sequence[str]) -> str:
    """Returns the number of classes and the first two, for messages."""
    return f"{len(classes)}, {', '.join(classes[:2])}, ..."


def images_fingerprint(images: ImageDataset, name: str) -> dict[str, Any]:
    """Returns what identifies images: ids, classes, labels, size, and the mean of their set.

    Args:
        images: the images. A Subset has the mean of the whole set.
        name: the name of the data set.
    """
    base = images.base if isinstance(images, Subset) else images
    ends = f": {images.ids[0]} ... {images.ids[-1]}" if images.ids else ""
    return {
        "images": f"{len(images)} of {name}{ends} ({digest(images.ids)})",
        "classes": digest(images.classes),
        "labels": digest(images.labels),
        "size": images.size if isinstance(images.size, int) else list(images.size),
        "mean": digest(base.mean),
    }
