"""Which images of a data set are near-duplicates of others, such as test and training images.

    python analyze.py analysis=overlap data=folder data.root=photos
    python analyze.py analysis=overlap data=imagenet against=caltech101

The first compares the training images with the validation images, the second both with all photos
below a folder.

`overlap.png` shows the pairs, most similar first, `overlap.json` lists them all, and `exclude.csv`
names the data set's images to leave out, which every command takes: data.exclude=.../exclude.csv.
Those are the training images that validation has too or, with against=, whatever the folder has
too. A data set whose folds are drawn from one whole is compared with itself, and of each pair the
later image is left out: then no fold tests on what it trains on. Safe to interrupt: resume=true
continues."""

import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zfnet import ranks
from zfnet.analysis.overlap import ROWS, SIDE, Pairs, concatenate_pairs, near_duplicates, shrink
from zfnet.data import Batches, ImageData, ImageDataset
from zfnet.data.datasets import photos
from zfnet.data.exclusion import read_exclusion, write_exclusion
from zfnet.data.image_files import expand, is_folder
from zfnet.data.image_store import Subset
from zfnet.data.pixel_format import in_uint8
from zfnet.errors import InputError
from zfnet.io import length_of, mapped, save, writing
from zfnet.json_output import write_json
from zfnet.model_on_data import images_fingerprint
from zfnet.parts import Parts, image_blocks
from zfnet.progress import progress_bar
from zfnet.progress_file import DELETE, ProgressFile
from zfnet.studies import Analysis
from zfnet.validation import Share
from zfnet.viz import save_png
from zfnet.viz.overlap import AlikePair, overlap_sheet

log = logging.getLogger(__name__)

SHOWN = 60  # pairs in the figure
BATCH = 128  # images made small at once
BEGUN = "search.json"  # in the folder of an unfinished search: what it is of


@dataclass
class Part:
    """Images of one split, and those they are compared with."""

    split: str
    images: ImageDataset
    name: str  # of the others
    others: ImageDataset | None  # None: the images are compared with one another

    @property
    def second(self) -> ImageDataset:
        return self.images if self.others is None else self.others

    def fingerprint(self) -> dict[str, Any]:
        """What the pairs depend on, beside the threshold."""
        others = {} if self.others is None else {"with": images_fingerprint(self.others, self.name)}
        return {**images_fingerprint(self.images, self.split), **others}

    def __str__(self) -> str:
        return (
            f"{self.split} with {self.name}" if self.others is not None else "all with one another"
        )


@dataclass
class Duplicate:
    """A near-duplicate: the row of the image to leave out, and of the one that stays."""

    part: Part
    image: int
    other: int
    correlation: float
    mirrored: bool

    @property
    def ids(self) -> tuple[str, str]:
        return self.part.images.ids[self.image], self.part.second.ids[self.other]

    def entry(self) -> dict[str, Any]:
        """As overlap.json lists it."""
        image, other = self.ids
        pair = {"split": self.part.split, "image": image, "with": self.part.name, "other": other}
        return {**pair, "correlation": self.correlation, "mirrored": self.mirrored}

    def drawing(self) -> AlikePair:
        """As the figure shows it."""
        pixels = (
            in_uint8(self.part.images.read(self.image)),
            in_uint8(self.part.second.read(self.other)),
        )
        return AlikePair(self.correlation, self.mirrored, pixels, self.ids)


