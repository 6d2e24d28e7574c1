"""A few training pictures per class and the others to test on, in folds: the protocol of Tables 4, 5 and 7.

Within a class the pictures stand in the order of a hash of (fold, id), the same on every machine. The first k
train; the last ones, up to 50, test. So the training set for 15 pictures lies within that for 30, and where
a class has enough pictures every k is tested on the same ones.

    train = few_per_class(whole, "train", images_per_class=30, fold=0)
    val = few_per_class(whole, "val", images_per_class=30, fold=0)
"""

import hashlib
from functools import partial

from zfnet.data.datasets import Source, Split
from zfnet.data.subset import Selection
from zfnet.errors import InputError

FOLDS = 1000


def few_per_class(
    whole: Source, split: Split, images_per_class: int, fold: int, test_per_class: int = 50
) -> Selection:
    """One split of one fold. Raises InputError for a class with fewer than `images_per_class` + 1 pictures."""
    if split not in ("train", "val"):
        raise InputError(f"split is {split!r}, it must be one of train, val")
    if not 0 <= fold < FOLDS:
        raise InputError(f"data.fold={fold}: there are the folds 0 to {FOLDS - 1}")
    if images_per_class < 1:
        raise InputError(f"data.images_per_class={images_per_class}: at least 1 is needed")
    if test_per_class < 1:
        raise InputError(f"data.test_per_class={test_per_class}: at least 1 is needed")
    members: list[list[int]] = [[] for _ in whole.classes]
    for row, label in enumerate(whole.labels):
        members[label].append(row)
    _check(whole, [len(rows) for rows in members], images_per_class)
    chosen: list[int] = []
    for rows in members:
        rows.sort(key=lambda row: _hash(fold, whole.ids[row]))
        chosen += rows[:images_per_class] if split == "train" else rows[images_per_class:][-test_per_class:]
    again = partial(
        few_per_class,
        split=split,
        images_per_class=images_per_class,
        fold=fold,
        test_per_class=test_per_class,
    )
    return Selection(whole, sorted(chosen), "all", again)


def _check(whole: Source, counts: list[int], images_per_class: int) -> None:
    """Each class has `images_per_class` pictures and one to test on."""
    fewest = min(range(len(counts)), key=counts.__getitem__)
    if counts[fewest] <= images_per_class:
        raise InputError(
            f"{whole.name}: class {whole.classes[fewest]!r} has {counts[fewest]} images, and "
            f"data.images_per_class={images_per_class} needs {images_per_class + 1}, one to test on; "
            f"choose at most {counts[fewest] - 1} or add images"
        )


def _hash(fold: int, name: str) -> bytes:
    return hashlib.sha256(f"{fold}/{name}".encode(errors="surrogateescape")).digest()
