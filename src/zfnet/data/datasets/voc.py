"""PASCAL VOC 2012: photos that show several of twenty classes at once (Table 6).

    val = voc2012("data", "val")  # data/VOCdevkit/VOC2012/{ImageSets/Main,Annotations,JPEGImages}
    val.targets[0]  # int8 (20,)

The layout and the download are torchvision's. A photo shows a class if one of the objects of that
class is not marked difficult. If all of them are, the photo does not count for that class, as in
VOC's own evaluation."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import torch
from torch import Tensor
from torchvision import datasets

from zfnet.data.datasets.base import Photos
from zfnet.data.image_files import expand, is_folder
from zfnet.data.source import SPLITS, Split
from zfnet.errors import InputError, check_choice, download_error

CLASSES = [
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *(
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
    ),
    "tvmonitor",
]
PRESENT, ABSENT, DIFFICULT = 1, 0, -1


@dataclass
class MultiLabelPhotos(Photos):
    """Photos with any number of classes each; `labels` are the first class of each photo."""

    targets: Tensor  # int8 (N, classes): 1 present, 0 absent, -1 only difficult objects


def voc2012(root: str | Path, split: Split) -> MultiLabelPhotos:
    """The official train and val sets.

    Args:
        root: where it is downloaded to (2 GB) when absent.
        split: "train" or "val".

    Raises:
        InputError: it cannot be downloaded, or an annotation is missing or broken.
    """
    check_choice("split", split, SPLITS)
    root = expand(root)
    place = root / "VOCdevkit" / "VOC2012"
    try:
        found = datasets.VOCDetection(str(root), "2012", split, download=not is_folder(place))
    except (RuntimeError, OSError) as error:
        raise download_error("VOC 2012", place, error) from error
    targets = torch.tensor([read_targets(path) for path in found.annotations], dtype=torch.int8)
    ids = [Path(path).relative_to(place).as_posix() for path in found.images]
    labels = [first_class(row) for row in targets.tolist()]
    return MultiLabelPhotos("voc2012", place, CLASSES, ids, labels, targets)


def read_targets(path: str | Path) -> list[int]:
    """The target of each of the twenty classes, from an annotation's XML file.

    Raises:
        InputError: the file is missing or broken.
    """
    remedy = "unpack VOC 2012 again"
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
    except FileNotFoundError as error:
        raise InputError(f"{path}: the annotation is missing; {remedy}") from error
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(f"{path}: the annotation is broken ({error}); {remedy}") from error
    target = [ABSENT] * len(CLASSES)
    for item in objects:
        name, difficult = item.findtext("name", "").strip(), item.findtext("difficult", "0").strip()
        if name not in CLASSES or difficult not in ("0", "1"):
            found = f"an object of class {name!r}, difficult {difficult!r}"
            raise InputError(f"{path}: the annotation is broken ({found}); {remedy}")
        label = CLASSES.index(name)
        if difficult == "0":
            target[label] = PRESENT
        elif target[label] == ABSENT:
            target[label] = DIFFICULT
    return target


def first_class(target: list[int]) -> int:
    """The first class present, else the first with difficult objects only, else 0."""
    return next((target.index(kind) for kind in (PRESENT, DIFFICULT) if kind in target), 0)
