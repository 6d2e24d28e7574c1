"""ImageNet, Imagenette and CIFAR-10, in the layouts that torchvision reads and downloads."""

import os
import pickle
from pathlib import Path
from typing import Literal

from torchvision import datasets

from zfnet.data.datasets.base import Arrays, Photos
from zfnet.data.datasets.folders import check_root, train_and_val_folders
from zfnet.data.image_files import check_line_breaks, expand, is_folder, subfolders
from zfnet.data.source import SPLITS, Split
from zfnet.errors import InputError, check_choice, download_error, one_line

IMAGENETTE = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}


def imagenet(root: str | Path, split: Split) -> Photos:
    """ILSVRC2012 as torchvision's `ImageNet` reads it. Classes are named "<wnid> <first name>",
    which is unique.

    Args:
        root: holds `{train,val}/<wnid>/*.JPEG` and meta.bin, or the three archives, which are
            unpacked.
        split: "train" or "val".

    Raises:
        InputError: the folder is missing or is not ImageNet.
    """
    root = check_root(root)
    check_choice("split", split, SPLITS)
    if (root / "meta.bin").is_file():
        read_meta(root)  # torchvision's own message is long
    try:
        found = datasets.ImageNet(str(root), split)
        names = datasets.imagenet.load_meta_file(root)[0]
        wnids = subfolders(root / "train") if is_folder(root / "train") else found.wnids
        labels = [wnids.index(wnid) for wnid in found.wnids]
        classes = [f"{wnid} {names[wnid][0]}" for wnid in wnids]
    except KeyError as error:
        raise InputError(
            f"{root}: the class folder {error} is not in meta.bin; rename or remove it"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{root}/val: class {one_line(error).split()[0]} is not in {root}/train"
        ) from error
    except (RuntimeError, OSError, ImportError, IndexError) as error:
        raise InputError(f"{root}: no ImageNet here: {one_line(error)}") from error
    ids = [path[len(str(root)) + 1 :].replace(os.sep, "/") for path, _ in found.samples]
    check_line_breaks(root, ids)
    return Photos("imagenet", root, classes, ids, [labels[target] for target in found.targets])


def read_meta(root: Path) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Reads meta.bin, which torchvision makes of ImageNet's devkit.

    Args:
        root: its folder.

    Returns:
        The names of classes by wnid, and the wnid of each image of validation.

    Raises:
        InputError: it is damaged.
    """
    try:
        names, wnids = datasets.imagenet.load_meta_file(root)
        return dict(names), list(wnids)
    except (RuntimeError, EOFError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{root / 'meta.bin'}: is damaged; delete it, and it is made again of the devkit"
        ) from error


def imagenette(root: str | Path, split: Split, size: Literal["full", "320px"] = "320px") -> Photos:
    """Ten easy classes of ImageNet.

    Args:
        root: where it is downloaded to (340 MB; "full": 1.5 GB) when absent.
        split: "train" or "val".
        size: "320px" has images whose shorter side is 320 pixels.

    Raises:
        InputError: it cannot be downloaded, or has other class folders.
    """
    check_choice("split", split, SPLITS)
    check_choice("size", size, ("full", "320px"))
    root = expand(root)
    unpacked = root / ("imagenette2" if size == "full" else "imagenette2-320")
    if not is_folder(unpacked):
        try:
            datasets.Imagenette(root, split, size, download=True)
        except (RuntimeError, OSError, KeyError) as error:
            raise download_error("Imagenette", unpacked, error) from error
    photos = train_and_val_folders(f"imagenette-{size}", unpacked, split)
    if unknown := sorted(set(photos.classes) - set(IMAGENETTE)):
        raise InputError(
            f"{unpacked}/train: {unknown[0]!r} is no class of Imagenette; rename or remove it"
        )
    photos.classes = [f"{wnid} {IMAGENETTE[wnid]}" for wnid in photos.classes]
    return photos


def cifar10(root: str | Path, split: Split) -> Arrays:
    """CIFAR-10, 32 x 32 pixels. Its test set is "val" here.

    Args:
        root: where it is downloaded to (170 MB) when absent.
        split: "train" or "val".

    Raises:
        InputError: it cannot be downloaded.
    """
    check_choice("split", split, SPLITS)
    try:
        found = datasets.CIFAR10(expand(root), train=split == "train", download=True)
    except (RuntimeError, OSError) as error:
        raise download_error("CIFAR-10", root, error) from error
    ids = [f"{split}/{index:05d}" for index in range(len(found.targets))]
    return Arrays("cifar10", list(found.classes), ids, list(found.targets), found.data)
