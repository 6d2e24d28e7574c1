"""The embedded data set as configs name it: all classes, some of them, or a few images per class.

    train = creatures("train", train=3000, val=600, image_size=112, classes=["bear", "bird"])
    few = creatures_few("train", 15, 0, test_per_class=50, classes=["cat", "dog"], image_size=112)

Images are drawn at the size at which they are stored. The scenes of `creatures_few` are its own, so
that a net trained on other classes of `creatures` has seen neither its classes nor its backgrounds.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from zfnet.data.creatures import Creatures
from zfnet.data.preprocessing import stored_size
from zfnet.data.source import Split
from zfnet.data.splits import few_per_class
from zfnet.data.subset import Selection
from zfnet.errors import InputError
from zfnet.sizes import as_size, show_size
from zfnet.validation import Side

ImageCount = Annotated[int, Field(ge=1, le=10**6)]  # each takes milliseconds
PER_CLASS = 110  # images of `creatures_few`: 60 to train on and 50 to test on


def creatures(
    split: Split,
    train: ImageCount,
    val: ImageCount,
    image_size: Side | Sequence[Side],
    classes: Sequence[str] | None = None,
) -> Creatures:
    """Generated images of animals and things.

    Args:
        split: "train" or "val".
        train, val: the number of images of each split.
        image_size: the crop that the net sees, a square, in pixels.
        classes: some of the twelve; None is all.

    Raises:
        InputError: an unknown class, or images that are not square.
    """
    count = {"train": train, "val": val}[split]
    return Creatures(count, split=split, size=_stored_side(image_size), classes=classes)


def creatures_few(
    split: Split,
    images_per_class: int,
    fold: int,
    test_per_class: int,
    classes: Sequence[str] | None,
    image_size: Side | Sequence[Side],
) -> Selection:
    """One split of one fold of 110 images of each class.

    Args:
        split, images_per_class, fold, test_per_class: as of `zfnet.data.splits.few_per_class`.
        classes: some of the twelve; None is all.
        image_size: the crop that the net sees, a square, in pixels.

    Raises:
        InputError: an unknown class, images that are not square, or as `few_per_class`.
    """
    count = PER_CLASS * len(Creatures.classes if classes is None else classes)
    whole = Creatures(max(count, 1), split="test", size=_stored_side(image_size), classes=classes)
    return few_per_class(whole, split, images_per_class, fold, test_per_class)


def _stored_side(image_size: int | Sequence[int]) -> int:
    """The side at which images are drawn."""
    size = stored_size(as_size(image_size))
    if not isinstance(size, int):
        raise InputError(
            f"data.image_size={show_size(image_size)}: creatures are drawn on squares; give one "
            "side"
        )
    return size
