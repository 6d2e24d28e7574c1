"""Pictures to leave out: a file is read back as written, and holds before folds are drawn."""

import os
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zfnet.data.creatures import Creatures
from zfnet.data.datasets import creatures, creatures_few
from zfnet.data.exclusion import drop_excluded, read_exclusion, write_exclusion
from zfnet.data.image_data import ImageData
from zfnet.data.splits import few_per_class
from zfnet.data.subset import Selection
from zfnet.errors import InputError

NAMES = st.text(
    st.characters(blacklist_characters="\n\r\0", blacklist_categories=["Cs"]), min_size=1
)


@given(name=NAMES, ids=st.fixed_dictionaries({"train": st.sets(NAMES), "val": st.sets(NAMES)}))
def test_it_is_read_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, name: str, ids: dict[str, set[str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "exclude.csv"
    write_exclusion(path, name, {split: sorted(images) for split, images in ids.items()})
    assert read_exclusion(path, name) == ids


def test_names_that_are_no_unicode_come_through(tmp_path: Path) -> None:
    odd = os.fsdecode(b"ant/\xff.jpg")
    write_exclusion(tmp_path / "a.csv", "own", {"train": [odd]})
    assert read_exclusion(tmp_path / "a.csv", "own") == {"train": {odd}, "val": set()}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, "No such file"),
        (
            "",
            "line 1: has no column data_set, split, image; its first line must be "
            "data_set,split,image",
        ),
        ("image,split\n", "line 1: has no column data_set; its first line must be"),
        (
            "data_set,split,image\ncreatures,train,x\ncaltech101,val,y\n",
            "line 3: is about 'caltech101'",
        ),
        ("data_set,split,image\ncreatures,test,x\n", "line 2: split 'test'"),
        ("data_set,split,image\ncreatures\n", "line 2: has nothing for split, image"),
        ("data_set,split,image\ncreatures,train,train/000099\n", "has no image 'train/000099'"),
        ("data_set,split,image\ncreatures,val,train/000000\n", "has no image 'train/000000'"),
        (
            "data_set,split,image\ncreatures,train,a,b.jpg\n",
            "line 2: has 4 cells for 3 columns; put quotation",
        ),
        (
            "data_set,split,image\n" + "".join(f"creatures,val,val/00000{n}\n" for n in range(4)),
            "leaves no image of creatures",
        ),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str | None, line: str) -> None:
    path = tmp_path / "exclude.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=line) as caught:
        embedded(tmp_path, exclude=str(path))
    assert f"data.exclude={path}" in str(caught.value)


def embedded(folder: Path, **words: object) -> ImageData:
    return ImageData(
        partial(creatures, train=12, val=4, image_size=14), 14, 4, str(folder / "stores"), **words
    )


def test_a_data_set_leaves_them_out_of_the_store_that_is_there(tmp_path: Path) -> None:
    whole = embedded(tmp_path)
    whole.setup("fit")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "stores").rglob("*")}
    write_exclusion(
        tmp_path / "a.csv", "creatures", {"train": ["train/000003"], "val": ["val/000000"]}
    )
    rest = embedded(tmp_path, exclude=str(tmp_path / "a.csv"))
    rest.setup("fit")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "stores").rglob("*")} == before
    assert rest.images["train"].ids == [
        id_ for id_ in whole.images["train"].ids if id_ != "train/000003"
    ]
    assert rest.images["val"].ids == ["val/000001", "val/000002", "val/000003"]
    assert rest.sources["train"].ids == rest.images["train"].ids
    seen = [i for batch in rest.train_dataloader() for i in batch.rows.tolist()]
    assert len(seen) == 8
    assert 3 not in seen


def test_a_fold_is_drawn_from_what_is_left() -> None:
    whole = Creatures(60, size=16, classes=["cat", "dog"])
    train, val = (few_per_class(whole, split, 10, 4, 15) for split in ("train", "val"))
    gone = {"train": {train.ids[0], val.ids[0]}, "val": {train.ids[5]}}
    rest = Selection(
        whole,
        [row for row, id_ in enumerate(whole.ids) if id_ not in gone["train"] | gone["val"]],
        "all",
    )
    for split, own in (("train", train), ("val", val)):
        left = drop_excluded(own, split, gone, "a.csv")
        assert left.ids == few_per_class(rest, split, 10, 4, 15).ids
        assert isinstance(left, Selection)
        assert (left.whole, left.store) == (whole, "all")
    with pytest.raises(InputError, match=r"has 9 images.*needs 11"):
        drop_excluded(train, "train", {"train": set(whole.ids[18::2]), "val": set()}, "a.csv")


def test_folds_with_and_without_share_one_store(tmp_path: Path) -> None:
    def few(**words: object) -> ImageData:
        source = partial(creatures_few, image_size=14, classes=["cat", "dog"], test_per_class=50)
        return ImageData(source, 14, 4, str(tmp_path / "stores"), **words)

    first = few(images_per_class=5, fold=0)
    name = first.sources["train"].name
    write_exclusion(tmp_path / "a.csv", name, {"train": [first.sources["train"].ids[0]], "val": []})
    for words in ({"fold": 0}, {"fold": 1}, {"fold": 0, "exclude": str(tmp_path / "a.csv")}):
        data = few(images_per_class=20, **words)
        data.setup("fit")
        assert [len(data.images[split]) for split in ("train", "val")] == [40, 100]
    assert [path.name for path in (tmp_path / "stores").iterdir()] == [name]
    (store,) = (tmp_path / "stores" / name).iterdir()
    assert store.name.startswith("all-16-")
