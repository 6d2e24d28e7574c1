"""Data sets of the `datasets` library: on the disk, in a folder of files, streamed, wrong ones."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.made_shards import creature, image_bytes, write_hugging_face, write_parquet
from zfnet.data import Creatures, ImageData, build_store
from zfnet.data.datasets import huggingface
from zfnet.errors import InputError

library = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(library.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    library.disable_progress_bars()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hugging_face(tmp_path_factory.mktemp("saved"), ["b", "a"], train=6, validation=4)


def test_a_data_set_on_the_disk(saved: Path, tmp_path: Path) -> None:
    train, val = huggingface(str(saved), "train"), huggingface(str(saved), "val")
    assert train.ids == [f"train/{row}" for row in range(6)]
    assert (train.classes, train.labels) == (["b", "a"], [0, 1, 0, 1, 0, 1])
    assert val.ids == [f"validation/{row}" for row in range(4)]
    drawn = Creatures(6, split="train", size=56)
    np.testing.assert_array_equal(train.read(5).numpy(), drawn.read(5).numpy())
    assert all(Path(file).is_file() for file in train.files())
    for workers in (1, 4):
        build_store(train, tmp_path / str(workers), 48, workers=workers)
    one, four = ((tmp_path / str(w) / "images.u8").read_bytes() for w in (1, 4))
    assert one == four


def test_splits_that_are_not_there(saved: Path) -> None:
    train, val = (huggingface(str(saved), split, val=None) for split in ("train", "val"))
    assert sorted(val.labels) == [0, 1]
    assert sorted([*train.ids, *val.ids]) == [f"train/{row}" for row in range(6)]
    alone = huggingface(str(saved / "train"), "train", val=None, val_fraction=0)
    assert alone.labels == [0, 1, 0, 1, 0, 1]
    with pytest.raises(InputError, match=r"no split 'test'; data\.val= names it, one of train, va"):
        huggingface(str(saved), "val", val="test")
    with pytest.raises(InputError, match=r"has no column 'img'; data\.image= names it, one of ima"):
        huggingface(str(saved), "train", image="img")
    with pytest.raises(InputError, match="'label' holds no images"):
        huggingface(str(saved), "train", image="label")


def test_a_folder_of_parquet_files(tmp_path: Path) -> None:
    write_parquet(tmp_path / "pets", ["zebra", "ant"], train=4, validation=2)
    source = huggingface(str(tmp_path / "pets"), "val")
    assert (source.name, source.classes, source.labels) == ("pets", ["zebra", "ant"], [0, 1])


@pytest.mark.parametrize("kind", ["binary", "large_binary"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_column_of_bytes(tmp_path: Path, kind: str, inside: bool) -> None:
    """As pandas and others write it, who know no features of this library."""
    source = Creatures(2, size=32)
    encoded = [image_bytes(creature(source, i)) for i in range(2)]
    value = library.Value(kind)
    features = library.Features(
        {"image": {"bytes": value} if inside else value, "label": library.Value("string")}
    )
    cells = [{"bytes": each} for each in encoded] if inside else encoded
    table = library.Dataset.from_dict({"image": cells, "label": ["b", "a"]}, features=features)
    table.save_to_disk(tmp_path / "pets")
    pets = huggingface(str(tmp_path / "pets"), "train", val=None, val_fraction=0)
    assert (pets.classes, pets.labels) == (["a", "b"], [1, 0])
    for index in range(2):
        np.testing.assert_array_equal(pets.read(index).numpy(), source.read(index).numpy())


def test_bad_rows_are_listed_and_skipped(tmp_path: Path) -> None:
    good = image_bytes(creature(Creatures(1, size=32), 0))
    cells = [{"bytes": good}, {"bytes": good}, None, {"bytes": b"no image"}]
    features = library.Features(
        {"image": library.Image(decode=False), "label": library.Value("int64")}
    )
    table = library.Dataset.from_dict({"image": cells, "label": [3, -1, 3, 3]}, features=features)
    table.cast_column("image", library.Image()).save_to_disk(tmp_path / "pets")
    source = huggingface(str(tmp_path / "pets"), "train", val=None, val_fraction=0)
    store = build_store(source, tmp_path / "store", 16, workers=1)
    assert (store.ids, store.classes) == (["train/0"], ["3"])
    lines = (tmp_path / "store" / "unreadable.txt").read_text().splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "has no label",
        "its image column holds no bytes",
        "this is not an image, or one of an unknown format",
    ]


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    for name in ("nobody/nothing", f"{tmp_path}/gone", str(tmp_path)):
        with pytest.raises(InputError, match="cannot be loaded: "):
            huggingface(name, "train")


@pytest.fixture
def pets(tmp_path: Path) -> str:
    return str(write_parquet(tmp_path / "pets", ["zebra", "ant"], train=23, validation=4))


@pytest.mark.parametrize("val", ["validation", None])
def test_a_stream_gives_the_same_store(pets: str, tmp_path: Path, val: str | None) -> None:
    whole = huggingface(pets, "train", val=val)
    built = build_store(whole, tmp_path / "whole", 48, workers=1)
    for workers in (1, 4):
        streamed = huggingface(pets, "train", val=val, streaming=True)
        assert (streamed.ids, streamed.classes) == (whole.ids, whole.classes)
        store = build_store(streamed, tmp_path / str(workers), 48, workers=workers)
        assert torch.equal(store.images, built.images)
        assert torch.equal(store.labels, built.labels)
    assert [Path(file).name for file in streamed.files()] == ["train-00000-of-00001.parquet"]


def test_a_stream_in_any_order(pets: str) -> None:
    whole, streamed = huggingface(pets, "train"), huggingface(pets, "train", streaming=True)
    for index in (7, 9, 8, 22, 3, 4, 0, 22, 21):
        np.testing.assert_array_equal(streamed.read(index).numpy(), whole.read(index).numpy())


def test_a_stream_that_breaks_goes_on(pets: str, tmp_path: Path) -> None:
    """A break is no unreadable image: it ends the build."""
    streamed = huggingface(pets, "train", streaming=True)
    (file,) = streamed.files()
    good = Path(file).read_bytes()
    Path(file).write_bytes(good[:100])
    with pytest.raises(InputError, match=r"pets, row 0: .*; the same command goes on"):
        build_store(streamed, tmp_path / "store", 48, workers=2)
    Path(file).write_bytes(good)
    store = build_store(huggingface(pets, "train", streaming=True), tmp_path / "store", 48)
    assert len(store) == 23
    write_parquet(Path(pets), ["zebra", "ant"], train=20, validation=4)
    with pytest.raises(InputError, match=r"pets: ends before row 22"):
        streamed.read(22)


def test_where_streaming_does_not_fit(pets: str, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is on the disk already; leave out data\.streaming"):
        huggingface(str(saved), "train", streaming=True)
    source = partial(huggingface, pets, streaming=True)
    data = ImageData(source, 42, 2, str(tmp_path), store=False)
    with pytest.raises(InputError, match=r"needs a store: leave out data\.store=false"):
        data.open("train")
