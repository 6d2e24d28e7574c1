"""Images in Parquet files: the schema of Hugging Face, plain bytes, and files that are damaged."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.made_shards import creature, image_bytes, write_parquet
from zfnet.data import Creatures, build_store
from zfnet.data.datasets import parquet
from zfnet.errors import InputError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
PIXELS = image_bytes(creature(Creatures(1, size=32), 0))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tables") / "data"
    return write_parquet(root, ["zebra", "ant", "<b>"], train=8, val=4).parent


def test_rows_labels_and_names_of_the_schema(tables: Path) -> None:
    """Class names keep the numbers that the schema gives them."""
    train, val = parquet(tables, "train"), parquet(tables, "val")
    assert train.ids == [f"data/train-00000-of-00001.parquet/{row}" for row in range(8)]
    assert train.classes == val.classes == ["zebra", "ant", "<b>"]
    assert train.labels == [0, 1, 2, 0, 1, 2, 0, 1]
    assert val.labels == [0, 1, 2, 0]
    drawn = Creatures(8, split="train", size=56)
    for source in (train, pickle.loads(pickle.dumps(train))):
        for index in (7, 0, 3):  # row groups hold three
            np.testing.assert_array_equal(source.read(index).numpy(), drawn.read(index).numpy())


def test_a_single_file_is_split(tables: Path) -> None:
    file = tables / "data" / "train-00000-of-00001.parquet"
    train, val = parquet(file, "train"), parquet(file, "val")
    assert sorted(val.labels) == [0, 1, 2]
    assert sorted([*train.ids, *val.ids]) == [f"{file.name}/{row}" for row in range(8)]


def test_a_store_does_not_depend_on_the_number_of_threads(tables: Path, tmp_path: Path) -> None:
    for workers in (1, 4):
        build_store(parquet(tables, "train"), tmp_path / str(workers), 48, workers=workers)
    one, four = ((tmp_path / str(w) / "images.u8").read_bytes() for w in (1, 4))
    assert one == four


def test_plain_bytes_and_names_for_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"png": [PIXELS] * 2, "kind": ["dog", "cat"]}), path)
    source = parquet(path, "train", image="png", label="kind", val_fraction=0)
    assert (source.classes, source.labels, source.read(1).shape) == (
        ["cat", "dog"], [1, 0], (3, 32, 32),
    )  # fmt: skip


def test_whole_floats_are_numbers(tmp_path: Path) -> None:
    """Pandas writes a column of numbers as floats if a label is missing."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [PIXELS] * 5, "label": [10.0, None, 2.0, np.nan, 1.5]}), path)
    source = parquet(path, "train", val_fraction=0)
    assert (source.classes, source.labels) == (["2", "10"], [1, 0, 0, 0, 0])
    assert source.faults == {
        1: "has no label",
        3: "has no label",
        4: "has a label that is neither a text nor a whole number, but 1.5",
    }


def test_bad_rows_are_listed_and_skipped(tmp_path: Path) -> None:
    """No label, a label of -1, no bytes, no image."""
    path = tmp_path / "a.parquet"
    image = [{"bytes": data, "path": "p"} for data in (PIXELS, PIXELS, PIXELS, None, b"no image")]
    pq.write_table(pa.table({"image": image, "label": [0, None, -1, 1, 1]}), path)
    source = parquet(path, "train", val_fraction=0)
    store = build_store(source, tmp_path / "store", 16, workers=1)
    assert (store.ids, store.classes) == (["a.parquet/0"], ["0", "1"])
    assert (tmp_path / "store" / "unreadable.txt").read_text().splitlines() == [
        f"a.parquet/1\t{path}/1: has no label",
        f"a.parquet/2\t{path}/2: has no label",
        f"a.parquet/3\t{path}/3: its image column holds no bytes",
        f"a.parquet/4\t{path}/4: this is not an image, or one of an unknown format",
    ]


def test_a_missing_column_is_one_line(tables: Path) -> None:
    with pytest.raises(InputError, match=r"has no column 'img'; data\.image= names it, one of ima"):
        parquet(tables, "train", image="img")
    with pytest.raises(InputError, match=r"has no column 'cls'; data\.label= names it, one of ima"):
        parquet(tables, "train", label="cls")


def test_a_damaged_file_is_listed_and_the_rest_is_used(
    tables: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = (tables / "data" / "train-00000-of-00001.parquet").read_bytes()
    (tmp_path / "train-0.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "train-1.parquet").write_bytes(whole)
    source = parquet(tmp_path, "train", val=None, val_fraction=0)
    assert f"{tmp_path}/train-0.parquet: " in caplog.text
    store = build_store(source, tmp_path / "store", 16, workers=1)
    assert len(store) == 8
    assert store.classes == ["zebra", "ant", "<b>"]
    assert (tmp_path / "store" / "unreadable.txt").read_text().startswith("train-0.parquet\t")
    (tmp_path / "train-1.parquet").unlink()
    with pytest.raises(InputError, match=r"no image for split 'train' \(train-0\.parquet: "):
        parquet(tmp_path, "train", val=None)


def test_a_damaged_row_group_counts_for_its_rows(tables: Path, tmp_path: Path) -> None:
    whole = bytearray((tables / "data" / "train-00000-of-00001.parquet").read_bytes())
    path = tmp_path / "a.parquet"
    start = pq.ParquetFile(tables / "data" / "train-00000-of-00001.parquet").metadata.row_group(
        1
    ).column(0).file_offset or whole.index(b"\x89PNG", len(whole) // 3)
    whole[start : start + 60] = b"\xff" * 60
    path.write_bytes(whole)
    source = parquet(path, "train", val_fraction=0)
    store = build_store(source, tmp_path / "store", 16, workers=1)
    assert 5 <= len(store) < 8
