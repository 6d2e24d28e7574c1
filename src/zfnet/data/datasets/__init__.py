"""The data sets that configs name by `data.source._target_`, such as `zfnet.data.datasets.folder`.

Each function takes `split="train"` or `split="val"` and returns a `zfnet.data.source.Source`.

    train = folder("photos", "train")  # photos/CLASS/IMAGE, a tenth of each class is kept for "val"
    image, name = train.read(0), train.classes[train.labels[0]]
"""

from zfnet.data.datasets.base import Arrays, Photos, modification_stamp
from zfnet.data.datasets.caltech import caltech101, caltech256
from zfnet.data.datasets.csv_list import csv_list
from zfnet.data.datasets.embedded import creatures, creatures_few
from zfnet.data.datasets.folders import class_folders, folder, photos
from zfnet.data.datasets.from_torchvision import cifar10, imagenet, imagenette
from zfnet.data.datasets.hugging_face import HuggingFaceImages, huggingface
from zfnet.data.datasets.hugging_face_stream import StreamedImages
from zfnet.data.datasets.imagenet_tars import imagenet_tars
from zfnet.data.datasets.parquet import ParquetImages, parquet
from zfnet.data.datasets.tar_images import TarImages
from zfnet.data.datasets.voc import MultiLabelPhotos, voc2012
from zfnet.data.datasets.webdataset import webdataset
from zfnet.data.source import Source, Split

__all__ = [
    "Arrays",
    "HuggingFaceImages",
    "MultiLabelPhotos",
    "ParquetImages",
    "Photos",
    "Source",
    "Split",
    "StreamedImages",
    "TarImages",
    "caltech101",
    "caltech256",
    "cifar10",
    "class_folders",
    "creatures",
    "creatures_few",
    "csv_list",
    "folder",
    "huggingface",
    "imagenet",
    "imagenet_tars",
    "imagenette",
    "modification_stamp",
    "parquet",
    "photos",
    "voc2012",
    "webdataset",
]
