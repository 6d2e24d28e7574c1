"""Samples in tar archives: ids, labels, splits, odd members, and shards that are damaged."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.made_shards import creature, image_bytes, write_tar, write_webdataset
from zfnet.data import Creatures, build_store
from zfnet.data.datasets import webdataset
from zfnet.data.datasets.shards import expand_braces
from zfnet.errors import InputError

CREATURES = Creatures(4, size=32)
PIXELS = image_bytes(creature(CREATURES, 0))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_webdataset(tmp_path_factory.mktemp("shards"), train=2, val=1)


def one_shard(folder: Path, files: Mapping[str, bytes]) -> Path:
    return write_tar(folder / "some.tar", files)


def test_samples_of_all_shards(shards: Path) -> None:
    """Equal names in several shards have ids of their own."""
    train, val = webdataset(shards, "train"), webdataset(shards, "val")
    assert train.ids == [f"train-00{s}.tar/{i:04d}.png" for s in range(2) for i in range(8)]
    assert train.labels == [i % 4 for i in range(8)] * 2
    assert val.labels == [i % 4 for i in range(8)]
    assert train.classes == val.classes == ["0", "1", "2", "3"]
    drawn = Creatures(16, split="train", size=56)
    for index in (0, 7, 8, 15):
        np.testing.assert_array_equal(train.read(index).numpy(), drawn.read(index).numpy())
    assert list(val.files()) == [f"{shards}/val-000.tar"]


def test_classes_have_names(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\ndog\n")
    source = webdataset(shards, "val", classes=str(tmp_path / "names.txt"))
    assert (source.classes, source.labels[:4]) == (["ant", "bee", "cat", "dog"], [0, 1, 2, 3])
    with pytest.raises(InputError, match=r"the label '3' of .* is none of the 3 classes"):
        webdataset(shards, "train", classes=["ant", "bee", "cat"])


def test_patterns_choose_the_shards(shards: Path) -> None:
    """Ranges as shells write them; without val, a share of each class."""
    some = webdataset(shards, "train", train="train-{000..000}.tar", val=None)
    rest = webdataset(shards, "val", train="train-{000..000}.tar", val=None)
    assert sorted([*some.ids, *rest.ids]) == [f"train-000.tar/{i:04d}.png" for i in range(8)]
    assert sorted(rest.labels) == [0, 1, 2, 3]
    alone = webdataset(shards / "train-001.tar", "train", val_fraction=0)
    assert alone.ids == [f"train-001.tar/{i:04d}.png" for i in range(8)]
    assert [*expand_braces("x{1..3}{a,b}")] == ["x1a", "x1b", "x2a", "x2b", "x3a", "x3b"]
    with pytest.raises(InputError, match=r"data\.val=\*\.rar: no such file in .* null keeps"):
        webdataset(shards, "train", val="*.rar")
    with pytest.raises(InputError, match="no such folder"):
        webdataset(shards / "gone", "train")


def test_no_shard_is_of_both_splits(shards: Path, tmp_path: Path) -> None:
    """The pattern of validation, **/*val*.tar, also matches names such as these."""
    for split in ("train", "val"):
        (tmp_path / f"festival-{split}-0.tar").symlink_to(shards / f"{split}-000.tar")
    with pytest.raises(InputError, match=r"both name .*/festival-train-0\.tar; name each file"):
        webdataset(tmp_path, "train")
    source = webdataset(tmp_path, "val", val="**/*-val-*.tar")
    assert source.ids[0] == "festival-val-0.tar/0000.png"


class Payload:
    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("a member ran",))


def test_other_members_are_ignored(tmp_path: Path) -> None:
    """Pickles do not run. Of several images the one without a prefix counts, arrays are last."""
    evil = pickle.dumps(Payload())
    sample = {
        "a.pyd": evil,
        "a.pth": evil,
        "a.npy": b"\x93NUMPY",
        "a.seg.png": b"",
        "a.PNG": PIXELS,
    }
    path = one_shard(tmp_path, {"./x/.hidden.png": b"", **sample, "a.cls": b" cat\n"})
    source = webdataset(path, "train", val_fraction=0)
    assert (source.ids, source.classes) == (["some.tar/a.PNG"], ["cat"])
    np.testing.assert_array_equal(source.read(0).numpy(), CREATURES.read(0).numpy())


@pytest.mark.parametrize(
    ("sample", "fault"),
    [
        ({"cls": b"1"}, "is a sample without an image (cls)"),
        ({"png": PIXELS}, "is a sample without a label (cls or json)"),
        ({"png": PIXELS, "jpg": PIXELS, "cls": b"1"}, "is a sample of several images (jpg, png)"),
        ({"png": PIXELS, "cls": b" "}, "its cls file is empty or has several lines"),
        ({"png": PIXELS, "json": b"{}"}, "its json file has no number or text under 'label'"),
        ({"png": PIXELS, "json": b'{"label": true}'}, "no number or text under 'label'"),
        ({"png": PIXELS, "json": b"[" * 9}, "Expecting value"),
        ({"png": PIXELS, "cls": b"\xff"}, "can't decode byte"),
        ({"png": b"no image", "cls": b"0"}, "this is not an image"),
    ],
)
def test_a_bad_sample_is_listed_and_skipped(
    tmp_path: Path, sample: dict[str, bytes], fault: str
) -> None:
    files = {"good.png": PIXELS, "good.cls": b"0"} | {f"<b>.{e}": d for e, d in sample.items()}
    source = webdataset(one_shard(tmp_path, files), "train", val_fraction=0)
    store = build_store(source, tmp_path / "store", 16, workers=1)
    assert (store.ids, store.labels.tolist()) == (["some.tar/good.png"], [0])
    (line,) = (tmp_path / "store" / "unreadable.txt").read_text().splitlines()
    assert line.startswith("some.tar/<b>")
    assert fault in line
    with pytest.raises(InputError, match=r"1 of 2 images are unreadable, more than data.max_bad=0"):
        build_store(source, tmp_path / "strict", 16, max_bad=0, workers=1)


def test_a_damaged_shard_is_listed_and_the_rest_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_webdataset(tmp_path / "shards", train=2, val=1)
    whole = (root / "train-000.tar").read_bytes()
    third = webdataset(root, "train").places[3, 1]
    (root / "train-000.tar").write_bytes(whole[: third + 10])
    source = webdataset(root, "train")
    assert f"{root}/train-000.tar: ends inside 0003.png" in caplog.text
    store = build_store(source, tmp_path / "store", 16, workers=1)
    assert len(store) == 3 + 8
    listed = (tmp_path / "store" / "unreadable.txt").read_text()
    assert listed == f"train-000.tar\t{root}/train-000.tar: ends inside 0003.png\n"
    for name in ("train-000.tar", "train-001.tar"):
        (root / name).write_bytes(b"\xff" * 2000)
    with pytest.raises(InputError, match=r"no image for split 'train' \(train-000\.tar: "):
        webdataset(root, "train")


def test_a_store_does_not_depend_on_the_number_of_threads(shards: Path, tmp_path: Path) -> None:
    stores = [
        build_store(webdataset(shards, "train"), tmp_path / str(workers), 48, workers=workers)
        for workers in (1, 4)
    ]
    one, four = ((tmp_path / str(w) / "images.u8").read_bytes() for w in (1, 4))
    assert one == four
    assert stores[0].ids == stores[1].ids


def test_labels_by_another_key(tmp_path: Path) -> None:
    path = one_shard(tmp_path, {"a.png": PIXELS, "a.json": json.dumps({"kind": "cat"}).encode()})
    assert webdataset(path, "train", label="kind", val_fraction=0).classes == ["cat"]
