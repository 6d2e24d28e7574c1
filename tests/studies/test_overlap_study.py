"""`analysis=overlap` from a folder of photos to pairs, a sheet, and a file that leaves them out."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig
from PIL import Image

from zfnet import ranks
from zfnet.data import Creatures, ImageData
from zfnet.errors import InputError
from zfnet.studies import overlap
from zfnet.studies.inputs import load_data

Compose = Callable[..., DictConfig]
Show = Callable[..., Any]


def picture(number: int) -> Image.Image:
    return Image.fromarray(SOURCE.read(number).permute(1, 2, 0).numpy())


SOURCE = Creatures(24, size=90)
MIRRORED = Image.Transpose.FLIP_LEFT_RIGHT


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """root/{train,val}/{a,b}: 12 and 6 different pictures, and in val a re-encoded one and a
    mirrored, halved one."""
    root = tmp_path / "photos"
    for split, numbers in (("train", range(12)), ("val", range(12, 18))):
        for i in numbers:
            path = root / split / "ab"[i % 2] / f"{i:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(i).save(path)
    picture(3).save(root / "val" / "a" / "again.jpg", quality=60)
    picture(8).transpose(MIRRORED).resize((45, 45)).save(
        root / "val" / "b" / "mirrored.jpg", quality=90
    )
    return root


@pytest.fixture
def show(composed: Compose, tmp_path: Path) -> Show:
    """Runs the study on the data of a command line, into a folder; gives its JSON."""

    def run(folder: str, *words: str, **arguments: Any) -> dict[str, Any]:
        out = tmp_path / folder
        out.mkdir(exist_ok=True)
        config = composed(f"data.store_dir={tmp_path}/stores", *words, root="analyze")
        data = load_data(config)
        given = {"against": None, "threshold": 0.8, **arguments}
        overlap.Overlap(**given).run(data, out)
        return json.loads((out / "overlap.json").read_text())

    return run


def pairs(result: dict[str, Any]) -> set[tuple[str, str, str, bool]]:
    return {(p["split"], p["image"], p["other"], p["mirrored"]) for p in result["pairs"]}


def test_training_pictures_that_validation_has_too(
    show: Show, photos: Path, tmp_path: Path
) -> None:
    words = "data=folder", f"data.root={photos}"
    result = show("out", *words)
    assert pairs(result) == {
        ("train", "train/b/03.png", "val/a/again.jpg", False),
        ("train", "train/a/08.png", "val/b/mirrored.jpg", True),
    }
    correlations = [pair["correlation"] for pair in result["pairs"]]
    assert correlations == sorted(correlations, reverse=True)
    assert result["compared"] == [
        {"split": "train", "pictures": 12, "with": "val", "pictures_with": 8}
    ]
    assert result["left_out"] == {"train": 2}
    lines = (tmp_path / "out" / "exclude.csv").read_text().splitlines()
    assert lines == [
        "data_set,split,image",
        "photos,train,train/a/08.png",
        "photos,train,train/b/03.png",
    ]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "exclude.csv",
        "overlap.json",
        "overlap.png",
    }
    sheet = np.asarray(Image.open(tmp_path / "out" / "overlap.png"))
    assert sheet.ndim == 3
    assert sheet.min() < 100
    clean = show("clean", *words, f"data.exclude={tmp_path}/out/exclude.csv")
    assert clean["pairs"] == []
    assert clean["compared"][0]["pictures"] == 10


def test_against_another_folder(show: Show, photos: Path, tmp_path: Path) -> None:
    """Both splits are looked at, at any depth of the folder; what it holds is never what is left
    out."""
    deep = tmp_path / "other" / "deep"
    deep.mkdir(parents=True)
    picture(5).transpose(MIRRORED).save(deep / "five.jpg", quality=85)
    picture(14).save(tmp_path / "other" / "fourteen.png")
    picture(20).save(tmp_path / "other" / "new.png")
    result = show("out", "data=folder", f"data.root={photos}", against=str(tmp_path / "other"))
    assert pairs(result) == {
        ("train", "train/b/05.png", "deep/five.jpg", True),
        ("val", "val/a/14.png", "fourteen.png", False),
    }
    lines = (tmp_path / "out" / "exclude.csv").read_text().splitlines()[1:]
    assert lines == ["photos,train,train/b/05.png", "photos,val,val/a/14.png"]


def test_a_whole_that_folds_are_drawn_from(show: Show, tmp_path: Path) -> None:
    """It is compared with itself; the later picture of a pair goes, and every fold is then free of
    them."""
    root = tmp_path / "classes"
    for i in range(16):
        path = root / "ab"[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(path)
    picture(2).save(root / "a" / "99.jpg", quality=70)
    words = "data=class_folders", f"data.root={root}", "data.images_per_class=3"
    result = show("out", *words)
    assert pairs(result) == {("train", "a/99.jpg", "a/02.png", False)}
    clean = show("clean", *words, f"data.exclude={tmp_path}/out/exclude.csv")
    assert clean["pairs"] == []
    assert clean["compared"][0]["pictures"] == 16


def test_a_search_goes_on_where_it_stopped(
    show: Show, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "data=folder", f"data.root={photos}"
    whole = show("whole", *words)
    monkeypatch.setattr(overlap, "BATCH", 5)
    monkeypatch.setattr("zfnet.parts.LEAST", 5)
    monkeypatch.setattr("zfnet.analysis.overlap.ROWS", 4)
    monkeypatch.setattr(overlap, "ROWS", 4)
    shrunk, made = overlap.shrink, []

    def dying(pictures: Any) -> Any:
        made.append(len(pictures))
        if len(made) == 3:
            raise KeyboardInterrupt
        return shrunk(pictures)

    monkeypatch.setattr(overlap, "shrink", dying)
    with pytest.raises(KeyboardInterrupt):
        show("broken", *words)
    assert made == [5, 5, 2]
    search, starts = overlap.near_duplicates, []

    def searching(*arguments: Any) -> Iterator[Any]:
        starts.append(arguments[3])
        if len(starts) == 2:
            raise KeyboardInterrupt
        return search(*arguments)

    monkeypatch.setattr(overlap, "near_duplicates", searching)
    with pytest.raises(KeyboardInterrupt):
        show("broken", *words)
    assert made == [5, 5, 2, 2, 5, 3]
    assert show("broken", *words) == whole
    assert starts == [0, 4, 4, 8]
    assert {path.name for path in (tmp_path / "broken").iterdir()} == {
        "exclude.csv",
        "overlap.json",
        "overlap.png",
    }


def test_nothing_found_is_said(show: Show, photos: Path, tmp_path: Path) -> None:
    for path in (*photos.rglob("again.jpg"), *photos.rglob("mirrored.jpg")):
        path.unlink()
    assert show("out", "data=folder", f"data.root={photos}")["pairs"] == []
    assert (tmp_path / "out" / "exclude.csv").read_text() == "data_set,split,image\n"
    assert (tmp_path / "out" / "overlap.png").exists()


def test_errors(show: Show, photos: Path) -> None:
    words = "data=folder", f"data.root={photos}"
    with pytest.raises(InputError, match="against=/nowhere: no such folder"):
        show("out", *words, against="/nowhere")
    with pytest.raises(InputError, match="threshold=80"):
        show("out", *words, threshold=80)


def test_it_needs_no_net(composed: Compose, tmp_path: Path) -> None:
    data = load_data(composed(f"data.store_dir={tmp_path}", root="analyze"))
    assert isinstance(data, ImageData)
    assert data.store_size == 128


def test_the_first_process_alone_says_what_the_search_is_of(
    show: Show, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that save one file at the same time get in each other's way."""
    monkeypatch.setattr(ranks, "is_first", lambda: False)
    with pytest.raises(InputError, match=r"train\.small: has 0 bytes"):
        show("out", "data=folder", f"data.root={photos}", "data.image_size=48")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train_0.small"]
