"""An epoch of batches from image stores against decoding every photo again, per processor second.

All make float32 (128, 3, 224, 224) batches of a shuffled epoch: random crops of 256 x 256
pictures, half of them mirrored, the mean subtracted; ours, as in training, with std and the
per-pixel mean at the crop's own place. The peer is Pillow with torchvision's v1 transforms: Resize,
RandomCrop, RandomHorizontalFlip, ToTensor, minus the mean, stack. For the store of JPEGs it is
Pillow with the v2 transforms. Processor seconds are those of all threads together, those that read
ahead included, so that rates are those of one core.

The limit of pixels is memory, not arithmetic: a picture is 0.15 MB read and 0.60 MB written (224 x
224 x 3 bytes, then floats), and 0.45 M operations. The rows named limit fill the same batches with
a constant. Photos: 500 x 375 JPEGs made here, and Imagenette's (224 x 224) where they are."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torchvision.transforms import Compose, RandomCrop, RandomHorizontalFlip, Resize, ToTensor, v2

from benchmarks.measuring import Row, Worker, alternate, seconds_of, sized
from benchmarks.photos import in_memory, made_photos, real_photos, source_of
from zfnet.data.batches import Augmentation, Batches
from zfnet.data.image_datasets import open_store
from zfnet.data.image_store import build_store
from zfnet.data.preprocessing import Preprocessing
from zfnet.launch.malloc import keep_freed_memory

STORED, CROP, BATCH = 256, 224, sized(128, 4)
EPOCHS = sized(10, 1)  # of ours at each measurement; one takes a few hundredths of a second


def bench() -> list[Row]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        rows = store_against_pillow(
            "500x375 JPEGs", made_photos(Path(folder) / "photos"), Path(folder) / "made"
        )
        if photos := real_photos():
            rows += store_against_pillow("Imagenette photos", photos, Path(folder) / "real")
    return rows


def store_against_pillow(name: str, photos: list[Path], store: Path) -> list[Row]:
    jpegs = store / "jpeg"
    build_store(source_of(photos), store / "pixels", STORED, workers=1)
    build_store(source_of(photos), jpegs, STORED, workers=1, store_format="jpeg")
    pictures = len(photos) - len(photos) % BATCH
    with (
        Worker(from_store, store / "pixels") as ours,
        Worker(from_photos, photos, v1()) as peer,
        Worker(only_filled, pictures) as limit,
        Worker(from_store, jpegs) as decoded,
        Worker(from_photos, photos, newest()) as newer_peer,
    ):
        seconds = alternate(ours, peer, limit, decoded, newer_peer, repeats=3)
    rates = [pictures / second for second in seconds]
    label = f"epoch of {pictures} {name}"
    shown = [f"{rate:.0f} images/s" for rate in rates]
    return [
        Row(label, shown[0], shown[1], rates[0] / rates[1], ">= 40"),
        Row(
            f"{label}, limit",
            shown[0],
            shown[2],
            rates[0] / rates[2],
            "1: writing the batches only",
        ),
        Row(f"{label}, store of JPEGs", shown[3], shown[4], rates[3] / rates[4], ">= 3"),
    ]


def from_store(folder: Path) -> Callable[[], float]:
    """Seconds of an epoch as training reads it, on memory that is kept as training keeps it."""
    keep_freed_memory()
    store = open_store(folder)
    batches = Batches(store, CROP, BATCH, Augmentation(STORED, CROP, random=True))
    prepare = Preprocessing(STORED, CROP)
    prepare.set_mean(store.mean)

    def epochs() -> None:
        for epoch in range(EPOCHS):
            batches.set_epoch(epoch)
            for batch in batches:
                prepare(batch.images, batch.rows, batch.crops)

    return lambda: seconds_of(epochs) / EPOCHS


def v1() -> Compose:
    return Compose([Resize(STORED), RandomCrop(CROP), RandomHorizontalFlip(), ToTensor()])


def newest() -> v2.Compose:
    made = [v2.Resize(STORED), v2.RandomCrop(CROP), v2.RandomHorizontalFlip()]
    return v2.Compose([*made, v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def from_photos(
    photos: list[Path], transform: Callable[[Image.Image], torch.Tensor]
) -> Callable[[], float]:
    """Seconds of an epoch that opens every photo."""
    mean = torch.full((3, CROP, CROP), 0.5)

    def picture(path: Path) -> torch.Tensor:
        with Image.open(path) as image:
            return transform(image.convert("RGB")) - mean

    def epoch() -> None:
        for indices in torch.randperm(len(photos)).split(BATCH):
            if len(indices) == BATCH:
                torch.stack([picture(photos[index]) for index in indices.tolist()])

    return partial(seconds_of, epoch)


def only_filled(pictures: int) -> Callable[[], float]:
    """Seconds of writing the epoch's batches and nothing else."""
    batch = torch.empty(BATCH, CROP, CROP, 3)

    def epochs() -> None:
        for _ in range(EPOCHS * pictures // BATCH):
            batch.fill_(1)

    return lambda: seconds_of(epochs) / EPOCHS
