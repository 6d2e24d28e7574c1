"""What a network sees: sources, the image store, batches, and their preparation on the device."""

from zfnet.data.batches import Batch, Batches
from zfnet.data.creatures import Creatures
from zfnet.data.image_data import ImageData
from zfnet.data.image_store import ImageDataset, ImageStore, build_store
from zfnet.data.preprocessing import Preprocessing, ten_crops

__all__ = [
    "Batch",
    "Batches",
    "Creatures",
    "ImageData",
    "ImageDataset",
    "ImageStore",
    "Preprocessing",
    "build_store",
    "ten_crops",
]
