"""A selection is some pictures of another data set; its images are the store's rows."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zfnet.data import Batches, Preprocessing, build_store
from zfnet.data.batches import Augmentation
from zfnet.data.creatures import Creatures
from zfnet.data.datasets import Arrays
from zfnet.data.image_store import ImageDataset, ImageStore, Subset
from zfnet.data.subset import Selection

SIZE, CROP = 5, 3


def test_it_delegates_to_its_whole() -> None:
    whole = Creatures(12, size=32)
    some = Selection(whole, [7, 2], "train")
    assert (some.name, some.classes, some.store, len(some)) == (
        "creatures",
        whole.classes,
        "train",
        2,
    )
    assert some.ids == [whole.ids[7], whole.ids[2]]
    assert some.labels == [7, 2]
    assert torch.equal(some.read(0), whole.read(7))
    assert some.annotation(1).box == whole.annotation(2).box
    assert not hasattr(some, "targets")


def test_targets_are_the_wholes_rows() -> None:
    whole = Arrays("a", ["x"], ["0", "1", "2"], [0, 0, 0], np.zeros((3, 8, 8, 3), np.uint8))
    assert not hasattr(Selection(whole, [0], "all"), "annotation")
    whole.targets = torch.tensor([[0, 1], [1, 0], [-1, 1]])  # type: ignore[attr-defined]
    assert Selection(whole, [2, 0], "all").targets.tolist() == [[-1, 1], [0, 1]]


def test_a_selection_of_a_selection_is_one_of_the_whole() -> None:
    whole = Creatures(12, size=16)
    some = Selection(Selection(whole, [9, 7, 5, 3], "all"), [3, 1], "all")
    assert some.whole is whole
    assert (some.rows, some.ids) == ([3, 7], [whole.ids[3], whole.ids[7]])


@given(count=st.integers(1, 30), kept=st.sets(st.integers(0, 29)), seed=st.integers(0, 3))
def test_the_mean_is_that_of_the_chosen_pictures_alone(
    memory_images: Callable[..., ImageStore], count: int, kept: set[int], seed: int
) -> None:
    base, rows = memory_images(count, SIZE, seed=seed), sorted(row for row in kept if row < count)
    some = Subset(base, torch.tensor(rows, dtype=torch.long))
    expected = base.images[rows].double().sum(0).permute(2, 0, 1) / max(len(rows), 1)
    assert torch.equal(some.mean, expected.float())
    assert some.mean.dtype == torch.float32
    assert (len(some), some.labels.tolist()) == (len(rows), base.labels[rows].tolist())


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[ImageDataset, ImageDataset, ImageDataset]:
    """A few pictures chosen from a store, from pictures decoded on the fly, and in a store of their
    own."""
    whole = Arrays(
        "noise",
        ["x", "y"],
        [f"{number:02d}" for number in range(20)],
        [number % 2 for number in range(20)],
        np.random.default_rng(0).integers(0, 256, (20, 9, 8, 3), dtype=np.uint8),
    )
    some, folder = (
        Selection(whole, [1, 4, 5, 11, 12, 17, 19], "all"),
        tmp_path_factory.mktemp("stores"),
    )
    stored = build_store(whole, folder / "all", SIZE)
    fly = build_store(whole, folder / "index", SIZE, pixels=False)
    rows = torch.tensor(some.rows)
    return Subset(stored, rows), Subset(fly, rows), build_store(some, folder / "some", SIZE)


@pytest.mark.parametrize("augmentation", [None, Augmentation(SIZE, CROP, random=True)])
@pytest.mark.parametrize("world", [1, 2])
def test_batches_are_those_of_a_store_of_just_these_pictures(
    pair: tuple[ImageDataset, ImageDataset, ImageDataset],
    augmentation: Augmentation | None,
    world: int,
) -> None:
    *chosen, alone = pair
    prepare = Preprocessing(SIZE, CROP)
    prepare.set_mean(alone.mean)
    for images in chosen:
        assert torch.equal(images.mean, alone.mean)
        assert (images.ids, images.size, list(images.classes)) == (alone.ids, SIZE, ["x", "y"])
        for rank in range(world):
            theirs, ours = (
                list(Batches(each, CROP, 2, augmentation, 3, rank, world))
                for each in (alone, images)
            )
            assert len(theirs) == len(ours) > 0
            for a, b in zip(theirs, ours, strict=True):
                assert torch.equal(a.indices, b.indices)
                assert torch.equal(a.labels, b.labels)
                expected = prepare(a.images, a.rows, a.crops)
                assert torch.equal(prepare(b.images, b.rows, b.crops), expected)


def test_batches_of_chosen_pictures_copy_nothing(
    pair: tuple[ImageDataset, ImageDataset, ImageDataset],
) -> None:
    some = pair[0]
    assert isinstance(some, Subset)
    assert isinstance(some.base, ImageStore)
    picked = Batches(some, CROP, 2).batch_of([6, 0])
    assert picked.images.data_ptr() == some.base.images.data_ptr()
    assert (picked.rows.tolist(), picked.indices.tolist()) == ([19, 1], [6, 0])


def test_it_is_read_by_number(pair: tuple[ImageDataset, ImageDataset, ImageDataset]) -> None:
    for images in pair:
        assert torch.equal(images.read(2), pair[2].read(2))
