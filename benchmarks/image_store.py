"""Building the image store against Pillow with torchvision's v1 transforms, one thread.

Ours is the whole build with the mean and its safe points; the peer writes the same pixels to a
file. The limit is the decoder: both spend most of their time in libjpeg, once per stored 8x8 block
of every photo. Rates are per second of processor time, and the files lie in memory where /dev/shm
has room, so that neither the disk nor a second core counts. Photos: Imagenette's where they are,
and 500 x 375 JPEGs made here. Imagenette's have 224 pixels: there libjpeg, which both call, and the
writing are a third of our time, and the ratio is smaller, 1.34 to 1.52 on the machines tried."""

import shutil
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize

from benchmarks.measuring import Row, alternate, seconds_of, sized
from benchmarks.photos import in_memory, made_photos, real_photos, source_of
from zfnet.data.image_store import ImageStore, build_store

SIZE = sized(256, 64)


def bench() -> list[Row]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        rows = build_against_pillow(
            "500x375 JPEGs", made_photos(Path(folder) / "photos"), Path(folder), 1.5
        )
        if photos := real_photos():
            rows += build_against_pillow("Imagenette photos", photos, Path(folder), 1.3)
    return rows


def build_against_pillow(name: str, photos: list[Path], folder: Path, goal: float) -> list[Row]:
    """Images per second of both, and how far their pixels are from each other."""
    source, store = source_of(photos), folder / "store"

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
    seconds = alternate(partial(seconds_of, ours), partial(seconds_of, peer))
    rates = [len(photos) / second for second in seconds]
    return [
        Row(
            f"store of {len(photos)} {name}",
            f"{rates[0]:.0f} images/s",
            f"{rates[1]:.0f} images/s",
            rates[0] / rates[1],
            f">= {goal}",
        ),
        Row(
            f"mean absolute difference of 255, {name}",
            f"{difference:.4f}",
            "0",
            difference,
            "<= 0.01",
        ),
    ]