@dataclass
class Overlap(Analysis):
    """Compares a data set's splits with one another, or with a folder; fields:
    conf/analysis/overlap.yaml."""

    against: str | None
    threshold: Share
    takes = "data"
    shares = True

    def run(self, data: ImageData, folder: Path) -> None:
        parts = compare(data, self.against)
        fingerprint = {
            "threshold": self.threshold,
            **{part.split: part.fingerprint() for part in parts},
        }
        _check_begun(folder, fingerprint)
        found: list[Duplicate] = []
        for part in parts:
            start = time.monotonic()
            pairs = search(part, folder, self.threshold, fingerprint)
            if not ranks.is_first():
                continue
            counts = (len(part.images), len(part.second), len(pairs.first))
            seconds = time.monotonic() - start
            log.info("%s: %d and %d images, %d near-duplicates, %.1f s", part, *counts, seconds)
            for first, second, *similar in zip(*(each.tolist() for each in pairs), strict=True):
                # The later one goes.
                rows = (second, first) if part.others is None else (first, second)
                found.append(Duplicate(part, *rows, *similar))
        if not ranks.is_first():
            return
        found.sort(key=lambda pair: -pair.correlation)
        left_out = {part.split: _left_out(part, found) for part in parts}
        name, shown = data.sources["train"].name, found[:SHOWN]
        write_exclusion(folder / "exclude.csv", name, left_out)
        most = f", the {SHOWN} most similar of them" if len(shown) < len(found) else ""
        title = f"{name}: {len(found)} near-duplicates, {', '.join(map(str, parts))}{most}"
        save_png(overlap_sheet(title, [pair.drawing() for pair in shown]), folder / "overlap.png")
        result = {
            "data_set": name,
            "threshold": self.threshold,
            "compared": [
                {
                    "split": p.split,
                    "pictures": len(p.images),
                    "with": p.name,
                    "pictures_with": len(p.second),
                }
                for p in parts
            ],
            "pairs": [pair.entry() for pair in found],
            "left_out": {split: len(ids) for split, ids in left_out.items()},
        }
        write_json(result, folder / "overlap.json", indent=1)
        for path in (*folder.glob("*.small"), *folder.glob("search_*.pt"), folder / BEGUN):
            path.unlink()
        if found:
            count = sum(map(len, left_out.values()))
            log.info("to leave %d images out: data.exclude=%s", count, folder / "exclude.csv")


def compare(data: ImageData, against: str | None) -> list[Part]:
    """What is compared with what.

    Args:
        data: The data set.
        against: A folder of photos; None: the data set with itself.

    Raises:
        InputError: There is no such folder.
    """
    train, val = (getattr(source, "whole", source) for source in data.sources.values())
    one = train.ids == val.ids  # folds of one whole, or photos that are both
    own = {"train": _whole(data)} if one else {split: data.open(split) for split in data.sources}
    if against is not None:
        others = _below(against, data)
        return [Part(split, images, against, others) for split, images in own.items()]
    if len(own) == 1:
        return [Part("train", own["train"], "itself", None)]
    return [Part("train", own["train"], "val", own["val"])]


def _whole(data: ImageData) -> ImageDataset:
    """All images that folds are drawn from."""
    images = data.open("train")
    images = images.base if isinstance(images, Subset) else images
    if data.exclude is None:
        return images
    gone = set().union(*read_exclusion(data.exclude, data.sources["train"].name).values())
    return Subset(
        images, torch.tensor([row for row, id_ in enumerate(images.ids) if id_ not in gone])
    )


def _below(against: str, data: ImageData) -> ImageDataset:
    """All photos below a folder, stored as the data set's are."""
    if not is_folder(expand(against)):
        raise InputError(
            f"against={against}: no such folder; name one with photos in it, at any depth"
        )
    source = partial(photos, root=against)
    stores = str(data.folder.parent)
    return ImageData(
        source,
        data.image_size,
        data.batch_size,
        stores,
        against,
        store=data.stores.store,
        max_bad=data.stores.max_bad,
        channels=data.pixel_format.channels,
        dtype=data.pixel_format.dtype,
    ).open("val")


def _check_begun(folder: Path, fingerprint: dict[str, Any]) -> None:
    """Writes what the small images are of; InputError where they are of something else.

    Every process must call it."""
    file = ProgressFile(folder / BEGUN, fingerprint)
    if file.load(_begun) is None:
        if small := sorted(folder.glob("*.small")):
            raise InputError(f"{small[0]}: {BEGUN}, which says what it is of, is missing; {DELETE}")
        if ranks.is_first():
            file.save(True)
    ranks.wait()  # before a small image is saved


