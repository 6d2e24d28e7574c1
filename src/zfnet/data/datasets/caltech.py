"""Caltech-101 and Caltech-256, as the paper uses them: a few training images per class, in folds.

The paper trains on 15 or 30 images per class of Caltech-101 (Table 4) and on 15 to 60 of
Caltech-256 (Table 5), in five folds. The layout and the download are torchvision's. The background
class of each is left out, so that 101 and 256 classes remain.

    train = caltech101("data", "train", images_per_class=15, fold=2)
"""

from pathlib import Path

from torchvision import datasets

from zfnet.data.datasets.base import Photos
from zfnet.data.datasets.folders import labeled_folders
from zfnet.data.image_files import expand, is_folder
from zfnet.data.source import Split
from zfnet.data.splits import few_per_class
from zfnet.data.subset import Selection
from zfnet.errors import download_error


def caltech101(
    root: str | Path,
    split: Split,
    images_per_class: int = 30,
    fold: int = 0,
    test_per_class: int = 50,
) -> Selection:
    """One split of one fold of Caltech-101.

    Args:
        root: holds `caltech101/101_ObjectCategories/<class>/*.jpg`, downloaded (140 MB) when
            absent.
        split, images_per_class, fold, test_per_class: as of `zfnet.data.splits.few_per_class`.

    Raises:
        InputError: it cannot be downloaded, or as `few_per_class`.
    """
    whole = _whole(
        datasets.Caltech101, root, "caltech101/101_ObjectCategories", "BACKGROUND_Google"
    )
    return few_per_class(whole, split, images_per_class, fold, test_per_class)


def caltech256(
    root: str | Path,
    split: Split,
    images_per_class: int = 30,
    fold: int = 0,
    test_per_class: int = 50,
) -> Selection:
    """One split of one fold of Caltech-256.

    Args:
        root: holds `caltech256/256_ObjectCategories/<number>.<class>/*.jpg`, downloaded (1.2 GB)
            when absent.
        split, images_per_class, fold, test_per_class: as of `zfnet.data.splits.few_per_class`.

    Raises:
        InputError: it cannot be downloaded, or as `few_per_class`.
    """
    whole = _whole(datasets.Caltech256, root, "caltech256/256_ObjectCategories", "257.clutter")
    return few_per_class(whole, split, images_per_class, fold, test_per_class)


def _whole(
    kind: type[datasets.Caltech101] | type[datasets.Caltech256],
    root: str | Path,
    place: str,
    background: str,
) -> Photos:
    """All images below `root/place`, downloaded when absent, without the class `background`."""
    root = expand(root)
    if not is_folder(root / place):
        try:
            kind(str(root), download=True)
        except (RuntimeError, OSError, ValueError) as error:
            raise download_error(kind.__name__, root / place, error) from error
    return labeled_folders(place.partition("/")[0], root / place, {background})
