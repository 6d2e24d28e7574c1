"""Batches are a function of (seed, epoch, position): the same on many processes, resumable."""

from collections.abc import Callable
from itertools import chain, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zfnet.data.batches import Augmentation, Batch, Batches, mix
from zfnet.data.image_store import ImageStore
from zfnet.data.preprocessing import Preprocessing, ten_crops

SIZE, CROP = 5, 3


class ReadOnly:
    """The same pictures by `read` alone, as if decoded each time."""

    def __init__(self, store: ImageStore) -> None:
        self.store, self.labels, self.size = store, store.labels, store.size
        self.ids, self.classes, self.mean = store.ids, store.classes, store.mean

    def __len__(self) -> int:
        return len(self.store)

    def read(self, index: int) -> Tensor:
        return self.store.read(index).clone()


@pytest.fixture(scope="module")
def store(memory_images: Callable[..., ImageStore]) -> Callable[[int], ImageStore]:
    return lambda count: memory_images(count, SIZE)


def training(
    images: object, batch_size: int, seed: int = 0, rank: int = 0, world: int = 1
) -> Batches:
    return Batches(
        images, CROP, batch_size, Augmentation(SIZE, CROP, random=True), seed, rank, world
    )


def validation(images: object, batch_size: int, rank: int = 0, world: int = 1) -> Batches:
    return Batches(images, CROP, batch_size, rank=rank, world=world)


def rows(batches: list[Batch]) -> list[list[tuple]]:
    """Everything about each picture of each batch, sortable."""
    return [
        [
            (i, label, *crop)
            for i, label, crop in zip(
                b.indices.tolist(), b.labels.tolist(), b.crops.tolist(), strict=True
            )
        ]
        for b in batches
    ]


@given(
    count=st.integers(1, 40),
    share=st.integers(1, 4),
    world=st.sampled_from([1, 2, 4]),
    epoch=st.integers(0, 3),
)
def test_training_is_a_permutation_in_whole_batches(
    store: Callable[[int], ImageStore], count: int, share: int, world: int, epoch: int
) -> None:
    batch_size, images = share * world, store(count)
    alone = training(images, batch_size)
    alone.set_epoch(epoch)
    expected = rows(list(alone))
    flat = [row[0] for batch in expected for row in batch]
    assert len(set(flat)) == len(flat) == count // batch_size * batch_size
    assert len(alone) == len(expected) == count // batch_size
    ranks = [training(images, batch_size, rank=rank, world=world) for rank in range(world)]
    for process in ranks:
        process.set_epoch(epoch)
    parts = [rows(list(process)) for process in ranks]
    assert all(
        len(part) == len(process) == len(expected)
        for part, process in zip(parts, ranks, strict=True)
    )
    assert all(len(batch) == share for part in parts for batch in part)
    together = [sorted(chain.from_iterable(batches)) for batches in zip(*parts, strict=True)]
    assert together == [sorted(batch) for batch in expected]


@given(
    count=st.integers(1, 40), share=st.integers(1, 4), world=st.integers(1, 4), fly=st.booleans()
)
def test_validation_sees_each_picture_once(
    store: Callable[[int], ImageStore], count: int, share: int, world: int, fly: bool
) -> None:
    images = ReadOnly(store(count)) if fly else store(count)
    seen: list[int] = []
    for rank in range(world):
        loader = validation(images, share * world, rank, world)
        batches = list(loader)
        assert len(loader) == len(batches)
        assert all(0 < len(batch) <= share for batch in batches)
        assert all(
            torch.equal(batch.crops, ten_crops(SIZE, CROP)[4].expand(len(batch), 3))
            for batch in batches
        )
        seen += [i for batch in batches for i in batch.indices.tolist()]
    assert sorted(seen) == list(range(count))


def test_validation_is_in_order(store: Callable[[int], ImageStore]) -> None:
    assert [batch.indices.tolist() for batch in validation(store(7), 3)] == [
        [0, 1, 2],
        [3, 4, 5],
        [6],
    ]


@given(step=st.integers(0, 5), epoch=st.integers(0, 3), world=st.sampled_from([1, 2]))
def test_resumed_batches_are_the_remaining_ones(
    store: Callable[[int], ImageStore], step: int, epoch: int, world: int
) -> None:
    for rank in range(world):
        whole = training(store(20), 4, rank=rank, world=world)
        whole.set_epoch(epoch)
        expected, state = [], whole.state_dict() if step else {"epoch": epoch, "seen": 0}
        for number, batch in enumerate(whole, 1):
            expected.append(batch)
            if number == step:
                state = dict(whole.state_dict())
        resumed = training(store(20), 4, rank=rank, world=world)
        resumed.load_state_dict(state)
        resumed.set_epoch(epoch)
        assert rows(list(resumed)) == rows(expected)[step:]
        assert resumed.state_dict() == whole.state_dict()
        # the epoch after it is whole again
        resumed.set_epoch(epoch + 1)
        whole.set_epoch(epoch + 1)
        assert rows(list(resumed)) == rows(list(whole))
        assert len(rows(list(resumed))) == 5


