"""A data set as a LightningDataModule: builds the image stores once, then gives batches.

    photos = partial(folder, root="photos")
    data = ImageData(photos, image_size=112, batch_size=32, store_dir="stores")
    trainer.fit(classifier, datamodule=data)

Images are stored at 8/7 of `image_size` (256 for 224, as in the paper). Training crops them at
random, validation and testing take the center crop. The ten-crop test cuts further crops from the
same batches."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule

from zfnet.data.batches import Augmentation, Batches
from zfnet.data.exclusion import drop_excluded, read_exclusion
from zfnet.data.image_store import ImageDataset, Subset, find_store
from zfnet.data.preprocessing import stored_size
from zfnet.data.resizing import Resizing, resize
from zfnet.data.source import SPLITS, AnnotatedSource, MultiLabelSource, Source
from zfnet.data.subset import Selection
from zfnet.errors import InputError, check_choice

CROPS = ("ten", "random")


class ImageData(LightningDataModule):
    """The training and validation splits of a data set; testing uses the latter.

    Args:
        source: called with `split="train"` and `split="val"`, returns a `zfnet.data.source.Source`.
        image_size: the crop that the net sees, in pixels.
        batch_size: the number of images of all processes together.
        store_dir: the folder of image stores.
        root: where the data set lies; it only tells stores of equally named data sets apart.
        crops: "ten" (training draws one of the paper's ten crops) or "random" (any offset).
        store: False decodes on the fly, to the same pixels.
        max_bad: how many unreadable images are skipped; more are an error.
        seed: of the order and the crops.
        exclude: a csv of images to leave out (zfnet.data.exclusion).
        store_size, interpolation: the resize that a net expects, in pixels and "bilinear" or
            "bicubic". An `AnnotatedSource` is never resized.
        **options: further arguments of `source`.

    Raises:
        InputError: an argument is wrong, or the source raises it.
    """

    def __init__(
        self,
        source: Callable[..., Source],
        image_size: int,
        batch_size: int,
        store_dir: str,
        root: str | None = None,
        crops: str = "ten",
        store: bool = True,
        max_bad: int = 10,
        seed: int = 0,
        exclude: str | None = None,
        store_size: int | None = None,
        interpolation: str = "bilinear",
        **options: Any,
    ) -> None:
        super().__init__()
        check_choice("data.crops", crops, CROPS)
        self.image_size, self.store_size = image_size, stored_size(image_size)
        self.resizing: Resizing | None = None
        self.batch_size, self.crops, self.seed = batch_size, crops, seed
        self.store, self.max_bad, self.exclude = store, max_bad, exclude
        self.sources = {split: source(split=split, **options) for split in SPLITS}
        self.classes = self.sources["train"].classes
        if store_size is not None and not isinstance(self.sources["train"], AnnotatedSource):
            self.store_size, resizing = store_size, Resizing(store_size, image_size, interpolation)
            self.resizing = None if resizing.is_usual else resizing
        name = self.sources["train"].name
        if exclude is not None:
            gone = read_exclusion(exclude, name)
            self.sources = {
                split: drop_excluded(own, split, gone, exclude)
                for split, own in self.sources.items()
            }
        if root is not None:
            name += "-" + hashlib.sha256(os.fsencode(Path(root).resolve())).hexdigest()[:8]
        self.folder = Path(store_dir) / name
        self.images: dict[str, ImageDataset] = {}

    def open(self, split: str) -> ImageDataset:
        """The images of one split; their store is built if it is not there. A selection uses its
        whole's store."""
        source = self.sources[split]
        if not isinstance(source, Selection):
            return self._find_store(source, split)
        images = self._find_store(source.whole, source.store)
        numbers = {id_: row for row, id_ in enumerate(images.ids)}
        # Some images may have been unreadable.
        rows = [numbers[id_] for id_ in source.ids if id_ in numbers]
        return Subset(images, torch.tensor(rows, dtype=torch.long))

    def _find_store(self, source: Source, name: str) -> ImageDataset:
        if self.resizing is not None:
            source, name = resize(source, self.resizing), f"{name}-{self.resizing}"
        return find_store(
            source, self.folder, name, self.store_size, self.max_bad, pixels=self.store
        )

    def prepare_data(self) -> None:
        """Builds the stores that are missing, in one process of each machine."""
        for split in self.sources:
            self.open(split)

    def setup(self, stage: str) -> None:
        """Opens both stores.

        Raises:
            InputError: there are too few images for the batch size or the processes, or the images
                have several classes each, for which training has no loss.
        """
        if isinstance(self.sources["train"], MultiLabelSource):
            raise InputError(
                f"{self.sources['train'].name}: its images have several classes each, and training "
                "needs one; "
                "fit a linear probe to a trained net instead: transfer=frozen ckpt=CHECKPOINT"
            )
        if not self.images:
            self.images = {split: self.open(split) for split in self.sources}
        world = self.trainer.world_size if self.trainer else 1
        if self.batch_size % world:
            raise InputError(
                f"data.batch_size={self.batch_size} does not divide by {world} processes"
            )
        if len(self.images["val"]) < world:
            raise InputError(f"{self.folder}: fewer validation images than the {world} processes")
        if len(self.images["train"]) < self.batch_size:
            raise InputError(
                f"{self.folder}: {len(self.images['train'])} training images make no batch of "
                f"{self.batch_size}: set data.batch_size"
            )

    def train_dataloader(self) -> Batches:
        augmentation = Augmentation(self.store_size, self.image_size, random=self.crops == "random")
        overfitting = bool(self.trainer and self.trainer.overfit_batches)  # type: ignore[attr-defined]
        return self._batches("train", augmentation, same_order=overfitting)

    def val_dataloader(self) -> Batches:
        return self.ordered("val")

    def test_dataloader(self) -> list[Batches]:
        return [self.ordered("val"), self.ordered("train")]

    def ordered(self, split: str) -> Batches:
        """Every image of a split once, in order, at the center crop, shared between the
        processes."""
        return self._batches(split)

    def _batches(
        self, split: str, augmentation: Augmentation | None = None, same_order: bool = False
    ) -> Batches:
        rank, world = (
            (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        )
        return Batches(
            self.images[split],
            self.image_size,
            self.batch_size,
            augmentation,
            self.seed,
            rank,
            world,
            same_order,
        )
