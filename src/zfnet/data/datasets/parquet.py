"""Parquet files with encoded images, as Hugging Face writes them.

    train = parquet("photos", "train")  # photos/data/train-00000-of-00002.parquet and so on

The image column holds {"bytes", "path"} or plain bytes. Class names are those of the schema, if
Hugging Face wrote it. A file is read in row groups, of which a few are kept: images are read fast
in their order, and slowly in any other.

Needs pyarrow: pip install "visualizing-convnets[parquet]"."""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from zfnet.data.datasets.base import Encoded
from zfnet.data.datasets.records import (
    Classes,
    Records,
    read_classes,
    records_of_label_column,
)
from zfnet.data.datasets.shards import Shards, log_damage, shard_name
from zfnet.data.source import Split
from zfnet.errors import InputError, one_line

KEPT = 4  # row groups


@dataclass
class _RowGroups:
    """The image column of row groups, of which the last ones are kept."""

    column: str
    kept: OrderedDict[tuple[Path, int], Any] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, path: Path, group: int) -> Any:
        with self.lock:  # the threads of a store need the same groups
            if (path, group) not in self.kept:
                import pyarrow.parquet as pq

                with pq.ParquetFile(path) as file:
                    table = file.read_row_group(group, [self.column], use_threads=False)
                self.kept[path, group] = table.column(self.column)
                if len(self.kept) > KEPT:
                    self.kept.popitem(last=False)
            self.kept.move_to_end((path, group))
            return self.kept[path, group]

    def __reduce__(self) -> tuple[Any, ...]:
        return _RowGroups, (self.column,)  # another process reads its own


@dataclass
class ParquetImages(Encoded):
    """Images in Parquet files.

    Args:
        shards: the files.
        places: int64 (N, 3): of each image the index of its file, its row group, its row in that.
        column: of the images.
    """

    shards: list[Path]
    places: np.ndarray
    column: str

    def __post_init__(self) -> None:
        self._groups = _RowGroups(self.column)

    def encoded(self, index: int) -> np.ndarray:
        shard, group, row = self.places[index].tolist()
        return image_of_cell(self._groups.read(self.shards[shard], group)[row].as_py())

    def files(self) -> Iterable[str]:
        return (str(self.shards[shard]) for shard in np.unique(self.places[:, 0]))


def parquet(
    root: str | Path,
    split: Split,
    train: str = "**/*train*.parquet",
    val: str | None = "**/*val*.parquet",
    image: str = "image",
    label: str = "label",
    classes: Classes | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
) -> ParquetImages:
    """Images in the rows of Parquet files. An id is FILE/ROW.

    Args:
        root: the folder of the files, or one file.
        split: "train" or "val".
        train, val: the files of each split, as patterns relative to `root`, such as
            "train-{000..009}.parquet". If `val` is null, or `root` is one file, a share of every
            class is kept for "val".
        image, label: the columns.
        classes: names for labels that are numbers: a list, or a file with one in each line. None
            takes those of the schema, or the labels themselves.
        val_fraction, seed: of the split.

    Raises:
        InputError: pyarrow is not installed, there are no such files or columns, or no image is
            left.
    """
    shards = Shards.find(root, train, val)
    tables = [
        _read_file(path, shard_name(path, shards.root), number, image, label)
        for number, path in enumerate(shards.all)
    ]
    if classes is None:
        classes = next((names for _, names in tables if names is not None), None)
    parts = [records for records, _ in tables]
    kind = partial(ParquetImages, column=image)
    return shards.labeled(kind, parts, split, classes, val_fraction, seed)


def image_of_cell(cell: Any) -> np.ndarray:
    """The bytes of an image in a table. Raises ValueError if there are none."""
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(data, bytes):
        raise ValueError("its image column holds no bytes")
    return np.frombuffer(data, dtype=np.uint8).copy()


def _read_file(
    path: Path, name: str, number: int, image: str, label: str
) -> tuple[Records, list[str] | None]:
    """The records of a file and the class names of its schema. What is wrong with the file is a
    record of its own."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError(
            'Parquet files need pyarrow: pip install "visualizing-convnets[parquet]"'
        ) from error
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            for key, column in (("image", image), ("label", label)):
                if column not in schema.names:
                    raise InputError(
                        f"{path}: has no column {column!r}; data.{key}= names it, one of "
                        f"{', '.join(schema.names)}"
                    )
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            labels = file.read([label], use_threads=False).column(label).to_pylist()
    except (pa.ArrowException, OSError) as error:
        reason = one_line(getattr(error, "strerror", None) or error)
        log_damage(path, reason)
        return Records([name], [None], np.array([[number, 0, 0]]), {0: reason}), None
    rows = [(number, group, row) for group, size in enumerate(sizes) for row in range(size)]
    records = records_of_label_column(name, labels)
    records.places = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return records, _names_of_schema(schema.metadata, label)


def _names_of_schema(metadata: dict[bytes, bytes] | None, label: str) -> list[str] | None:
    """The class names that Hugging Face wrote into a schema, if it did."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return read_classes([str(name) for name in features[label]["names"]])
    except (KeyError, TypeError, ValueError):
        return None
