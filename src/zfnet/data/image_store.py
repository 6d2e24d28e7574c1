"""Image stores: each image is decoded once, and its center is kept in one file of all images.

    images = find_store(folder("photos", "train"), Path("stores/photos"), "train", size=256)
    images.read(0), images.labels[0]  # uint8 (256, 256, 3)

A store of N images of H x W pixels in C channels is a folder:

    images.u8     uint8 (N, H, W, C), no header         labels.npy, ids.txt   N of each
    mean.npy      float32 (C, H, W), the mean pixels    unreadable.txt        what was skipped, why
    index.json    the settings; written last, so that its presence means that the rest is complete

uint16 pixels are in images.u16, float32 pixels in images.f32. The mean counts in steps of uint8
(zfnet.data.pixel_format). Without "channels" and "dtype" in index.json, as earlier versions wrote
it, pixels are uint8 in three channels.

A store of JPEGs has "jpeg_quality" in index.json. Instead of pixels it holds images.jpegs, one JPEG
after the other, and offsets.i64, int64 (N + 1,) without a header: where each begins and the last
one ends. Its mean is that of the decoded JPEGs.

A build proceeds in groups. After each group the images are on the disk and progress.npz says how
many, so that a build that was killed is resumed, with the same bytes. With `pixels=False`
everything but the images is written, and each `read` decodes the image again.

The name of the folder has a hash of the settings, which include the ids, labels, sizes and dates of
the files. A data set that changed therefore has another store. Dates count although a copy of the
same photos is then stored again, because bytes can change where sizes do not."""

import errno
import glob
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zfnet.data.datasets import modification_stamp
from zfnet.data.image_datasets import (
    ImageDataset,
    ImageStore,
    JpegStore,
    OnTheFly,
    Subset,
    on_the_fly,
    open_store,
)
from zfnet.data.jpeg import QUALITY, can_be_jpeg
from zfnet.data.pixel_format import RGB8, PixelFormat
from zfnet.data.source import Source
from zfnet.data.store_building import Build, check_bad
from zfnet.data.store_files import (
    compare,
    different_settings,
    format_of,
    lock_folder,
    read_index,
)
from zfnet.errors import InputError, check_choice
from zfnet.fingerprint import digest
from zfnet.sizes import Size

__all__ = [
    "ImageDataset",
    "ImageStore",
    "JpegStore",
    "OnTheFly",
    "Subset",
    "build_store",
    "find_store",
]

FORMATS = ("pixels", "jpeg")
VERSION = 1
log = logging.getLogger(__name__)


def find_store(
    source: Source,
    parent: Path,
    name: str,
    size: Size,
    max_bad: int = 10,
    pixels: bool = True,
    pixel_format: PixelFormat = RGB8,
    formats: Sequence[str] = ("pixels",),
) -> ImageDataset:
    """The store of a data set, which is built if it is not there.

    Nothing is deleted. Before a build, other stores of the same name are logged.

    Args:
        source: the data set.
        parent: the folder of its stores.
        name: of the store. Its folder is named by name, size and a hash of the settings,
            "train-128-0a1b2c3d". One without the hash, as earlier versions named it, is used if its
            settings are the same.
        size, max_bad, pixels, pixel_format: as of `build_store`.
        formats: one or several of "pixels" and "jpeg". The first of which there is a store, or one
            that is half built, is used; if there is none, the first is built.

    Raises:
        InputError: as `build_store`.
    """
    plain = parent / f"{name}-{_name_of(size)}{'' if pixels else '-index'}"
    common = _settings(source, size, pixels, pixel_format)
    choices = [_in_format(common, each) for each in formats]
    folders = [parent / f"{plain.name}-{digest(settings)[:8]}" for settings in choices]
    for folder, settings in zip(folders, choices, strict=True):
        if _is_begun(folder):
            return _open_or_build(source, folder, settings, max_bad, os.cpu_count())
        if _has_settings(plain, settings):
            return _open_or_build(source, plain, settings, max_bad, os.cpu_count())
    folder, settings = folders[0], choices[0]
    if others := _other_stores(plain, folder):
        log.info(
            "%s: holds stores of other images or settings: delete what is no longer used of %s",
            parent,
            ", ".join(other.name for other in others),
        )
    return _open_or_build(source, folder, settings, max_bad, os.cpu_count())


