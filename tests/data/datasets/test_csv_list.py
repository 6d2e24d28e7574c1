"""Images listed in a csv file: columns, splits, odd names, and what is wrong with some files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zfnet.data import build_store
from zfnet.data.datasets import csv_list, folder
from zfnet.errors import InputError

ROWS = [("cat/a.png", "cat", "train"), ("dog/b.png", "dog", "train"), ("cat/c.png", "cat", "val")]


@pytest.fixture
def written(tmp_path: Path, paint: Callable[..., None]) -> Callable[..., Path]:
    def write(*lines: str) -> Path:
        for seed, (path, _, _) in enumerate(ROWS):
            paint(tmp_path / path, seed)
        (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
        return tmp_path / "list.csv"

    return write


def test_columns_in_any_order(written: Callable[..., Path]) -> None:
    """The split column decides; other columns are ignored."""
    file = written("split,label,note,path", *(f"{s},{c},x,{p}" for p, c, s in ROWS))
    train, val = csv_list(file, "train"), csv_list(file, "val")
    assert (train.ids, train.classes, train.labels) == (
        ["cat/a.png", "dog/b.png"], ["cat", "dog"], [0, 1],
    )  # fmt: skip
    assert (val.ids, val.classes, val.labels) == (["cat/c.png"], ["cat", "dog"], [0])
    with Image.open(file.parent / "cat/c.png") as image:
        np.testing.assert_array_equal(val.read(0).permute(1, 2, 0).numpy(), np.array(image))


def test_without_a_split_it_is_that_of_folders(tmp_path: Path, paint: Callable[..., None]) -> None:
    """Sorted by path, the same images are kept for validation as data=folder keeps."""
    names = [f"{label}/{i}.png" for label in ("cat", "dog") for i in range(9)]
    for name in names:
        paint(tmp_path / "photos" / name)
    file = tmp_path / "photos" / "list.csv"
    file.write_text("path,label\n" + "".join(f"{name},{name[:3]}\n" for name in names))
    for split in ("train", "val"):
        listed = csv_list(file, split, val_fraction=0.3, seed=4)
        found = folder(tmp_path / "photos", split, val_fraction=0.3, seed=4)
        assert (listed.ids, listed.labels) == (found.ids, found.labels)


def test_odd_names(tmp_path: Path, paint: Callable[..., None]) -> None:
    """Absolute paths, commas, markup, and bytes that are not UTF-8."""
    names = ["a,b.png", "<b>&amp;.png", "\udcff.png", f"{tmp_path}/absolute.png"]
    for name in names:
        paint(tmp_path / name)
    text = "path,label\n" + "".join(f'"{name}",<i>{n}</i>\n' for n, name in enumerate(names))
    (tmp_path / "list.csv").write_bytes(text.encode(errors="surrogateescape"))
    source = csv_list(tmp_path / "list.csv", "train")
    assert source.ids == names
    assert source.classes == [f"<i>{n}</i>" for n in range(4)]
    store = build_store(source, tmp_path / "store", 16, workers=1)
    assert store.ids == names


def test_numbers_have_their_order_and_their_names(written: Callable[..., Path]) -> None:
    file = written("path,label", "cat/a.png,10", "dog/b.png,9", "cat/c.png,0")
    assert csv_list(file, "train").classes == ["0", "9", "10"]
    classes = [f"class {n}" for n in range(11)]
    named = csv_list(file, "train", classes=classes)
    assert (named.classes, named.labels) == (classes, [10, 9, 0])
    (file.parent / "names.txt").write_text("\n".join(classes) + "\n")
    assert csv_list(file, "train", classes=str(file.parent / "names.txt")) == named
    with pytest.raises(InputError, match=r"the label '10' of cat/a\.png is none of the 3 classes"):
        csv_list(file, "train", classes=["a", "b", "c"])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,label", "a.png,cat"], "line 1: has no column path"),
        (["path;label", "a.png;cat"], "separate columns by commas"),
        (["path,label", "a.png,cat", "b.png,"], "line 3: has nothing for label"),
        (["path,label", "a.png, "], "line 2: has nothing for label"),
        (["path,label,split", "a.png,cat,test"], "line 2: split 'test' must be one of train, val"),
        (["path,label,split", "a.png,cat,"], "line 2: has nothing for split"),
        (["path,label", "a.png,cat", "a.png,dog"], "line 3: has 'a.png' again, as line 2"),
        (["path,label", '"a\nb.png",cat'], "line break"),
        (["path,label,split", "a.png,cat,val"], "has no image for split 'train'"),
        (["path,label"], "has no image for split 'train'"),
    ],
)
def test_what_is_wrong_is_one_line(
    written: Callable[..., Path], lines: list[str], message: str
) -> None:
    with pytest.raises(InputError) as raised:
        csv_list(written(*lines), "train")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_class_of_validation_alone(written: Callable[..., Path]) -> None:
    file = written("path,label,split", "a.png,cat,train", "b.png,dog,val")
    with pytest.raises(InputError, match=r"the label 'dog' of b\.png is none of the 1 classes of"):
        csv_list(file, "val")


def test_missing_files_are_skipped_and_listed(written: Callable[..., Path]) -> None:
    file = written("path,label", "cat/a.png,cat", "gone.png,cat", "dog/b.png,dog")
    store = build_store(csv_list(file, "train", val_fraction=0), file.parent / "s", 16, workers=1)
    assert store.ids == ["cat/a.png", "dog/b.png"]
    listed = (file.parent / "s" / "unreadable.txt").read_text()
    assert listed == f"gone.png\t{file.parent}/gone.png: No such file or directory\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "No such file"), ("cat\n\ndog\n", "line 2: is empty"), ("a\nb\na", "as line 1")],
)
def test_a_wrong_file_of_classes(
    written: Callable[..., Path], text: str | None, message: str
) -> None:
    file = written("path,label", "a.png,0")
    if text is not None:
        (file.parent / "names.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        csv_list(file, "train", classes=str(file.parent / "names.txt"))
