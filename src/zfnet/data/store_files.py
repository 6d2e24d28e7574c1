"""The files of an image store.

Settings are compared before a store is used, and parts are checked when read.

    index = read_index(folder)
    compare(folder, index, settings)
    ids, labels, mean = read_parts(folder, index)
    images = map_pixels(folder / "images.u8", (count, height, width, 3), torch.uint8)
"""

import hashlib
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zfnet.data.pixel_format import DTYPES, PixelFormat
from zfnet.errors import InputError
from zfnet.io import file_lock, mapped, read_back, read_json
from zfnet.sizes import sides

MEANING = {
    "contents": "contents (hash of ids, labels, classes)",
    "files": "files (hash of sizes and dates)",
}
SUFFIXES = {"uint8": "u8", "uint16": "u16", "float32": "f32"}
JPEGS, OFFSETS = "images.jpegs", "offsets.i64"
# Settings that only some stores have.
OPTIONAL = ("channels", "dtype", "jpeg_quality")
REMEDY = "choose another data.store_dir, or delete the folder to build it anew"


def compare(folder: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raises InputError if the store in `folder` has other settings than those asked for."""
    differing = [
        f"{MEANING.get(key, key)} is {found.get(key)!r} there and {asked.get(key)!r} was asked for"
        for key in different_settings(found, asked)
    ]
    if differing:
        raise InputError(f"{folder}: holds another store: {'; '.join(differing)}; {REMEDY}")


def different_settings(found: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """The names of settings in which a store differs from what is asked for."""
    keys = dict.fromkeys([*asked, *OPTIONAL])
    return [key for key in keys if found.get(key) != asked.get(key)]


def read_index(folder: Path) -> dict[str, Any] | None:
    """The settings of a complete store, with "kept" and "classes"; None if there is none."""
    path = folder / "index.json"
    return read_json(path, REMEDY, _checked_index) if os.path.lexists(path) else None


def _checked_index(index: Any) -> dict[str, Any]:
    if not isinstance(index, dict):
        raise TypeError("this is not a mapping")
    for key, kind in (("kept", int), ("pixels", bool), ("classes", list)):
        if not isinstance(index.get(key), kind):
            raise TypeError(f"{key} is {index.get(key)!r}")
    size, channels, dtype = index.get("size"), index.get("channels", 3), index.get("dtype", "uint8")
    lengths = [channels, *(size if isinstance(size, list) and len(size) == 2 else [size])]
    if not all(type(each) is int for each in lengths):
        raise TypeError(f"size is {size!r}, channels is {channels!r}")
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}")
    if type(index.get("jpeg_quality", 0)) is not int:
        raise TypeError(f"jpeg_quality is {index['jpeg_quality']!r}")
    if not isinstance(index.get("hashes", {}), dict):
        raise TypeError(f"hashes is {index['hashes']!r}")
    if min(lengths) < 1 or index["kept"] < 1:
        raise ValueError(f"{index['kept']} images of {size} pixels, {channels} channels")
    return index


def format_of(index: dict[str, Any]) -> PixelFormat:
    """The pixel format of a store, from its settings."""
    return PixelFormat(index.get("channels", 3), index.get("dtype", "uint8"))


def is_jpeg(settings: dict[str, Any]) -> bool:
    """Whether a store of these settings holds JPEGs, not pixels."""
    return "jpeg_quality" in settings


def pixel_file(pixel_format: PixelFormat) -> str:
    """The name of the file of pixels, "images.u8" for uint8."""
    return f"images.{SUFFIXES[pixel_format.dtype]}"


def hash_of(path: Path) -> str:
    """16 hexadecimal digits of a file's bytes, as `index.json` has them under "hashes"."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def read_parts(folder: Path, index: dict[str, Any]) -> tuple[list[str], Tensor, Tensor]:
    """The ids, the labels (N,) int64 and the mean (C, H, W) float32 of a complete store.

    Raises:
        InputError: one of them is missing, damaged, or belongs to another store.
    """
    count, classes = index["kept"], len(index["classes"])
    shape = (format_of(index).channels, *sides(index["size"]))
    hashes = index.get("hashes", {})  # none in stores of version 0.1

    def check_hash(path: Path) -> None:
        if path.name in hashes and hashes[path.name] != hash_of(path):
            raise ValueError("its bytes are not those that were written")

    def checked_ids(path: Path) -> list[str]:
        check_hash(path)
        ids = path.read_bytes().decode(errors="surrogateescape").split("\n")
        if len(ids) != count + 1 or ids[-1]:
            raise ValueError(f"{len(ids) - 1} ids of {count}")
        return ids[:-1]

    def checked_labels(path: Path) -> Tensor:
        check_hash(path)
        labels = read_npy(path, "<i8", (count,))
        if labels.min() < 0 or labels.max() >= classes:
            raise ValueError(f"labels from {labels.min()} to {labels.max()} for {classes} classes")
        return labels

    def checked_mean(path: Path) -> Tensor:
        check_hash(path)
        mean = read_npy(path, "<f4", shape)
        if not (mean.min() >= 0 and mean.max() <= 255):
            raise ValueError("mean pixels outside 0 to 255")
        return mean

    return (
        read_back(folder / "ids.txt", checked_ids, REMEDY),
        read_back(folder / "labels.npy", checked_labels, REMEDY),
        read_back(folder / "mean.npy", checked_mean, REMEDY),
    )


def read_offsets(path: Path, count: int, expected_hash: str | None) -> Tensor:
    """Where each JPEG begins and the last one ends, (count + 1,) int64.

    Raises:
        InputError: the file is missing or damaged.
    """

    def parse(file: Path) -> Tensor:
        data = file.read_bytes()
        if hashlib.sha256(data).hexdigest()[:16] != expected_hash or len(data) != 8 * (count + 1):
            raise ValueError("its bytes are not those that were written")
        return torch.from_numpy(np.frombuffer(bytearray(data), dtype="<i8"))

    return read_back(path, parse, REMEDY)


def read_npy(path: Path, kind: str, shape: tuple[int, ...]) -> Tensor:
    """The array of a .npy file. It is mapped first, so that a wrong length in the header reserves
    no memory."""
    array = np.load(path, mmap_mode="r")
    if array.shape != shape or array.dtype != np.dtype(kind):
        raise ValueError(f"{array.dtype} {array.shape} instead of {kind} {shape}")
    return torch.from_numpy(np.array(array))


def map_pixels(path: Path, shape: tuple[int, int, int, int], dtype: torch.dtype) -> Tensor:
    """The file of pixels as (N, H, W, C)."""
    return mapped(path, shape, dtype, REMEDY)


def lock_folder(folder: Path) -> AbstractContextManager[Any]:
    """A lock against a second process that builds in the folder."""
    return file_lock(
        [folder / "lock"], f"{folder}: another process is at work there; waiting for it"
    )