def build_store(
    source: Source,
    folder: str | os.PathLike[str],
    size: Size,
    max_bad: int = 10,
    workers: int | None = os.cpu_count(),
    pixels: bool = True,
    pixel_format: PixelFormat = RGB8,
    store_format: str = "pixels",
) -> ImageDataset:
    """Builds a store, or resumes its build, or opens it if it is complete.

    Args:
        source: the data set.
        folder: of the store.
        size: of the stored images, in pixels: a side, or (height, width).
        max_bad: how many unreadable images are skipped, and listed in unreadable.txt.
        workers: the number of decoding threads.
        pixels: False builds a store without pixels, whose images are decoded each time.
        pixel_format: that of the source's images (see `zfnet.data.datasets.base.in_format`).
        store_format: "pixels" or "jpeg", which takes a tenth of the room and changes the pixels.

    Raises:
        InputError: more images are unreadable, the folder holds a store of other settings, the
            disk is too small, or JPEG has no such pixels.
    """
    settings = _in_format(_settings(source, size, pixels, pixel_format), store_format)
    return _open_or_build(source, Path(folder), settings, max_bad, workers)


def _open_or_build(
    source: Source, folder: Path, settings: dict[str, Any], max_bad: int, workers: int | None
) -> ImageDataset:
    try:
        if not _is_complete(folder, settings):
            folder.mkdir(parents=True, exist_ok=True)
            with lock_folder(folder):
                # Another process may have built it meanwhile.
                if not _is_complete(folder, settings):
                    Build(source, folder, settings, max_bad).run(workers)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"{folder}: the disk is full; what was built stays: free some space and run the "
                "same command "
                "again, or choose another data.store_dir or data.store=false"
            ) from error
        raise InputError(
            f"{folder}: {error.strerror or error}; choose another data.store_dir"
        ) from error
    images = open_store(folder) if settings["pixels"] else on_the_fly(folder, source)
    check_bad(folder, len(source) - len(images), len(source), max_bad)
    return images


def _is_begun(folder: Path) -> bool:
    """Whether there is a store, or a part of one."""
    return any(os.path.lexists(folder / name) for name in ("index.json", "progress.npz"))


def _has_settings(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether the folder is a complete store of these settings."""
    try:
        index = read_index(folder)
    except InputError:  # damaged
        return False
    return index is not None and not different_settings(index, settings)


def _other_stores(plain: Path, folder: Path) -> list[Path]:
    """Other folders of stores with the name of `plain`, with or without a hash."""
    hashed = plain.parent.glob(f"{glob.escape(plain.name)}-" + "[0-9a-f]" * 8)
    return sorted(path for path in (plain, *hashed) if path != folder and path.is_dir())


def _name_of(size: Size) -> str:
    return "x".join(map(str, [size] if isinstance(size, int) else size))


def _settings(
    source: Source, size: Size, pixels: bool, pixel_format: PixelFormat
) -> dict[str, Any]:
    """What two stores of pixels must share to be the same."""
    if not len(source):
        raise InputError(f"{source.name}: the data set holds no images")
    contents = json.dumps([source.classes, [int(label) for label in source.labels], source.ids])
    return {
        "version": VERSION,
        "source": source.name,
        "size": size if isinstance(size, int) else list(size),
        "pixels": pixels,
        **({} if pixel_format == RGB8 else asdict(pixel_format)),
        "images": len(source),
        "contents": hashlib.sha256(contents.encode()).hexdigest()[:16],
        "files": hashlib.sha256(modification_stamp(source).encode()).hexdigest()[:16],
    }


def _in_format(settings: dict[str, Any], store_format: str) -> dict[str, Any]:
    """The settings of a store of pixels as those of a store in this format."""
    check_choice("data.store_format", store_format, FORMATS)
    if store_format == "pixels":
        return settings
    if not settings["pixels"]:
        raise InputError(
            "data.store_format=jpeg needs a store, and data.store=false makes none; leave out one "
            "of them"
        )
    if not can_be_jpeg(pixel_format := format_of(settings)):
        raise InputError(
            f"data.store_format=jpeg: JPEG has 1 or 3 channels of uint8, and images have "
            f"{pixel_format.channels} of {pixel_format.dtype}; give data.store_format=pixels"
        )
    return settings | {"jpeg_quality": QUALITY}


def _is_complete(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether the store is complete. Raises InputError if it has other settings."""
    index = read_index(folder)
    if index is None:
        return False
    compare(folder, index, settings)
    return True
