"""Folders of photos: in class folders, split or to be split, or without classes.

    train = folder("photos", "train")  # photos/<class>/**/*.jpg
    few = class_folders("photos", "train", images_per_class=15, fold=2, test_per_class=50)
    all_of_them = photos("photos", "train")

A class is a folder of the first level. zfnet.data.image_files says which files are photos.
"""

import hashlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from zfnet.data.datasets.base import Photos
from zfnet.data.image_files import ImageFiles, expand, find_images, is_folder, subfolders
from zfnet.data.source import SPLITS, Split
from zfnet.data.splits import few_per_class
from zfnet.data.subset import Selection
from zfnet.errors import InputError, check_choice

LONGEST_NAME = 100  # of a data set, which names a folder
LAYOUTS = (
    "expected <root>/train/<class>/*.jpg with <root>/val/<class>/*.jpg, or <root>/<class>/*.jpg"
)


def folder(
    root: str | Path | Sequence[str], split: Split, val_fraction: float = 0.1, seed: int = 0
) -> Photos:
    """Photos in class folders.

    Args:
        root: holds `train/<class>` and `val/<class>`, or `<class>`, which is split. Of several
            roots, equally named classes are one.
        split: "train" or "val".
        val_fraction: the share of every class that is split off as "val" (see `split_by_hash`).
        seed: of the split.

    Raises:
        InputError: the folder is missing, has another layout, or holds an empty class.
    """
    if not isinstance(root, str | Path):
        return _joined([(path, folder(path, split, val_fraction, seed)) for path in root])
    root = check_root(root)
    check_choice("split", split, SPLITS)
    if is_folder(root / "train"):
        return train_and_val_folders(_name(root, "folder"), root, split)
    if is_folder(root / "val"):
        raise InputError(f"{root}: has val/ but no train/; {LAYOUTS}")
    if not 0 <= val_fraction < 1:
        raise InputError(f"data.val_fraction={val_fraction}: must be at least 0 and less than 1")
    members = _class_folders(root)
    chosen = {
        label: split_by_hash(files, split, val_fraction, seed) for label, files in members.items()
    }
    return _photos(_name(root, "folder"), root, list(members), chosen)


def class_folders(
    root: str | Path, split: Split, images_per_class: int, fold: int, test_per_class: int
) -> Selection:
    """A few training images of each class folder `root/<class>`, and others to test on.

    Args:
        root: the folder.
        split, images_per_class, fold, test_per_class: as of `zfnet.data.splits.few_per_class`.

    Raises:
        InputError: as `folder` and `few_per_class`, or for a folder that is split already.
    """
    for part in SPLITS:
        if is_folder(expand(root) / part):
            raise InputError(
                f"{root}: has {part}/ where class folders belong; give data.root={root}/{part}, or "
                "data=folder"
            )
    whole = folder(root, "train", val_fraction=0)
    return few_per_class(whole, split, images_per_class, fold, test_per_class)


def photos(root: str | Path, split: Split) -> Photos:
    """Every photo below `root`, as one class; both splits are the same. For analyses that need no
    classes.

    Raises:
        InputError: the folder is missing or holds no photo.
    """
    root = check_root(root)
    check_choice("split", split, SPLITS)
    found = find_images(root)
    found.announce()
    return _photos(_name(root, "photos"), root, ["photo"], {"photo": found.files})


def labeled_folders(name: str, root: Path, background: Collection[str]) -> Photos:
    """All photos of `root/<class>`, without those of the classes `background`."""
    members = _class_folders(root, background)
    return _photos(name, root, list(members), members)


