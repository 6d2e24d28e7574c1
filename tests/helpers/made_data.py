"""Small data sets on the disk in the layouts of the real ones, for runs of whole commands."""

from pathlib import Path

import numpy as np
import tifffile
import torch
from PIL import Image

from zfnet.data import Creatures
from zfnet.data.datasets.voc import CLASSES


def paint(path: Path, seed: int = 0, size: tuple[int, int] = (24, 20)) -> None:
    """An image of noise, (width, height) pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def write_photos(root: Path, **counts: int) -> Path:
    """So many creatures of 56 pixels a split, of four classes, in the layout of data=folder."""
    for split, count in counts.items():
        source = Creatures(count, split=split, size=56)
        for i in range(count):
            path = root / split / source.classes[i % 4] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(source.read(i).permute(1, 2, 0).numpy()).save(path)
    return root


def write_imagenet(root: Path, images_per_class: int = 4) -> Path:
    """Two classes of ILSVRC2012 as torchvision unpacks it."""
    root.mkdir(parents=True, exist_ok=True)
    torch.save(({"n01": ("tench",), "n02": ("crane",)}, ["n01", "n02"]), root / "meta.bin")
    for split in ("train", "val"):
        for wnid in ("n01", "n02"):
            for number in range(images_per_class):
                paint(root / split / wnid / f"{number}.JPEG", number)
    return root


def write_caltech(root: Path, images_per_class: int = 4) -> Path:
    """Two classes each of Caltech-101 and Caltech-256."""
    for folder in ("caltech101/101_ObjectCategories", "caltech256/256_ObjectCategories"):
        for label in ("001.accordion", "002.airplanes"):
            for number in range(images_per_class):
                paint(root / folder / label / f"{number}.jpg", number)
    return root


def write_voc(root: Path, count: int = 60) -> Path:
    """PASCAL VOC 2012, `count` images a split: each shows two of the twenty classes, one half in
    each one's colour, and every fifth a third one that is difficult."""
    place = root / "VOCdevkit" / "VOC2012"
    for part in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (place / part).mkdir(parents=True)
    colours = np.random.default_rng(0).integers(0, 256, (len(CLASSES), 3), dtype=np.uint8)
    noise = np.random.default_rng(1)
    for split in ("train", "val"):
        names = [f"{split}_{i:04d}" for i in range(count)]
        (place / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for i, name in enumerate(names):
            one, other, third = i % 20, (i + 1 + i // 20 % 19) % 20, (i + 10) % 20
            pixels = np.empty((60, 60, 3), dtype=np.uint8)
            pixels[:, :30], pixels[:, 30:] = colours[one], colours[other]
            pixels = np.clip(pixels + noise.normal(0, 8, pixels.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / "JPEGImages" / f"{name}.jpg")
            difficult = [(one, 0), (other, 0), *([(third, 1)] if i % 5 == 0 else [])]
            objects = "".join(
                f"<object><name>{CLASSES[label]}</name><difficult>{hard}</difficult></object>"
                for label, hard in difficult
            )
            (place / "Annotations" / f"{name}.xml").write_text(
                f"<annotation>{objects}</annotation>"
            )
    return root


def write_bands(root: Path, bands: int | None) -> None:
    """Two classes of 16-bit gray images, or of TIFF files of 8-bit bands, for training and
    validation."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in ("low", "high"):
            for number in range(4):
                path = root / split / label / f"{number}.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                shape = (80, 70) if bands is None else (80, 70, bands)
                top, kind = (2**16, np.uint16) if bands is None else (2**8, np.uint8)
                pixels = random.integers(0, top, shape).astype(kind)
                tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig")
