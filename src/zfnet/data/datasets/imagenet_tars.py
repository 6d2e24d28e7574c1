"""ImageNet in the archives of ILSVRC2012, read without unpacking.

    ILSVRC2012_img_train.tar        n01440764.tar, ..., an archive of images for each class
    ILSVRC2012_img_val.tar          ILSVRC2012_val_00000001.JPEG, ..., or in classes as above
    ILSVRC2012_devkit_t12.tar.gz    the names of classes and the classes of validation

    train = imagenet_tars("/data/imagenet", "train")

torchvision reads the devkit, which needs scipy, and keeps the result in meta.bin beside it. Ids,
labels and classes are those of data=imagenet."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torchvision import datasets

from zfnet.data.datasets.from_torchvision import read_meta
from zfnet.data.datasets.shards import file_state, log_damage
from zfnet.data.datasets.tar_images import TarImages
from zfnet.data.image_files import check_line_breaks, expand
from zfnet.data.source import SPLITS, Split
from zfnet.data.tar_index import Member, index_tar
from zfnet.errors import InputError, check_choice, one_line


class _Archive(NamedTuple):
    """Images by class, those without a class, and what is wrong with archives, by name."""

    classes: dict[str, list[Member]]
    flat: list[Member]
    damage: dict[str, str]


def imagenet_tars(root: str | Path, split: Split) -> TarImages:
    """ILSVRC2012 in its archives. Classes are named "<wnid> <first name>".

    Args:
        root: holds ILSVRC2012_img_{train,val}.tar, and the devkit or meta.bin.
        split: "train" or "val".

    Raises:
        InputError: a file is missing, or the classes of the two archives differ.
    """
    check_choice("split", split, SPLITS)
    root = expand(root)
    wnids = sorted(_read(root, "train").classes)
    if not wnids:
        _refuse(root, "train", _read(root, "train"))
    archive = _read(root, split)
    names, val_wnids = _read_meta(root)
    if archive.flat and split == "val":
        archive = _with_classes(root, archive, val_wnids)
    for wnid in sorted(archive.classes.keys() | set(wnids)):
        if wnid not in names:
            raise InputError(f"{root}: the class {wnid} of an archive is not in meta.bin")
        if wnid not in wnids:
            raise InputError(f"{_path(root, split)}: class {wnid} is not in {_path(root, 'train')}")
    chosen = [
        (f"{split}/{wnid}/{member.name.rpartition('/')[2]}", label, member)
        for label, wnid in enumerate(wnids)
        for member in sorted(archive.classes.get(wnid, []))
    ]
    if not chosen:
        _refuse(root, split, archive)
    faults = {len(chosen) + i: fault for i, fault in enumerate(archive.damage.values())}
    chosen += [(name, 0, Member(name, 0, 0)) for name in archive.damage]
    ids = [id_ for id_, _, _ in chosen]
    check_line_breaks(root, ids)
    places = np.array([(0, member.offset, member.size) for _, _, member in chosen], dtype=np.int64)
    classes = [f"{wnid} {names[wnid][0]}" for wnid in wnids]
    labels = [label for _, label, _ in chosen]
    shards = [_path(root, split)]
    return TarImages("imagenet", root, classes, ids, labels, shards, places, faults=faults)


def _path(root: Path, split: str) -> Path:
    return root / f"ILSVRC2012_img_{split}.tar"


def _refuse(root: Path, split: str, archive: _Archive) -> None:
    reasons = [f" ({name}: {reason})" for name, reason in archive.damage.items()]
    raise InputError(f"{_path(root, split)}: has no images of classes{''.join(reasons[:1])}")


def _read(root: Path, split: str) -> _Archive:
    path = _path(root, split)
    if not path.is_file():
        raise InputError(f"{path}: no such file; put it there, or use data=imagenet for folders")
    return _index(path, file_state(path))


@cache
def _index(path: Path, _state: tuple[int, int]) -> _Archive:
    """The images of an archive and of those inside it."""
    outer = index_tar(path)
    found = _Archive({}, [], {})
    if outer.damage is not None:
        found.damage[path.name] = outer.damage
    for member in outer.members:
        folder, _, name = member.name.removeprefix("./").rpartition("/")
        stem, _, ending = name.rpartition(".")
        if ending == "tar":
            inner = index_tar(path, member.offset, member.size)
            found.classes.setdefault(stem, []).extend(inner.members)
            if inner.damage is not None:
                found.damage[f"{path.name}/{name}"] = inner.damage
        elif folder:
            found.classes.setdefault(folder.rpartition("/")[2], []).append(member)
        else:
            found.flat.append(member)
    for name, reason in found.damage.items():
        log_damage(path.parent / name, reason)
    return found


def _with_classes(root: Path, archive: _Archive, wnids: list[str]) -> _Archive:
    """The images of validation, in order of their names, in the classes that the devkit lists."""
    images = sorted(archive.flat)
    numbers = [member.name.rpartition(".")[0].rpartition("_")[2] for member in images]
    classes: dict[str, list[Member]] = {}
    for number, member in zip(numbers, images, strict=True):
        if not number.isdecimal() or not 1 <= int(number) <= len(wnids):
            raise InputError(
                f"{_path(root, 'val')}: {member.name} is none of the {len(wnids):,} images of the "
                "devkit"
            )
        classes.setdefault(wnids[int(number) - 1], []).append(member)
    return archive._replace(classes=classes)


def _read_meta(root: Path) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Reads meta.bin, or makes it first."""
    try:
        if not (root / "meta.bin").is_file():
            datasets.imagenet.parse_devkit_archive(str(root))
    except (RuntimeError, OSError, ImportError, EOFError) as error:
        raise InputError(
            f"{root}: class names need meta.bin or ILSVRC2012_devkit_t12.tar.gz: {one_line(error)}"
        ) from error
    return read_meta(root)
