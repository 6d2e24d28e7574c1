"""The JPEGs that the benchmarks read: Imagenette's where they are, else generated ones."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measuring import sized
from zfnet.data.datasets import Photos

PHOTOS = sized(500, 6)


def real_photos() -> list[Path]:
    """PHOTOS of Imagenette, evenly spread, or none where the data is not there.

    Looks in $ZFNET_REAL_DATA, and in ../shared/data beside the checkout.
    """
    root = Path(os.environ.get("ZFNET_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    photos = sorted((root / "imagenette").rglob("*.JPEG"))
    return photos[:: max(len(photos) // PHOTOS, 1)][:PHOTOS]


def made_photos(folder: Path) -> list[Path]:
    """JPEGs of ImageNet's usual size: smooth colours with some noise, quality 90."""
    folder.mkdir()
    random = np.random.default_rng(0)
    paths = []
    for number in range(PHOTOS):
        coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.float32)
        noisy = smooth + random.normal(0, 6, smooth.shape)
        paths.append(folder / f"{number:03d}.jpg")
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def source_of(photos: list[Path]) -> Photos:
    """The photos as one class."""
    root = Path(os.path.commonpath(photos))
    ids = [photo.relative_to(root).as_posix() for photo in photos]
    return Photos("photos", root, ["photo"], ids, [0] * len(ids))


def in_memory() -> Path | None:
    """Where temporary files lie in memory, if there is room for two gigabytes."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        return None
    free = os.statvfs(memory)
    return memory if free.f_bavail * free.f_frsize > 2**31 else None
