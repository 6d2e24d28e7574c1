"""Which pictures of a data set are nearly the same as others: what of the test set has been trained on.

    python analyze.py analysis=overlap data=folder data.root=photos       # its training with its validation
    python analyze.py analysis=overlap data=imagenet against=caltech101   # both with all photos below a folder

`overlap.png` shows the pairs, most alike first, `overlap.json` lists them all, and `exclude.csv` names the data
set's pictures to leave out, which every command takes: data.exclude=.../exclude.csv. Those are the training
pictures that validation has too or, with against=, whatever the folder has too. A data set whose folds are drawn
from one whole is compared with itself, and of each pair the later picture is left out: no fold then tests on
what it trains on. A search that is stopped goes on with resume=true.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zfnet.analysis.overlap import SIDE, Pairs, join_groups, near_duplicates, shrink
from zfnet.data import Batches, ImageData, ImageDataset
from zfnet.data.datasets import photos
from zfnet.data.exclusion import read_exclusion, write_exclusion
from zfnet.data.image_files import expand, is_folder
from zfnet.data.image_store import Subset
from zfnet.errors import InputError
from zfnet.io import length_of, mapped, writing
from zfnet.model_on_data import images_fingerprint
from zfnet.progress import progress_bar
from zfnet.studies.json_output import write_json
from zfnet.studies.resuming import DELETE, load_progress, save_progress
from zfnet.validation import Share
from zfnet.viz import save_png
from zfnet.viz.overlap import AlikePair, overlap_sheet

log = logging.getLogger(__name__)

SHOWN = 60  # pairs in the figure
BATCH = 128  # pictures made small at once
BEGUN = "search.json"  # in the folder of a search that is not finished: what it is of
SAVED_EVERY = 60  # seconds of search that a kill may cost


@dataclass
class Part:
    """Pictures of one split, and those they are compared with; None: with themselves."""

    split: str
    images: ImageDataset
    name: str  # of the others
    others: ImageDataset | None

    @property
    def second(self) -> ImageDataset:
        return self.images if self.others is None else self.others

    def fingerprint(self) -> dict[str, Any]:
        """What the pairs depend on, beside the threshold."""
        others = {} if self.others is None else {"with": images_fingerprint(self.others, self.name)}
        return {**images_fingerprint(self.images, self.split), **others}

    def __str__(self) -> str:
        return f"{self.split} with {self.name}" if self.others is not None else "all with one another"


@dataclass
class DuplicateGroup:
    """A near-duplicate: the picture to be left out, and the one that stays."""

    part: Part
    image: int
    other: int
    correlation: float
    mirrored: bool


def study(data: ImageData, folder: Path, against: str | None, exclude: str | None, threshold: Share) -> None:
    """Compares the data set's splits with one another, or with the photos below the folder `against`."""
    parts = compare(data, against, exclude)
    fingerprint = {"threshold": threshold, **{part.split: part.fingerprint() for part in parts}}
    _check_begun(folder, fingerprint)
    found: list[DuplicateGroup] = []
    for part in parts:
        start = time.monotonic()
        pairs = search(part, folder, threshold, fingerprint)
        seconds, counts = time.monotonic() - start, (len(part.images), len(part.second), len(pairs.first))
        log.info("%s: %d and %d pictures, %d near-duplicates, %.1f s", part, *counts, seconds)
        found += [_alike(part, *pair) for pair in zip(*(each.tolist() for each in pairs), strict=True)]
    found.sort(key=lambda pair: -pair.correlation)
    left_out = {part.split: _ids(part, found) for part in parts}
    name = data.sources["train"].name
    write_exclusion(folder / "exclude.csv", name, left_out)
    shown = found[:SHOWN]
    most = f", the {SHOWN} most alike of them" if len(shown) < len(found) else ""
    title = f"{name}: {len(found)} near-duplicates, {', '.join(map(str, parts))}{most}"
    save_png(overlap_sheet(title, [_drawable(pair) for pair in shown]), folder / "overlap.png")
    result = {
        "data_set": name,
        "threshold": threshold,
        "compared": [
            {"split": p.split, "pictures": len(p.images), "with": p.name, "pictures_with": len(p.second)}
            for p in parts
        ],
        "pairs": [_listed(pair) for pair in found],
        "left_out": {split: len(ids) for split, ids in left_out.items()},
    }
    write_json(result, folder / "overlap.json", indent=1)
    for path in (*folder.glob("*.small"), *folder.glob("search_*.pt"), folder / BEGUN):
        path.unlink()
    if found:
        count = sum(map(len, left_out.values()))
        log.info("to leave %d pictures out: data.exclude=%s", count, folder / "exclude.csv")


def compare(data: ImageData, against: str | None, exclude: str | None) -> list[Part]:
    """What is compared with what."""
    train, val = (getattr(source, "whole", source) for source in data.sources.values())
    if train.ids == val.ids:  # folds of one whole, or photos that are both
        mine = {"train": _whole(data, exclude)}
    else:
        mine = {split: data.open(split) for split in data.sources}
    if against is not None:
        others = _below(against, data)
        return [Part(split, images, against, others) for split, images in mine.items()]
    if len(mine) == 1:
        return [Part("train", mine["train"], "itself", None)]
    return [Part("train", mine["train"], "val", mine["val"])]


