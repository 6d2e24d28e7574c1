"""What lies in a store's folder: its settings, compared before it is used, and its pixels.

index = read_index(folder)
compare(folder, index, settings)
images = map_pixels(folder / "images.u8", count, size)
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zfnet.errors import InputError
from zfnet.io import file_lock, mapped, read_json

MEANING = {"contents": "contents (hash of ids, labels, classes)", "files": "files (hash of sizes and dates)"}
REMEDY = "choose another data.store_dir, or delete the folder to build it anew"


def compare(folder: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    differing = [
        f"{MEANING.get(key, key)} is {found.get(key)!r} there and {value!r} was asked for"
        for key, value in asked.items()
        if found.get(key) != value
    ]
    if differing:
        raise InputError(f"{folder}: holds another store: {'; '.join(differing)}; {REMEDY}")


def read_index(folder: Path) -> dict[str, Any] | None:
    path = folder / "index.json"
    return read_json(path, REMEDY) if path.is_file() else None


def map_pixels(path: Path, count: int, size: int) -> Tensor:
    """The file as uint8 (count, size, size, 3)."""
    return mapped(path, (count, size, size, 3), torch.uint8, REMEDY)


def lock_folder(folder: Path) -> AbstractContextManager[Any]:
    """Keeps a second builder out."""
    return file_lock([folder / "lock"], f"{folder}: another process is at work there; waiting for it")
