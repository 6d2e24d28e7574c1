"""The protocol of Tables 4, 5 and 7: so many training pictures a class, others for tests."""

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zfnet.data.datasets import Arrays
from zfnet.data.splits import few_per_class
from zfnet.data.subset import Selection
from zfnet.errors import InputError

KINDS = ("train", "val")


def whole(*counts: int) -> Arrays:
    """`counts[c]` black pictures of class c, the classes shuffled."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    labels = np.random.default_rng(0).permutation(labels).tolist()
    names = [f"class {label}" for label in range(len(counts))]
    ids = [f"{number:04d}" for number in range(len(labels))]
    return Arrays("black", names, ids, labels, np.zeros((len(labels), 8, 8, 3), np.uint8))


@given(
    counts=st.lists(st.integers(3, 40), min_size=1, max_size=5),
    k=st.integers(1, 39),
    fold=st.integers(0, 999),
    test=st.integers(1, 30),
)
def test_splits_are_disjoint_and_of_the_sizes_asked_for(
    counts: list[int], k: int, fold: int, test: int
) -> None:
    k = min(k, min(counts) - 1)
    train, val = (few_per_class(whole(*counts), split, k, fold, test) for split in KINDS)
    assert not set(train.ids) & set(val.ids)
    assert Counter(train.labels) == dict.fromkeys(range(len(counts)), k)
    assert Counter(val.labels) == {label: min(test, n - k) for label, n in enumerate(counts)}
    assert train.rows == sorted(train.rows)
    assert {train.store, val.store} == {"all"}
    assert few_per_class(whole(*counts), "train", k, fold, test).ids == train.ids


def test_the_order_is_the_hash_of_fold_and_id() -> None:
    source = whole(30)
    order = sorted(source.ids, key=lambda name: hashlib.sha256(f"7/{name}".encode()).digest())
    assert few_per_class(source, "train", 5, fold=7).ids == sorted(order[:5])
    assert few_per_class(source, "val", 5, fold=7, test_per_class=4).ids == sorted(order[-4:])


def test_training_sets_nest_and_are_tested_on_the_same_pictures() -> None:
    source = whole(90, 120)
    train, val = (
        {
            k: set(few_per_class(source, split, k, fold=3, test_per_class=30).ids)
            for k in (15, 30, 45, 60)
        }
        for split in KINDS
    )
    assert train[15] < train[30] < train[45] < train[60]
    assert val[15] == val[30] == val[45] == val[60]


def test_folds_differ() -> None:
    source = whole(60, 60)
    for split in KINDS:
        drawn = {tuple(few_per_class(source, split, 15, fold, 20).ids) for fold in range(50)}
        assert len(drawn) == 50


def test_each_picture_trains_in_its_share_of_the_folds() -> None:
    source = whole(60, 60)
    times = Counter(
        id_ for fold in range(200) for id_ in few_per_class(source, "train", 30, fold).ids
    )
    assert set(times) == set(source.ids)
    assert all(70 < often < 130 for often in times.values())


def test_a_class_needs_one_more_than_it_trains_on() -> None:
    few_per_class(whole(31, 40), "val", 30, 0)
    with pytest.raises(
        InputError, match=r"black: class 'class 1' has 30 images, .*=30 needs 31.* at most 29"
    ):
        few_per_class(whole(40, 30), "train", 30, 0)
    none = Arrays("none", ["x", "y"], ["0", "1"], [0, 0], np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="class 'y' has 0 images"):
        few_per_class(none, "train", 1, 0)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ({"fold": 1000}, "data.fold=1000: there are the folds 0 to 999"),
        ({"fold": -1}, "data.fold=-1"),
        ({"images_per_class": 0}, "data.images_per_class=0"),
        ({"test_per_class": 0}, "data.test_per_class=0"),
        ({"split": "test"}, "split='test' is unknown"),
    ],
)
def test_words_out_of_range(words: dict, line: str) -> None:
    with pytest.raises(InputError, match=line):
        few_per_class(whole(9), **{"split": "train", "images_per_class": 3, "fold": 0, **words})


def test_it_draws_itself_again_from_another_whole() -> None:
    source = whole(20, 20)
    first = few_per_class(source, "train", 5, 2, 8)
    rest = Selection(source, [row for row in range(40) if row not in first.rows], "all")
    again = first.resample(rest)
    assert again.ids == few_per_class(rest, "train", 5, 2, 8).ids
    assert (again.whole, len(again)) == (source, 10)
