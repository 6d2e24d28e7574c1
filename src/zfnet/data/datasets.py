"""What a data set is: numbered images with an id and a label, read one at a time as uint8 (3, H, W).

Two kinds hold everything: `Photos` are files under a root, `Arrays` sit in memory. The functions `folder`,
`photos`, `imagenet`, `imagenette` and `cifar10` make them from what lies on disk; each takes the root and the split.

    train = folder("photos", "train")  # photos/<class>/**/*.jpg, a tenth of each class kept for "val"
    pixels, label = train.read(0), train.classes[train.labels[0]]

Which files below a folder are photos, zfnet.data.image_files says. A class is a folder of the first level.
"""

import hashlib
import os
import pickle
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from zfnet.data.decoding import UnreadableImage, decode
from zfnet.data.image_files import ImageFiles, check_line_breaks, expand, find_images, is_folder, subfolders
from zfnet.errors import InputError, cannot_be_had, one_line

Split = Literal["train", "val"]
SPLITS = ("train", "val")
LAYOUTS = "expected <root>/train/<class>/*.jpg with <root>/val/<class>/*.jpg, or <root>/<class>/*.jpg"
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


class Source(Protocol):
    """An image data set in a fixed order."""

    name: str
    classes: list[str]
    ids: list[str]  # unique, without line breaks
    labels: list[int]  # positions in classes

    def __len__(self) -> int: ...

    def read(self, index: int) -> Tensor:
        """uint8 (3, H, W). Raises UnreadableImage."""


@dataclass
class Photos:
    """Image files; an id is a path relative to the root."""

    name: str
    root: Path
    classes: list[str]
    ids: list[str]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> Tensor:
        return decode(self.root / self.ids[index])


@dataclass
class Arrays:
    """Images in memory, uint8 (N, H, W, 3)."""

    name: str
    classes: list[str]
    ids: list[str]
    labels: list[int]
    images: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> Tensor:
        return torch.from_numpy(self.images[index]).permute(2, 0, 1)


