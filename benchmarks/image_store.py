"""Building the image store against Pillow with torchvision's v1 transforms, one process, one thread.

    python benchmarks/image_store.py

Ours is the whole build with the mean and its safe points; the peer writes the same pixels to a file. Rates
are per second of processor time, all threads together, and the files lie in memory where /dev/shm has room,
so that neither the disk nor a second core counts. Photos: Imagenette's in $ZFNET_REAL_DATA or
../shared/data where they are, and 500 x 375 JPEGs made here.
"""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize

from zfnet.data.image_store import ImageStore, build_store
from zfnet.data.sources import Photos

SIZE = 256
REPEATS = 5
PHOTOS = 500


@dataclass(frozen=True)
class Row:
    """One line of the table; `ratio` is how many times better ours is, or the deviation itself."""

    name: str
    ours: str
    peer: str
    ratio: float
    goal: str


def bench() -> list[Row]:
    torch.set_num_threads(1)
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**30
    with tempfile.TemporaryDirectory(dir=memory if roomy else None) as folder:
        rows = build_against_pillow("500x375 JPEGs", made_photos(Path(folder) / "photos"), Path(folder))
        if photos := real_photos():
            rows += build_against_pillow("Imagenette photos", photos, Path(folder))
    return rows


def build_against_pillow(name: str, photos: list[Path], folder: Path) -> list[Row]:
    """Images per second of both, and how far their pixels are from each other."""
    root = Path(os.path.commonpath(photos))
    ids = [photo.relative_to(root).as_posix() for photo in photos]
    source = Photos("photos", root, ["photo"], ids, [0] * len(ids))
    store = folder / "store"

    def ours() -> np.ndarray:
        shutil.rmtree(store, ignore_errors=True)
        images = build_store(source, store, SIZE, workers=1)
        assert isinstance(images, ImageStore)
        return images.images.numpy()

    transform = Compose([Resize(SIZE), CenterCrop(SIZE)])

    def peer() -> np.ndarray:
        pixels = np.empty((len(photos), SIZE, SIZE, 3), np.uint8)
        for row, photo in zip(pixels, photos, strict=True):
            with Image.open(photo) as image:
                row[:] = np.asarray(transform(image.convert("RGB")))
        pixels.tofile(folder / "peer.u8")
        return pixels

    difference = float(np.abs(ours().astype(np.int16) - peer()).mean())
    seconds = alternate(ours, peer)
    rates = [len(photos) / second for second in seconds]
    return [
        Row(
            f"store of {len(photos)} {name}",
            f"{rates[0]:.0f} images/s",
            f"{rates[1]:.0f} images/s",
            rates[0] / rates[1],
            ">= 1.5",
        ),
        Row(f"mean |difference| of 255, {name}", f"{difference:.4f}", "0", difference, "<= 0.01"),
    ]


def alternate(*functions: Callable[[], object]) -> list[float]:
    """Median processor seconds of each, run in turn so that a busy machine is busy for all of them."""
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(REPEATS):
        for times, function in zip(seconds, functions, strict=True):
            start = time.process_time()
            function()
            times.append(time.process_time() - start)
    return [statistics.median(times) for times in seconds]


def real_photos() -> list[Path]:
    """PHOTOS of Imagenette, evenly spread, or none where the data is not there."""
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


def main() -> None:
    print("name | ours | peer | ratio | goal")
    for row in bench():
        print(f"{row.name} | {row.ours} | {row.peer} | {row.ratio:.4g} | {row.goal}")


if __name__ == "__main__":
    main()
