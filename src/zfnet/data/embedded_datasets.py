"""The embedded data set as configs name it: all classes, some of them, or a few pictures a class of some.

    train = creatures("train", train=3000, val=600, image_size=112, classes=["bear", "bird"])
    few = creatures_few("train", 15, fold=0, test_per_class=50, classes=["cat", "dog"], image_size=112)

Pictures are drawn at the size at which they are stored. Those of `creatures_few` come from scenes of their own,
so that a net trained on `creatures` has seen neither their classes nor their backgrounds.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from zfnet.data.creatures import Creatures
from zfnet.data.datasets import Split
from zfnet.data.image_data import stored_size
from zfnet.data.splits import few_per_class
from zfnet.data.subset import Selection
from zfnet.validation import Side

Drawn = Annotated[int, Field(ge=1, le=10**6)]  # pictures: each takes milliseconds
PER_CLASS = 110  # pictures of `creatures_few`: 60 to learn from and 50 to test on


def creatures(
    split: Split, train: Drawn, val: Drawn, image_size: Side, classes: Sequence[str] | None = None
) -> Creatures:
    """`train` or `val` pictures of the classes, None for all twelve."""
    count = {"train": train, "val": val}[split]
    return Creatures(count, split=split, size=stored_size(image_size), classes=classes)


def creatures_few(
    split: Split,
    images_per_class: int,
    fold: int,
    test_per_class: int,
    classes: Sequence[str] | None,
    image_size: Side,
) -> Selection:
    """One fold of 110 pictures of each class, None for all twelve."""
    count = PER_CLASS * len(Creatures.classes if classes is None else classes)
    whole = Creatures(max(count, 1), split="test", size=stored_size(image_size), classes=classes)
    return few_per_class(whole, split, images_per_class, fold, test_per_class)