def modification_stamp(source: Source) -> str:
    """Changes when the pixels behind the ids do, as far as can be told without decoding them: sizes and dates of
    all files (5 microseconds each), the bytes of arrays, else the pixels of three images."""
    digest = hashlib.sha256()
    if isinstance(source, Photos):
        for id_ in source.ids:
            digest.update(_size_and_date(f"{source.root}/{id_}"))
    elif isinstance(source, Arrays):
        digest.update(np.ascontiguousarray(source.images).data)
    else:
        for index in (0, len(source) // 2, len(source) - 1):
            digest.update(_pixels(source, index))
    return digest.hexdigest()


def folder(root: str | Path, split: Split, val_fraction: float = 0.1, seed: int = 0) -> Photos:
    """Photos in class folders: `root/train/<class>` and `root/val/<class>`, or `root/<class>` to be split.

    The split takes `val_fraction` of every class (one image at least, never the last one) in the order of a
    hash of seed and file name: the same on every machine, and hardly moved by photos added later.
    """
    root = _root(root)
    _one_of("split", split, SPLITS)
    if is_folder(root / "train"):
        return _two_folders(_name(root, "folder"), root, split)
    if is_folder(root / "val"):
        raise InputError(f"{root}: has val/ but no train/; {LAYOUTS}")
    if not 0 <= val_fraction < 1:
        raise InputError(f"data.val_fraction is {val_fraction}, it must be at least 0 and less than 1")
    members = _class_folders(root)
    chosen = {label: _half(files, split, val_fraction, seed) for label, files in members.items()}
    return _photos(_name(root, "folder"), root, list(members), chosen)


def labelled_folders(name: str, root: Path, background: Collection[str]) -> Photos:
    """All photos of `root/<class>`, without those of the classes `background`."""
    members = _class_folders(root, background)
    return _photos(name, root, list(members), members)


def photos(root: str | Path, split: Split) -> Photos:
    """Every photo below `root`, as one class without a name of its own: to be looked at, both splits the same."""
    root = _root(root)
    _one_of("split", split, SPLITS)
    found = find_images(root)
    found.announce()
    return _photos(_name(root, "photos"), root, ["photo"], {"photo": found.files})


def imagenet(root: str | Path, split: Split) -> Photos:
    """ILSVRC2012 as torchvision's `ImageNet` reads it: `root/{train,val}/<wnid>/*.JPEG` and meta.bin, or the
    three archives, which it unpacks. Classes are called "<wnid> <first name>", which is unique."""
    root = _root(root)
    _one_of("split", split, SPLITS)
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
        raise InputError(f"{root}/val: class {one_line(error).split()[0]} is not in {root}/train") from error
    except (
        RuntimeError,
        OSError,
        ImportError,
        EOFError,
        TypeError,
        IndexError,
        pickle.UnpicklingError,
    ) as error:
        raise InputError(f"{root}: no ImageNet here: {one_line(error)}") from error
    ids = [path[len(str(root)) + 1 :].replace(os.sep, "/") for path, _ in found.samples]
    check_line_breaks(root, ids)
    return Photos("imagenet", root, classes, ids, [labels[target] for target in found.targets])


def imagenette(root: str | Path, split: Split, size: Literal["full", "320px"] = "320px") -> Photos:
    """Ten easy ImageNet classes; downloaded to `root` (1.5 GB full, 340 MB at 320px) when absent."""
    _one_of("split", split, SPLITS)
    _one_of("size", size, ("full", "320px"))
    root = expand(root)
    unpacked = root / ("imagenette2" if size == "full" else "imagenette2-320")
    if not is_folder(unpacked):
        try:
            datasets.Imagenette(root, split, size, download=True)
        except (RuntimeError, OSError, KeyError) as error:
            raise cannot_be_had("Imagenette", unpacked, error) from error
    photos = _two_folders(f"imagenette-{size}", unpacked, split)
    if unknown := sorted(set(photos.classes) - set(IMAGENETTE)):
        raise InputError(f"{unpacked}/train: {unknown[0]!r} is no class of Imagenette; rename or remove it")
    photos.classes = [f"{wnid} {IMAGENETTE[wnid]}" for wnid in photos.classes]
    return photos


def cifar10(root: str | Path, split: Split) -> Arrays:
    """CIFAR-10, 32x32; downloaded to `root` (170 MB) when absent. Its test set is called "val" here."""
    _one_of("split", split, SPLITS)
    try:
        found = datasets.CIFAR10(expand(root), train=split == "train", download=True)
    except (RuntimeError, OSError) as error:
        raise cannot_be_had("CIFAR-10", root, error) from error
    ids = [f"{split}/{index:05d}" for index in range(len(found.targets))]
    return Arrays("cifar10", list(found.classes), ids, list(found.targets), found.data)


def _size_and_date(path: str) -> bytes:
    try:
        state = os.stat(path)  # noqa: PTH116 (a Path costs as much again)
    except OSError:  # to be found unreadable when its turn comes
        return b"none"
    return f"{state.st_size} {state.st_mtime_ns}\n".encode()


def _pixels(source: Source, index: int) -> bytes:
    try:
        return source.read(index).contiguous().numpy().tobytes()
    except UnreadableImage:
        return b"none"


def _two_folders(name: str, root: Path, split: Split) -> Photos:
    if not is_folder(root / split):
        raise InputError(f"{root}: has no {split}/; {LAYOUTS}")
    classes = subfolders(root / "train")
    chosen = _class_folders(root / split, beside=[name for name in subfolders(root) if name not in SPLITS])
    if unknown := sorted(set(chosen) - set(classes)):
        raise InputError(f"{root}/val: class {unknown[0]!r} is not in {root}/train; rename or remove it")
    chosen = {label: [f"{split}/{file}" for file in files] for label, files in chosen.items()}
    return _photos(name, root, classes, chosen)


def _photos(name: str, root: Path, classes: list[str], chosen: dict[str, list[str]]) -> Photos:
    ids = [file for label in classes for file in chosen.get(label, [])]
    labels = [index for index, label in enumerate(classes) for _ in chosen.get(label, [])]
    if not ids:
        raise InputError(f"{root}: no image is left for this split; add images or change data.val_fraction")
    return Photos(name, root, classes, ids, labels)


def _class_folders(
    root: Path, background: Collection[str] = (), beside: Collection[str] = ()
) -> dict[str, list[str]]:
    """`<class>/<path>` of every image, by class; classes alphabetical, paths as `find_images` has them.

    `beside` are the folders next to `root` that are no split, to be counted with what is passed over.
    """
    members: dict[str, list[str]] = {label: [] for label in subfolders(root) if label not in background}
    found = find_images(root, background)
    for name in beside:
        found.passed_over.add("folders beside train/ and val/", f"{name}/")
    for file in found.files:
        label, inside, _ = file.partition("/")
        if inside:
            members[label].append(file)
        else:
            found.passed_over.add("outside class folders", file)
    if not members and found.files:
        raise InputError(f"{root}: images lie here without class folders; {LAYOUTS}")
    if not members:
        raise InputError(f"{_without(found, 'no class folders in it')}; {LAYOUTS}")
    for label, files in members.items():
        if not files:
            raise InputError(
                f"{_without(found, f'class folder {label!r} has no images')}; add some, or remove it"
            )
    found.files = [file for files in members.values() for file in files]
    found.announce()
    return members


def _without(found: ImageFiles, what: str) -> str:
    left_out = f" (passed over: {found.passed_over})" if found.passed_over.counts else ""
    return f"{found.root}: {what}{left_out}"


def _half(files: list[str], split: Split, fraction: float, seed: int) -> list[str]:
    """The files of one class that belong to the split, in their order."""
    count = min(max(round(fraction * len(files)), 1), len(files) - 1) if fraction else 0
    by_hash = sorted(
        files, key=lambda file: hashlib.sha256(f"{seed}/{file}".encode(errors="surrogateescape")).digest()
    )
    val = set(by_hash[:count])
    return [file for file in files if (file in val) == (split == "val")]


def _root(root: str | Path) -> Path:
    path = expand(root)
    if not is_folder(path):
        raise InputError(f"data.root={path}: no such folder; {LAYOUTS}")
    return path


def _name(root: Path, otherwise: str) -> str:
    """The data set's name: its folder's."""
    return root.resolve().name or otherwise


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{what} is {value!r}, it must be one of {', '.join(allowed)}")