def train_and_val_folders(name: str, root: Path, split: Split) -> Photos:
    """The photos of `root/<split>/<class>`. The classes are those of `root/train`."""
    if not is_folder(root / split):
        raise InputError(f"{root}: has no {split}/; {LAYOUTS}")
    classes = subfolders(root / "train")
    chosen = _class_folders(
        root / split, beside=[name for name in subfolders(root) if name not in SPLITS]
    )
    if unknown := sorted(set(chosen) - set(classes)):
        raise InputError(
            f"{root}/val: class {unknown[0]!r} is not in {root}/train; rename or remove it"
        )
    chosen = {label: [f"{split}/{file}" for file in files] for label, files in chosen.items()}
    return _photos(name, root, classes, chosen)


def split_by_hash(files: Sequence[str], split: Split, val_fraction: float, seed: int) -> list[str]:
    """The files of one class that belong to a split, in their order.

    "val" takes `val_fraction` of them (at least one, never the last one) by the smallest hashes of
    seed and file name. This is the same on every machine, and files that are added later hardly
    change it."""
    count = min(max(round(val_fraction * len(files)), 1), len(files) - 1) if val_fraction else 0
    by_hash = sorted(
        files,
        key=lambda file: hashlib.sha256(f"{seed}/{file}".encode(errors="surrogateescape")).digest(),
    )
    val = set(by_hash[:count])
    return [file for file in files if (file in val) == (split == "val")]


def check_root(root: str | Path) -> Path:
    """`root` with ~ expanded. Raises InputError where there is no such folder."""
    path = expand(root)
    if not is_folder(path):
        raise InputError(f"data.root={path}: no such folder; {LAYOUTS}")
    return path


def _joined(parts: Sequence[tuple[str, Photos]]) -> Photos:
    """The images of several roots as one data set. Ids are relative to the folder that holds all of
    the roots."""
    if not parts:
        raise InputError(f"data.root=[]: name a folder; {LAYOUTS}")
    roots = [photos.root.resolve() for _, photos in parts]
    for i, (path, _) in enumerate(parts):
        for other in (*roots[:i], *roots[i + 1 :]):
            if roots[i].is_relative_to(other):
                raise InputError(f"data.root: {path} is in {other}, which is also given; remove it")
    top = Path(os.path.commonpath(roots))
    classes = sorted({name for _, photos in parts for name in photos.classes})
    number = {name: index for index, name in enumerate(classes)}
    ids = [
        f"{root.relative_to(top).as_posix()}/{id_}".removeprefix("./")
        for root, (_, photos) in zip(roots, parts, strict=True)
        for id_ in photos.ids
    ]
    labels = [number[photos.classes[label]] for _, photos in parts for label in photos.labels]
    name = "+".join(dict.fromkeys(photos.name for _, photos in parts))
    return Photos(
        name if len(name) <= LONGEST_NAME else f"{len(parts)}-roots", top, classes, ids, labels
    )


def _photos(name: str, root: Path, classes: list[str], chosen: dict[str, list[str]]) -> Photos:
    ids = [file for label in classes for file in chosen.get(label, [])]
    labels = [index for index, label in enumerate(classes) for _ in chosen.get(label, [])]
    if not ids:
        raise InputError(
            f"{root}: no image is left for this split; add images or change data.val_fraction"
        )
    return Photos(name, root, classes, ids, labels)


def _class_folders(
    root: Path, background: Collection[str] = (), beside: Collection[str] = ()
) -> dict[str, list[str]]:
    """`<class>/<path>` of every image, by class; classes alphabetical, paths in the order of
    `find_images`.

    `beside` are folders next to `root` that are no split. They are reported as passed over.
    """
    members: dict[str, list[str]] = {
        label: [] for label in subfolders(root) if label not in background
    }
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
                f"{_without(found, f'class folder {label!r} has no images')}; add some, or remove "
                "it"
            )
    found.files = [file for files in members.values() for file in files]
    found.announce()
    return members


def _without(found: ImageFiles, what: str) -> str:
    left_out = f" (passed over: {found.passed_over})" if found.passed_over.counts else ""
    return f"{found.root}: {what}{left_out}"


def _name(root: Path, otherwise: str) -> str:
    """The data set's name: its folder's."""
    return root.resolve().name or otherwise
