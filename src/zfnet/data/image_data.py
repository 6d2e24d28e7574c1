"""A data set as a LightningDataModule: builds the image stores once, then gives batches.

    photos = partial(folder, root="photos")
    data = ImageData(photos, image_size=112, batch_size=32, store_dir="stores")
    trainer.fit(classifier, datamodule=data)

Images are stored at 8/7 of `image_size` (256 for 224, as in the paper), uint8 in RGB unless
`channels` and `dtype` say otherwise. Training crops them at
random, validation and testing take the center crop. The ten-crop test cuts further crops from the
same batches."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning import LightningDataModule

from zfnet.data.batches import Augmentation, Batches
from zfnet.data.exclusion import drop_excluded, read_exclusion
from zfnet.data.image_store import FORMATS, ImageDataset, JpegStore, Subset
from zfnet.data.pixel_format import PixelFormat
from zfnet.data.preprocessing import stored_size
from zfnet.data.resizing import Resizing
from zfnet.data.source import SPLITS, AnnotatedSource, MultiLabelSource, Source
from zfnet.data.stores import Stores
from zfnet.errors import InputError, check_choice
from zfnet.sizes import as_size
from zfnet.validation import Channels, Side, Whole

CROPS = ("ten", "random")


class ImageData(LightningDataModule):
    """The training and validation splits of a data set; testing uses the latter.

    Args:
        source: called with `split="train"` and `split="val"`, returns a `zfnet.data.source.Source`.
        image_size: the crop that the net sees, in pixels: a side, or [height, width].
        batch_size: the number of images of all processes together.
        store_dir: the folder of image stores.
        root: where the data set lies, or several folders; it only tells stores of equally named
            data sets apart.
        crops: "ten" (training draws one of the paper's ten crops) or "random" (any offset).
        store: False decodes on the fly, to the same pixels as those of a store of pixels.
        store_format: "pixels", or "jpeg", which takes a tenth of the room and changes the pixels a
            little. None keeps the format of a store that is there, and otherwise chooses "jpeg"
            where the pixels of all splits exceed the memory or the free disk.
        max_bad: how many unreadable images are skipped; more are an error.
        seed: of the order and the crops.
        exclude: a csv of images to leave out (zfnet.data.exclusion).
        store_size, interpolation: the resize that a net expects, in pixels and "bilinear" or
            "bicubic". An `AnnotatedSource` is never resized.
        channels: of the images. 1 is gray and 3 is RGB, and images of one are converted to the
            other. With any other number, the files must have so many bands.
        dtype: of stored pixels: "uint8", "uint16" or "float32" (`zfnet.data.pixel_format`).
        channels_shown: of more than three channels, the three that figures show as red, green and
            blue, or the one that they show as gray; None is the first three.
        **options: further arguments of `source`.

    Raises:
        InputError: an argument is wrong, or the source raises it.
    """

    def __init__(
        self,
        source: Callable[..., Source],
        image_size: Side | Sequence[Side],
        batch_size: int,
        store_dir: str,
        root: str | Sequence[str] | None = None,
        crops: str = "ten",
        store: bool = True,
        store_format: str | None = None,
        max_bad: int = 10,
        seed: int = 0,
        exclude: str | None = None,
        store_size: Side | Sequence[Side] | None = None,
        interpolation: str = "bilinear",
        channels: Channels = 3,
        dtype: str = "uint8",
        channels_shown: Sequence[Whole] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        check_choice("data.crops", crops, CROPS)
        self.image_size = as_size(image_size)
        self.store_size = stored_size(self.image_size)
        self.pixel_format = PixelFormat(channels, dtype)
        self.channels_shown = _channels_shown(channels_shown, channels)
        self.resizing: Resizing | None = None
        self.batch_size, self.crops, self.seed = batch_size, crops, seed
        self.exclude = exclude
        self.sources = {split: source(split=split, **options) for split in SPLITS}
        self.classes = self.sources["train"].classes
        if store_size is not None and not isinstance(self.sources["train"], AnnotatedSource):
            self.store_size = as_size(store_size)
            resizing = Resizing(self.store_size, self.image_size, interpolation)
            self.resizing = None if resizing.is_usual else resizing
        name = self.sources["train"].name
        if exclude is not None:
            gone = read_exclusion(exclude, name)
            self.sources = {
                split: drop_excluded(own, split, gone, exclude)
                for split, own in self.sources.items()
            }
        if root is not None:
            roots = [root] if isinstance(root, str) else root
            places = b"\n".join(os.fsencode(Path(each).resolve()) for each in roots)
            name += "-" + hashlib.sha256(places).hexdigest()[:8]
        self.folder = Path(store_dir) / name
        if store_format is not None:
            check_choice("data.store_format", store_format, FORMATS)
        self.stores = Stores(
            *(list(self.sources.values()), self.folder, self.store_size, self.pixel_format),
            *(self.resizing, max_bad, store, store_format),
        )
        self.images: dict[str, ImageDataset] = {}

    def open(self, split: str) -> ImageDataset:
        """The images of one split; their store is built if it is not there."""
        return self.stores.open(self.sources[split], split)

    def state_dict(self) -> dict[str, str]:
        """What a resumed run must share and no setting says: the format of the stored images."""
        return {"store_format": self._found_format()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Checks that a run resumes on images of the same format.

        Raises:
            InputError: it does not.
        """
        before, now = state_dict.get("store_format", "pixels"), self._found_format()
        if before != now:
            raise InputError(
                f"{self.folder}: the run began with data.store_format={before}, and the images "
                f"are {now} now: give data.store_format={before}, or another name= for a new run"
            )

    def _found_format(self) -> str:
        """The format of the training images. Images that are decoded on the fly are pixels."""
        images = self.images["train"]
        base = images.base if isinstance(images, Subset) else images
        return "jpeg" if isinstance(base, JpegStore) else "pixels"

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
        if self.trainer and world > 1:
            first, own = self.trainer.strategy.broadcast(self._found_format()), self._found_format()
            if first != own:
                raise InputError(
                    f"{self.folder}: images are {own} here and {first} on the first machine; "
                    "give data.store_format="
                )
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
            self.trainer.strategy.root_device if self.trainer else "cpu",
        )


def _channels_shown(given: Sequence[int] | None, channels: int) -> list[int]:
    """The channels that figures show, one or three."""
    if given is None:
        return list(range(channels if channels < 3 else 3))
    shown = list(given)
    if len(shown) not in (1, 3) or not all(0 <= each < channels for each in shown):
        raise InputError(
            f"data.channels_shown={shown}: give one or three of the channels 0 to {channels - 1}"
        )
    return shown
