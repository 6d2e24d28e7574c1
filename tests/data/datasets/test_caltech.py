"""Caltech-101 and 256 in torchvision's layouts, class folders, and what is wrong with some."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from torchvision import datasets

from zfnet.data.datasets import caltech101, caltech256, class_folders
from zfnet.errors import InputError

FOLDERS = {"caltech101": "101_ObjectCategories", "caltech256": "256_ObjectCategories"}
READERS = {"caltech101": caltech101, "caltech256": caltech256}
PEERS = {"caltech101": datasets.Caltech101, "caltech256": datasets.Caltech256}


@pytest.fixture
def written(tmp_path: Path, paint: Callable[..., None]) -> Path:
    """Both data sets in small: 101 with its background, 256 with its clutter and a stray file."""
    for label, count in {
        "BACKGROUND_Google": 3,
        "Faces": 6,
        "accordion": 5,
        "airplanes": 9,
    }.items():
        for number in range(1, count + 1):
            paint(
                tmp_path / f"caltech101/101_ObjectCategories/{label}/image_{number:04d}.jpg", number
            )
    for label, count in {"001.ak47": 5, "002.american-flag": 7, "257.clutter": 3}.items():
        for number in range(1, count + 1):
            paint(
                tmp_path / f"caltech256/256_ObjectCategories/{label}/{label[:3]}_{number:04d}.jpg",
                number,
            )
    (tmp_path / "caltech256/256_ObjectCategories/002.american-flag/RENAME2").write_text("")
    return tmp_path


@pytest.mark.parametrize("name", ["caltech101", "caltech256"])
def test_it_is_what_torchvision_reads_without_the_background(written: Path, name: str) -> None:
    peer = PEERS[name](str(written))
    background = {"caltech101": None, "caltech256": 2}[name]
    pattern = {"caltech101": "image_{1:04d}.jpg", "caltech256": "{0:03d}_{1:04d}.jpg"}[name]
    theirs = [
        (f"{peer.categories[label]}/{pattern.format(label + 1, number)}", label)
        for label, number in zip(peer.y, peer.index, strict=True)
        if label != background
    ]
    whole = READERS[name](written, "train", images_per_class=3, fold=0).whole
    assert list(zip(whole.ids, whole.labels, strict=True)) == theirs
    assert whole.classes == peer.categories[:background]
    assert (whole.name, whole.read(0).shape) == (name, (3, 20, 24))


@pytest.mark.parametrize("name", ["caltech101", "caltech256"])
def test_a_fold(written: Path, name: str) -> None:
    read = READERS[name]
    train, val = (read(written, split, images_per_class=4, fold=5) for split in ("train", "val"))
    assert set(Counter(train.labels).values()) == {4}
    assert sorted(train.ids + val.ids) == sorted(train.whole.ids)
    with pytest.raises(InputError, match=f"{name}: class .* has 5 images"):
        read(written, "train", images_per_class=5)


def test_a_background_that_was_removed_is_not_missed(written: Path) -> None:
    background = written / "caltech101/101_ObjectCategories/BACKGROUND_Google"
    before = caltech101(written, "train", 3).ids
    for photo in background.iterdir():
        photo.unlink()
    background.rmdir()
    assert caltech101(written, "train", 3).ids == before


@pytest.mark.parametrize("name", ["caltech101", "caltech256"])
def test_it_is_downloaded_where_it_is_absent(
    tmp_path: Path, name: str, paint: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_args: object, **_options: object) -> None:
        raise OSError("network is unreachable")

    def arrives(_self: object) -> None:
        for label in ("BACKGROUND_Google", "001.ak47"):
            for number in range(2):
                paint(tmp_path / name / FOLDERS[name] / label / f"{number}.jpg")

    monkeypatch.setattr(datasets.caltech, "download_and_extract_archive", offline)
    with pytest.raises(
        InputError,
        match=f"{FOLDERS[name]}: Caltech.* cannot be downloaded: network is unreachable",
    ):
        READERS[name](tmp_path, "train", 1)
    monkeypatch.setattr(PEERS[name], "download", arrives)
    assert len(READERS[name](tmp_path, "train", 1)) > 0


def test_class_folders(tmp_path: Path, paint: Callable[..., None]) -> None:
    for label, count in {"ant": 9, "bee": 4}.items():
        for number in range(count):
            paint(tmp_path / f"own/{label}/{number}.png", number)
    train, val = (class_folders(tmp_path / "own", split, 3, 0, 2) for split in ("train", "val"))
    assert (train.name, train.classes, train.labels) == ("own", ["ant", "bee"], [0] * 3 + [1] * 3)
    assert val.labels == [0, 0, 1]
    assert set(train.ids) < {
        f"{label}/{number}.png" for label in ("ant", "bee") for number in range(9)
    }
    for number in range(3):
        paint(tmp_path / f"halves/train/ant/{number}.png")
    with pytest.raises(InputError, match="halves: has train/ where class folders belong"):
        class_folders(tmp_path / "halves", "train", 1, 0, 1)
    assert len(class_folders(tmp_path / "halves/train", "train", 1, 0, 1)) == 1
    with pytest.raises(InputError, match="no such folder"):
        class_folders(tmp_path / "absent", "train", 1, 0, 1)


@pytest.mark.real
def test_the_real_caltech101() -> None:
    root = Path(os.environ.get("ZFNET_REAL_DATA", "/nowhere"))
    if not (root / "caltech101").is_dir():
        pytest.skip("no real photos: set ZFNET_REAL_DATA")
    train, val = (
        class_folders(root / "caltech101", split, 30, 0, 50) for split in ("train", "val")
    )
    assert (len(train.classes), len(train), len(train) + len(val)) == (101, 3030, 3969)
    assert min(Counter(val.labels).values()) == 1  # of 31
    assert {train.read(0).shape[0], val.read(0).shape[0]} == {3}
    with pytest.raises(InputError, match=r"has 31 images, .*=31 needs 32, .* at most 30"):
        class_folders(root / "caltech101", "train", 31, 0, 50)
