"""The image stores of a data set: each is found, or built if it is not there.

stores = Stores([train, val], Path("stores/photos"), 256, PixelFormat(3, "uint8"))
images = stores.open(train, "train")
"""

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from zfnet.data.datasets.base import Encoded, in_format
from zfnet.data.image_store import ImageDataset, JpegStore, Subset, find_store
from zfnet.data.jpeg import can_be_jpeg
from zfnet.data.pixel_format import PixelFormat
from zfnet.data.resizing import Resizing, resize
from zfnet.data.source import Source
from zfnet.data.store_choice import JPEG_FIRST, PIXELS_FIRST, preferred_formats
from zfnet.data.subset import Selection
from zfnet.errors import InputError
from zfnet.sizes import Size, sides

log = logging.getLogger(__name__)


class Stores:
    """The stores of all splits of a data set, which have one format.

    Args:
        sources: the splits.
        folder: of the stores.
        size: of stored images, in pixels.
        pixel_format: of stored images.
        resizing: how images are resized, if not as usual.
        max_bad: how many unreadable images are skipped; more are an error.
        store: False decodes the images each time.
        store_format: "pixels" or "jpeg"; None chooses, see `ImageData`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        folder: Path,
        size: Size,
        pixel_format: PixelFormat,
        resizing: Resizing | None = None,
        max_bad: int = 10,
        store: bool = True,
        store_format: str | None = None,
    ) -> None:
        self.sources, self.folder, self.size, self.store = sources, folder, size, store
        self.pixel_format, self.resizing, self.max_bad = pixel_format, resizing, max_bad
        self._formats: tuple[str, ...] | None = None if store_format is None else (store_format,)

    def open(self, source: Source, name: str) -> ImageDataset:
        """Opens the store of one split, or builds it. A selection uses its whole's store.

        Args:
            source: the split.
            name: of the split.
        """
        if not isinstance(source, Selection):
            return self._find(source, name)
        images = self._find(source.whole, source.store)
        numbers = {id_: row for row, id_ in enumerate(images.ids)}
        # Some images may have been unreadable.
        rows = [numbers[id_] for id_ in source.ids if id_ in numbers]
        return Subset(images, torch.tensor(rows, dtype=torch.long))

    def _find(self, source: Source, name: str) -> ImageDataset:
        if not self.store and isinstance(source, Encoded) and source.in_order:
            raise InputError("data.streaming=true needs a store: leave out data.store=false")
        source = in_format(source, self.pixel_format)
        if self.resizing is not None:
            source, name = resize(source, self.resizing), f"{name}-{self.resizing}"
        if self._formats is None:
            self._formats = self._choose_formats()
        images = find_store(
            *(source, self.folder, name, self.size, self.max_bad, self.store),
            *(self.pixel_format, self._formats),
        )
        if len(self._formats) > 1:  # other splits prefer the same
            self._formats = JPEG_FIRST if isinstance(images, JpegStore) else PIXELS_FIRST
        return images

    def _choose_formats(self) -> tuple[str, ...]:
        """The formats that stores may have, the preferred one first."""
        if not self.store or not can_be_jpeg(self.pixel_format):
            return PIXELS_FIRST[:1]
        wholes = {
            id(whole): whole
            for source in self.sources
            for whole in [source.whole if isinstance(source, Selection) else source]
        }
        image_bytes = math.prod(sides(self.size)) * self.pixel_format.channels
        needed = sum(len(whole) for whole in wholes.values()) * image_bytes
        formats, reason = preferred_formats(needed, self.folder)
        if reason is not None:
            log.info(
                "%s: %s: images are stored as JPEG, unless a store of pixels is there; "
                "data.store_format=pixels or jpeg chooses",
                self.folder,
                reason,
            )
        return formats
