"""A data set as Lightning sees it: build the stores once, then hand out batches.

    data = ImageData(partial(folder, root="photos"), image_size=112, batch_size=32, store_dir="stores")
    trainer.fit(classifier, datamodule=data)

Pictures are stored with 8/7 of `image_size` (256 for 224, as in the paper), training cuts them at random,
validation and testing take the centre crop; the ten-crop test cuts further crops from the same batches.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from lightning import LightningDataModule

from zfnet.data.batches import Augmentation, Batches
from zfnet.data.creatures import Creatures
from zfnet.data.image_store import Images, build_store
from zfnet.data.sources import Source
from zfnet.errors import InputError

CROPS = ("ten", "any")


def stored_size(image_size: int) -> int:
    """The side of stored pictures: 256 for crops of 224."""
    return round(image_size * 8 / 7)


class ImageData(LightningDataModule):
    """Train and validation splits, `source(split="train")` and `source(split="val")`; testing uses the latter.

    `batch_size` counts the pictures of all processes together. `crops` is "ten" (the paper's) or "any".
    With `store=False` pictures are decoded on the fly, to the same pixels.
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
    ) -> None:
        super().__init__()
        if crops not in CROPS:
            raise InputError(f"data.crops={crops!r} is unknown: choose one of {', '.join(CROPS)}")
        self.image_size, self.store_size = image_size, stored_size(image_size)
        self.batch_size, self.crops, self.seed = batch_size, crops, seed
        self.store, self.max_bad = store, max_bad
        self.sources = {split: source(split=split) for split in ("train", "val")}
        self.classes = self.sources["train"].classes
        name = self.sources["train"].name
        if root is not None:
            name += "-" + hashlib.sha256(str(Path(root).resolve()).encode()).hexdigest()[:8]
        self.folder = Path(store_dir) / name
        self.images: dict[str, Images] = {}

    def open(self, split: str) -> Images:
        """One split's store, built if it is not there."""
        kind = "" if self.store else "-index"
        return build_store(
            self.sources[split],
            self.folder / f"{split}-{self.store_size}{kind}",
            self.store_size,
            self.max_bad,
            pixels=self.store,
        )

    def prepare_data(self) -> None:
        """Builds both stores, or finds them; one process a machine does it."""
        for split in self.sources:
            self.open(split)

    def setup(self, stage: str) -> None:
        """Opens both stores and checks them against the batch size and the number of processes."""
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
        return self._batches("train", augmentation)

    def val_dataloader(self) -> Batches:
        return self.ordered("val")

    def test_dataloader(self) -> Batches:
        return self.ordered("val")

    def ordered(self, split: str) -> Batches:
        """Every picture of a split once, in order, at the centre crop, shared between the processes."""
        return self._batches(split)

    def _batches(self, split: str, augmentation: Augmentation | None = None) -> Batches:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return Batches(
            self.images[split], self.image_size, self.batch_size, augmentation, self.seed, rank, world
        )


def creatures(split: str, train: int, val: int, image_size: int) -> Creatures:
    """The embedded data set, drawn at the size at which it is stored."""
    return Creatures({"train": train, "val": val}[split], split=split, size=stored_size(image_size))
