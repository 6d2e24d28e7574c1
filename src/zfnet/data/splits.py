"""A few training images per class, others to test on, in folds: as for Tables 4, 5 and 7.

Within a class the images are ordered by a hash of (fold, id), the same on every machine. The first
k are for training, the last ones, up to 50, for testing. So the training set of 15 images is a
subset of that of 30, and where a class has enough images every k is tested on the same ones.

    train = few_per_class(whole, "train", images_per_class=30, fold=0)
    val = few_per_class(whole, "val", images_per_class=30, fold=0)
"""

import hashlib
from functools import partial

from zfnet.data.source import SPLITS, Source, Split
from zfnet.data.subset import Selection
from zfnet.errors import InputError, check_choice

FOLDS = 1000


def few_per_class(
    whole: Source, split: Split, images_per_class: int, fold: int, test_per_class: int = 50
) -> Selection:
    """One split of one fold.

    Args:
        whole: the data set.
        split: "train" or "val".
        images_per_class: training images of each class.
        fold: 0 to 999, each another sample.
        test_per_class: test images of each class, at most.

    Raises:
        InputError: a number is out of range, or a class has fewer than `images_per_class` + 1
            images.
    """
    check_choice("split", split, SPLITS)
    if not 0 <= fold < FOLDS:
        raise InputError(f"data.fold={fold}: there are the folds 0 to {FOLDS - 1}")
    for name, number in (
        ("images_per_class", images_per_class),
        ("test_per_class", test_per_class),
    ):
        if number < 1:
            raise InputError(f"data.{name}={number}: at least 1 is needed")
    members: list[list[int]] = [[] for _ in whole.classes]
    for row, label in enumerate(whole.labels):
        members[label].append(row)
    _check(whole, [len(rows) for rows in members], images_per_class)
    chosen: list[int] = []
    for rows in members:
        rows.sort(key=lambda row: _hash(fold, whole.ids[row]))
        chosen += (
            rows[:images_per_class]
            if split == "train"
            else rows[images_per_class:][-test_per_class:]
        )
    options = {"split": split, "images_per_class": images_per_class, "fold": fold}
    resample = partial(few_per_class, **options, test_per_class=test_per_class)  # type: ignore[arg-type]
    return Selection(whole, sorted(chosen), "all", resample)


def _check(whole: Source, counts: list[int], images_per_class: int) -> None:
    """Each class has `images_per_class` images and one to test on."""
    fewest = min(range(len(counts)), key=counts.__getitem__)
    if counts[fewest] <= images_per_class:
        raise InputError(
            f"{whole.name}: class {whole.classes[fewest]!r} has {counts[fewest]} images, and "
            f"data.images_per_class={images_per_class} needs {images_per_class + 1}, one to test "
            "on; "
            f"choose at most {counts[fewest] - 1} or add images"
        )


def _hash(fold: int, name: str) -> bytes:
    return hashlib.sha256(f"{fold}/{name}".encode(errors="surrogateescape")).digest()
