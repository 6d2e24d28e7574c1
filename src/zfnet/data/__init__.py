"""Data: data sets, the image store, batches, and their preprocessing on the device."""

from zfnet.data.batches import Batch, Batches
from zfnet.data.creatures import Creatures
from zfnet.data.image_data import ImageData
from zfnet.data.image_store import ImageDataset, ImageStore, JpegStore, build_store
from zfnet.data.preprocessing import Preprocessing, ten_crops
from zfnet.data.source import AnnotatedSource, MultiLabelSource, Source

__all__ = [
    "AnnotatedSource",
    "Batch",
    "Batches",
    "Creatures",
    "ImageData",
    "ImageDataset",
    "ImageStore",
    "JpegStore",
    "MultiLabelSource",
    "Preprocessing",
    "Source",
    "build_store",
    "ten_crops",
]