def _begun(found: Any) -> bool:
    if found is not True:
        raise ValueError(f"found is {found!r}")
    return found


def search(part: Part, folder: Path, threshold: float, fingerprint: dict[str, Any]) -> Pairs:
    """All pairs of a part. Continues an interrupted search.

    Args:
        part: What to compare.
        folder: Holds the images made small, and what was found.
        threshold: The smallest correlation of a pair.
        fingerprint: What the pairs depend on.
    """
    first = shrink_all(part.images, folder / f"{part.split}.small")
    second = None if part.others is None else shrink_all(part.others, folder / "with.small")
    blocks = [range(top, min(top + ROWS, len(first))) for top in range(0, len(first), ROWS)]
    parts = Parts(folder, f"search_{part.split}", fingerprint)
    missing = parts.missing(len(blocks))
    with progress_bar() as bar:
        task = bar.add_task("", total=sum(len(blocks[number]) for number in missing))
        for number in missing:
            _, pairs = next(near_duplicates(first, second, threshold, blocks[number].start))
            parts.save(number, list(pairs))
            bar.update(task, advance=len(blocks[number]))
    others = len(first if second is None else second)
    found = parts.results(len(blocks), lambda number, state: _found(blocks[number], others, state))
    return concatenate_pairs(found)


def _found(block: range, second: int, state: Any) -> Pairs:
    """The pairs of a block of rows; ValueError where they are of others."""
    pairs = Pairs(*state)
    for each, like in zip(pairs, concatenate_pairs([]), strict=True):
        if each.dim() != 1 or len(each) != len(pairs.first) or each.dtype != like.dtype:
            raise ValueError(f"pairs of {each.dtype}, {tuple(each.shape)}")
    for rows, of in ((pairs.first, block), (pairs.second, range(second))):
        if len(rows) and not (rows.min() >= of.start and rows.max() < of.stop):
            raise ValueError(f"pairs beyond images {of.start} to {of.stop - 1}")
    if not pairs.correlation.isfinite().all():
        raise ValueError("correlations that are not finite")
    return pairs


def shrink_all(images: ImageDataset, path: Path) -> Tensor:
    """All images made small, uint8 (N, 32, 32, C), in a memory-mapped file.

    Processes share blocks of images out. Each block has a file until all are there; an interrupted
    run continues with the missing ones.
    """
    channels = len(images.mean)
    size = SIDE * SIDE * channels
    if length_of(path) < len(images) * size:
        blocks = image_blocks(len(images), BATCH)
        files = [path.with_name(f"{path.stem}_{number}.small") for number in range(len(blocks))]
        missing = [number for number, file in enumerate(files) if not file.exists()]
        mine = ranks.share(ranks.collect([missing])[0])
        with progress_bar() as bar:
            task = bar.add_task("", total=sum(len(blocks[number]) for number in mine))
            for number in mine:
                chunks, small = torch.tensor(blocks[number]).split(BATCH), []
                for batch in Batches(images, images.size, BATCH).batches_of(chunks):
                    small.append(shrink(in_uint8(batch.images[batch.rows])))
                    bar.update(task, advance=len(batch))
                save(files[number], torch.cat(small).numpy().tobytes())
        ranks.wait()
        if ranks.is_first():
            with writing(path), path.open("wb") as whole:
                for file in files:
                    whole.write(file.read_bytes())
            for file in files:
                file.unlink()
    ranks.wait()
    return mapped(path, (len(images), SIDE, SIDE, channels), torch.uint8, DELETE)


def _left_out(part: Part, found: list[Duplicate]) -> list[str]:
    """The images of a part to leave out, in its order."""
    return [
        part.images.ids[row] for row in sorted({pair.image for pair in found if pair.part is part})
    ]
