"""Data sets to learn from a few pictures a class: Caltech-101, Caltech-256, or one's own class folders.

The paper trains on 15 or 30 pictures per class of Caltech-101 (Table 4) and on 15 to 60 of Caltech-256
(Table 5), five folds each. The layouts and the download are torchvision's; the background classes of both,
which are no classes, are left out: 101 and 256 remain.

    train = caltech101("data", "train", images_per_class=15, fold=2)
    own = class_folders("photos", "val", images_per_class=15, fold=2, test_per_class=50)  # photos/<class>/*
"""

from pathlib import Path

from torchvision import datasets

from zfnet.data.datasets import Photos, Split, folder, labelled_folders
from zfnet.data.image_files import expand, is_folder
from zfnet.data.splits import few_per_class
from zfnet.data.subset import Selection
from zfnet.errors import InputError, cannot_be_had


def caltech101(
    root: str | Path, split: Split, images_per_class: int = 30, fold: int = 0, test_per_class: int = 50
) -> Selection:
    """`root/caltech101/101_ObjectCategories/<class>/*.jpg`, downloaded (140 MB) when absent."""
    whole = _whole(datasets.Caltech101, root, "caltech101/101_ObjectCategories", "BACKGROUND_Google")
    return few_per_class(whole, split, images_per_class, fold, test_per_class)


def caltech256(
    root: str | Path, split: Split, images_per_class: int = 30, fold: int = 0, test_per_class: int = 50
) -> Selection:
    """`root/caltech256/256_ObjectCategories/<number>.<class>/*.jpg`, downloaded (1.2 GB) when absent."""
    whole = _whole(datasets.Caltech256, root, "caltech256/256_ObjectCategories", "257.clutter")
    return few_per_class(whole, split, images_per_class, fold, test_per_class)


def class_folders(
    root: str | Path, split: Split, images_per_class: int, fold: int, test_per_class: int
) -> Selection:
    """Every picture below `root/<class>`."""
    for part in ("train", "val"):
        if is_folder(expand(root) / part):
            raise InputError(
                f"{root}: has {part}/ where class folders belong; give data.root={root}/{part}, or data=folder"
            )
    whole = folder(root, "train", val_fraction=0)
    return few_per_class(whole, split, images_per_class, fold, test_per_class)


def _whole(
    kind: type[datasets.Caltech101] | type[datasets.Caltech256],
    root: str | Path,
    place: str,
    background: str,
) -> Photos:
    """All pictures below `root/place`, where torchvision puts them if they are not there, but the background's."""
    root = expand(root)
    if not is_folder(root / place):
        try:
            kind(str(root), download=True)
        except (RuntimeError, OSError, ValueError) as error:
            raise cannot_be_had(kind.__name__, root / place, error) from error
    return labelled_folders(place.partition("/")[0], root / place, {background})