def _whole(data: ImageData, exclude: str | None) -> ImageDataset:
    """All pictures that folds are drawn from."""
    images = data.open("train")
    images = images.base if isinstance(images, Subset) else images
    if exclude is None:
        return images
    gone = set().union(*read_exclusion(exclude, data.sources["train"].name).values())
    return Subset(images, torch.tensor([row for row, id_ in enumerate(images.ids) if id_ not in gone]))


def _below(against: str, data: ImageData) -> ImageDataset:
    """All photos below a folder, stored like the data set's."""
    if not is_folder(expand(against)):
        raise InputError(f"against={against}: no such folder; name one with photos in it, at any depth")
    source = partial(photos, root=against)
    stores = str(data.folder.parent)
    return ImageData(
        source, data.image_size, data.batch_size, stores, against, store=data.store, max_bad=data.max_bad
    ).open("val")


def _check_begun(folder: Path, fingerprint: dict[str, Any]) -> None:
    """Says in `search.json` what the kept small pictures are of; InputError where it says something else."""
    path = folder / BEGUN
    if load_progress(path, fingerprint, _begun) is None:
        if small := sorted(folder.glob("*.small")):
            raise InputError(f"{small[0]}: {BEGUN}, which says what it is of, is missing; {DELETE}")
        save_progress(path, fingerprint, True)


def _begun(found: Any) -> bool:
    if found is not True:
        raise ValueError(f"found is {found!r}")
    return found


def search(part: Part, folder: Path, threshold: float, fingerprint: dict[str, Any]) -> Pairs:
    """All pairs of a part; what was found and made small before a kill is taken up again."""
    first = kept_small(part.images, folder / f"{part.split}.small")
    second = None if part.others is None else kept_small(part.others, folder / "with.small")
    state = folder / f"search_{part.split}.pt"
    counts = len(first), len(first if second is None else second)
    start, before = load_progress(state, fingerprint, partial(_found, *counts)) or (0, join_groups([]))
    parts = [before]
    saved = time.monotonic()
    with progress_bar() as bar:
        task = bar.add_task("", total=len(first), completed=start)
        for done, pairs in near_duplicates(first, second, threshold, start):
            parts.append(pairs)
            bar.update(task, completed=done)
            if time.monotonic() - saved > SAVED_EVERY:
                save_progress(state, fingerprint, [done, *join_groups(parts)])
                saved = time.monotonic()
    return join_groups(parts)


def _found(first: int, second: int, state: Any) -> tuple[int, Pairs]:
    """How many rows are done, and their pairs; ValueError where they are none of so many pictures."""
    done, pairs = state[0], Pairs(*state[1:])
    if type(done) is not int or not 0 < done <= first:
        raise ValueError(f"{done} of {first} pictures")
    for each, like in zip(pairs, join_groups([]), strict=True):
        if each.dim() != 1 or len(each) != len(pairs.first) or each.dtype != like.dtype:
            raise ValueError(f"pairs of {each.dtype}, {tuple(each.shape)}")
    for rows, count in ((pairs.first, done), (pairs.second, second)):
        if len(rows) and not (rows.min() >= 0 and rows.max() < count):
            raise ValueError(f"pairs beyond {count} pictures")
    if not pairs.correlation.isfinite().all():
        raise ValueError("correlations that are not finite")
    return done, pairs


def kept_small(images: ImageDataset, path: Path) -> Tensor:
    """All pictures made small, uint8 (N, 32, 32, 3), in a file that is read when touched; one that was begun is
    finished."""
    picture = SIDE * SIDE * 3
    begun = length_of(path) // (BATCH * picture)
    with writing(path):
        file = path.open("ab")
        file.truncate(begun * BATCH * picture)
    with file, progress_bar() as bar:
        task = bar.add_task("", total=len(images), completed=begun * BATCH)
        for small in _small(images, begun):
            with writing(path):
                file.write(small.numpy().data)
                file.flush()
            bar.update(task, advance=len(small))
    return mapped(path, (len(images), SIDE, SIDE, 3), torch.uint8, DELETE)


def _small(images: ImageDataset, begun: int) -> Iterator[Tensor]:
    """Batches of small pictures after the first `begun`."""
    batches = Batches(images, images.size, BATCH)
    batches.load_state_dict({"epoch": 0, "seen": begun})
    for batch in batches:
        yield shrink(batch.images[batch.rows])


def _alike(part: Part, first: int, second: int, correlation: float, mirrored: bool) -> DuplicateGroup:
    image, other = (first, second) if part.others is not None else (second, first)
    return DuplicateGroup(part, image, other, correlation, mirrored)


def _ids(part: Part, found: list[DuplicateGroup]) -> list[str]:
    """The pictures of a part to leave out, in its order."""
    return [part.images.ids[row] for row in sorted({pair.image for pair in found if pair.part is part})]


def _listed(pair: DuplicateGroup) -> dict[str, Any]:
    part = pair.part
    return {
        "split": part.split,
        "image": part.images.ids[pair.image],
        "with": part.name,
        "other": part.second.ids[pair.other],
        "correlation": pair.correlation,
        "mirrored": pair.mirrored,
    }


def _drawable(pair: DuplicateGroup) -> AlikePair:
    part = pair.part
    return AlikePair(
        pair.correlation,
        pair.mirrored,
        (part.images.read(pair.image), part.second.read(pair.other)),
        (part.images.ids[pair.image], part.second.ids[pair.other]),
    )