def test_a_state_of_an_epochs_end_starts_the_next_at_0(store: Callable[[int], ImageStore]) -> None:
    loader = training(store(12), 4)
    assert len(list(loader)) == 3
    other = training(store(12), 4)
    other.load_state_dict(loader.state_dict())
    other.set_epoch(1)
    assert len(list(other)) == 3


def test_epochs_and_seeds_differ_and_repeat(store: Callable[[int], ImageStore]) -> None:
    def epoch_of(seed: int, epoch: int) -> list:
        loader = training(store(24), 24, seed=seed)
        loader.set_epoch(epoch)
        return rows(list(loader))

    drawn = {(seed, epoch): epoch_of(seed, epoch) for seed, epoch in product(range(3), repeat=2)}
    for (one, a), (other, b) in product(drawn.items(), repeat=2):
        if one != other:
            assert [row[0] for row in a[0]] != [row[0] for row in b[0]]  # another order
            assert sorted(a[0]) != sorted(b[0])  # and other crops of the same pictures
    assert epoch_of(1, 2) == drawn[1, 2]


@pytest.mark.parametrize("anywhere", [True, False])
def test_crops_are_all_those_allowed(anywhere: bool) -> None:
    drawn = {
        tuple(crop)
        for crop in Augmentation(SIZE, CROP, anywhere).draw(2000, seed=0, epoch=0).tolist()
    }
    every = (
        set(product(range(3), range(3), range(2)))
        if anywhere
        else set(map(tuple, ten_crops(SIZE, CROP).tolist()))
    )
    assert drawn == every


def test_pictures_decoded_on_the_fly_give_equal_batches(store: Callable[[int], ImageStore]) -> None:
    images, prepare = store(23), Preprocessing(SIZE, CROP)
    for make in (training, validation):
        stored, fly = list(make(images, 2)), list(make(ReadOnly(images), 2))
        assert rows(stored) == rows(fly)
        for a, b in zip(stored, fly, strict=True):
            assert torch.equal(
                prepare(a.images, a.rows, a.crops), prepare(b.images, b.rows, b.crops)
            )
            assert torch.equal(a.images[a.rows], images.images[a.indices])
            assert torch.equal(b.labels, images.labels[b.indices])


def test_reading_on_the_fly_resumes_without_decoding_what_was_seen(
    store: Callable[[int], ImageStore],
) -> None:
    images = ReadOnly(store(12))
    read: list[int] = []
    images.read = lambda index: read.append(index) or images.store.read(index)
    loader = validation(images, 4)
    loader.load_state_dict({"epoch": 0, "seen": 2})
    assert [batch.indices.tolist() for batch in loader] == [[8, 9, 10, 11]]
    assert sorted(read) == [8, 9, 10, 11]


def test_an_error_while_decoding_reaches_the_caller(store: Callable[[int], ImageStore]) -> None:
    images = ReadOnly(store(12))

    def broken(index: int) -> Tensor:
        if index == 5:
            raise OSError("gone")
        return images.store.read(index)

    images.read = broken
    with pytest.raises(OSError, match="gone"):
        list(validation(images, 4))


def test_mix_has_no_collisions_on_small_grids() -> None:
    drawn = [mix(*numbers) for length in (1, 2, 3) for numbers in product(range(24), repeat=length)]
    assert len(set(drawn)) == len(drawn) == 24 + 24**2 + 24**3
    assert all(0 <= seed < 2**63 for seed in drawn)
    assert mix(2**64 - 1) == mix(-1)


@pytest.mark.parametrize("fly", [False, True])
def test_picked_pictures_are_those_of_the_pass_in_order(
    store: Callable[[int], ImageStore], fly: bool
) -> None:
    images = ReadOnly(store(9)) if fly else store(9)
    prepare = Preprocessing(SIZE, CROP)
    every = torch.cat([prepare(b.images, b.rows, b.crops) for b in validation(images, 4)])
    picked = validation(images, 4).batch_of([7, 0, 7])
    assert torch.equal(prepare(picked.images, picked.rows, picked.crops), every[[7, 0, 7]])
    assert picked.indices.tolist() == [7, 0, 7]
    assert torch.equal(picked.labels, images.labels[[7, 0, 7]])
