"""A data set as Lightning sees it: build the stores once, then hand out batches.

    data = ImageData(partial(folder, root="photos"), image_size=112, batch_size=32, store_dir="stores")
    trainer.fit(classifier, datamodule=data)

Pictures are stored with 8/7 of `image_size` (256 for 224, as in the paper), training cuts them at random,
validation and testing take the centre crop; the ten-crop test cuts further crops from the same batches.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule

from zfnet.data.batches import Augmentation, Batches
from zfnet.data.datasets import Source
from zfnet.data.exclusion import drop_excluded, read_exclusion
from zfnet.data.image_store import ImageDataset, Subset, find_store
from zfnet.data.resizing import Resizing, is_drawn, resize
from zfnet.data.subset import Selection
from zfnet.errors import InputError

CROPS = ("ten", "any")


def stored_size(image_size: int) -> int:
    """The side of stored pictures: 256 for crops of 224."""
    return round(image_size * 8 / 7)


class ImageData(LightningDataModule):
    """Train and validation splits, `source(split="train")` and `source(split="val")`; testing uses the latter.
    Words that are not named here are the source's: `source(split="train", images_per_class=30)`.

    `batch_size` counts the pictures of all processes together. `crops` is "ten" (the paper's) or "any".
    With `store=False` pictures are decoded on the fly, to the same pixels. `exclude` names a file of pictures
    to leave out (zfnet.data.exclusion). `store_size` and `interpolation` ("bilinear", "bicubic") are for nets that
    expect another resize; pictures that are drawn at the stored size are not resized at all.
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
        **words: Any,
    ) -> None:
        super().__init__()
        if crops not in CROPS:
            raise InputError(f"data.crops={crops!r} is unknown: choose one of {', '.join(CROPS)}")
        self.image_size, self.store_size = image_size, stored_size(image_size)
        self.resizing: Resizing | None = None
        self.batch_size, self.crops, self.seed = batch_size, crops, seed
        self.store, self.max_bad, self.exclude = store, max_bad, exclude
        self.sources = {split: source(split=split, **words) for split in ("train", "val")}
        self.classes = self.sources["train"].classes
        if store_size is not None and not is_drawn(self.sources["train"]):
            self.store_size, resizing = store_size, Resizing(store_size, image_size, interpolation)
            self.resizing = None if resizing.is_usual else resizing
        name = self.sources["train"].name
        if exclude is not None:
            gone = read_exclusion(exclude, name)
            self.sources = {
                split: drop_excluded(own, split, gone, exclude) for split, own in self.sources.items()
            }
        if root is not None:
            name += "-" + hashlib.sha256(os.fsencode(Path(root).resolve())).hexdigest()[:8]
        self.folder = Path(store_dir) / name
        self.images: dict[str, ImageDataset] = {}

    def open(self, split: str) -> ImageDataset:
        """One split's store, built if it is not there; of a selection, that of its whole, and what is chosen."""
        source = self.sources[split]
        if not isinstance(source, Selection):
            return self._built(source, split)
        images = self._built(source.whole, source.store)
        numbers = {id_: row for row, id_ in enumerate(images.ids)}
        rows = [numbers[id_] for id_ in source.ids if id_ in numbers]  # some may have been unreadable
        return Subset(images, torch.tensor(rows, dtype=torch.long))

    def _built(self, source: Source, name: str) -> ImageDataset:
        if self.resizing is not None:
            source, name = resize(source, self.resizing), f"{name}-{self.resizing}"
        return find_store(source, self.folder, name, self.store_size, self.max_bad, pixels=self.store)

    def prepare_data(self) -> None:
        """Builds both stores, or finds them; one process a machine does it."""
        for split in self.sources:
            self.open(split)

    def setup(self, stage: str) -> None:
        """Opens both stores and checks them against the batch size and the number of processes.

        Raises InputError also for a data set with several classes a picture, which training has no loss for.
        """
        if hasattr(self.sources["train"], "targets"):
            raise InputError(
                f"{self.sources['train'].name}: its pictures have several classes each, and training end to end "
                "wants one; read a trained net's layers instead: transfer=frozen ckpt=CHECKPOINT"
            )
        if not self.images:
            self.images = {split: self.open(split) for split in self.sources}
        world = self.trainer.world_size if self.trainer else 1
        if self.batch_size % world:
            raise InputError(f"data.batch_size={self.batch_size} does not divide by {world} processes")
        if len(self.images["val"]) < world:
            raise InputError(f"{self.folder}: fewer validation pictures than the {world} processes")
        if len(self.images["train"]) < self.batch_size:
            raise InputError(
                f"{self.folder}: {len(self.images['train'])} training pictures make no batch of "
                f"{self.batch_size}: set data.batch_size"
            )

    def train_dataloader(self) -> Batches:
        augmentation = Augmentation(self.store_size, self.image_size, anywhere=self.crops == "any")
        overfitting = bool(self.trainer and self.trainer.overfit_batches)  # type: ignore[attr-defined]
        return self._batches("train", augmentation, same_order=overfitting)

    def val_dataloader(self) -> Batches:
        return self.ordered("val")

    def test_dataloader(self) -> list[Batches]:
        return [self.ordered("val"), self.ordered("train")]

    def ordered(self, split: str) -> Batches:
        """Every picture of a split once, in order, at the centre crop, shared between the processes."""
        return self._batches(split)

    def _batches(
        self, split: str, augmentation: Augmentation | None = None, same_order: bool = False
    ) -> Batches:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
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
