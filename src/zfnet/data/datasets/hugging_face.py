"""Data sets of the `datasets` library: saved to the disk, in a folder of files, or by name.

    train = huggingface("pets", "train")  # what save_to_disk wrote, or Parquet files
    train = huggingface("uoft-cs/cifar10", "train", val="test", image="img")  # downloaded
    train = huggingface("ILSVRC/imagenet-1k", "train", streaming=True)  # read as it is stored

Needs datasets: pip install "visualizing-convnets[huggingface]"."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zfnet.data.datasets.base import Encoded
from zfnet.data.datasets.hugging_face_stream import StreamedImages
from zfnet.data.datasets.parquet import image_of_cell
from zfnet.data.datasets.records import Classes, records_of_label_column, records_of_split
from zfnet.data.decoding import read_file
from zfnet.data.image_files import expand, is_folder
from zfnet.data.source import Split
from zfnet.errors import InputError, one_line

SAVED = ("dataset_dict.json", "state.json")  # one of them is in a folder that save_to_disk wrote
log = logging.getLogger(__name__)
INSTALL = 'data=huggingface needs datasets: pip install "visualizing-convnets[huggingface]"'


@dataclass
class HuggingFaceImages(Encoded):
    """Images of one split of a `datasets.Dataset`.

    Args:
        table: the split, whose images are not decoded.
        rows: of the images.
        column: of the images.
    """

    table: Any
    rows: list[int]
    column: str

    def encoded(self, index: int) -> np.ndarray:
        cell = self.table[self.rows[index]][self.column]
        if cell and cell["bytes"] is None and cell["path"]:  # its bytes are a file
            return read_file(cell["path"])
        return image_of_cell(cell)

    def files(self) -> Iterable[str]:
        return (each["filename"] for each in self.table.cache_files)


def huggingface(
    dataset: str,
    split: Split,
    train: str = "train",
    val: str | None = "validation",
    image: str = "image",
    label: str = "label",
    config: str | None = None,
    classes: Classes | None = None,
    streaming: bool = False,
    val_fraction: float = 0.1,
    seed: int = 0,
) -> HuggingFaceImages | StreamedImages:
    """Images of a data set of the `datasets` library. An id is SPLIT/ROW.

    Args:
        dataset: a folder that `save_to_disk` wrote, a folder of files that `load_dataset` reads, or
            a name on the hub, which is downloaded once.
        split: "train" or "val".
        train, val: the names of the splits there. If `val` is null, a share of every class is kept
            for "val".
        image: the column of images, or of their bytes, as `parquet` takes them.
        label: the column of labels.
        config: which one, of a data set that has several.
        classes: names for labels that are numbers: a list, or a file with one in each line. None
            takes those of the column, or the labels themselves.
        streaming: whether images are read from the network as they are stored, instead of
            downloading the data set. The labels are read first.
        val_fraction, seed: of the split.

    Raises:
        InputError: datasets is not installed, there is no such data set, split or column, or no
            image is left.
    """
    where = f"data.dataset={dataset}"
    parts, files = _load(where, dataset, config, streaming)
    tables = {"train": _split(where, parts, "train", train, image, label)}
    if val is not None:
        tables["val"] = _split(where, parts, "val", val, image, label)
    if classes is None:
        classes = getattr(tables["train"].features[label], "names", None)
    names = {"train": train, "val": val or ""}
    records = {
        key: records_of_label_column(names[key], _labels(where, table, label))
        for key, table in tables.items()
    }
    found = records_of_split(
        where, records["train"], records.get("val"), split, classes, val_fraction, seed
    )
    of = split if val is not None else "train"
    about = (Path(dataset).name, Path(dataset), found.classes, found.records.ids, found.labels)
    rows, faults = found.records.places[:, -1].tolist(), found.records.faults
    if streaming:
        paths = [str(path) for path in files.get(names[of], [])]
        return StreamedImages(*about, tables[of], rows, image, paths, faults=faults)
    return HuggingFaceImages(*about, tables[of], rows, image, faults=faults)


def _load(
    where: str, dataset: str, config: str | None, streaming: bool
) -> tuple[Any, Mapping[str, Any]]:
    """The splits by name, and the files of each if they are streamed. A data set without splits is
    one called "train"."""
    try:
        import datasets
    except ImportError as error:
        raise InputError(INSTALL) from error
    folder = expand(dataset)
    saved = any((folder / name).is_file() for name in SAVED)
    if saved and streaming:
        raise InputError(f"{where}: is on the disk already; leave out data.streaming")
    name = str(folder) if is_folder(folder) else dataset
    files: Mapping[str, Any] = {}
    try:
        if saved:
            found = datasets.load_from_disk(str(folder))
        elif streaming:
            builder = datasets.load_dataset_builder(name, config)
            found, files = builder.as_streaming_dataset(), builder.config.data_files or {}
        else:
            found = datasets.load_dataset(name, config)
    except MemoryError:
        raise
    except Exception as error:  # of the network, the file system, Arrow, the hub and their own
        raise InputError(f"{where}: cannot be loaded: {one_line(error)}") from error
    return {"train": found} if isinstance(found, datasets.Dataset) else found, files


def _labels(where: str, table: Any, label: str) -> Iterable[object]:
    """The labels of all rows."""
    import datasets

    if isinstance(table, datasets.Dataset):
        return table[label]
    log.info("%s: reading the labels of split %s", where, table.split)
    try:
        return [each for part in table.select_columns([label]).iter(1000) for each in part[label]]
    except MemoryError:
        raise
    except Exception as error:
        raise InputError(f"{where}: its labels cannot be read: {one_line(error)}") from error


def _split(where: str, parts: Any, key: str, name: str, image: str, label: str) -> Any:
    """One split, whose images are not decoded."""
    import datasets

    if name not in parts:
        remedy = "; null keeps a tenth of the others for validation" if key == "val" else ""
        raise InputError(
            f"{where}: has no split {name!r}; data.{key}= names it, one of {', '.join(parts)}"
            f"{remedy}"
        )
    table = parts[name]
    if table.features is None:
        raise InputError(f"{where}: does not say what its columns are; leave out data.streaming")
    for word, column in (("image", image), ("label", label)):
        if column not in table.column_names:
            raise InputError(
                f"{where}: has no column {column!r}; data.{word}= names it, one of "
                f"{', '.join(table.column_names)}"
            )
    kind = table.features[image]
    binary = (datasets.Value("binary"), datasets.Value("large_binary"))
    encoded = kind.get("bytes") if isinstance(kind, dict) else kind
    if not isinstance(kind, datasets.Image) and encoded not in binary:
        raise InputError(f"{where}: its column {image!r} holds no images; data.image= names one")
    return table.cast_column(image, datasets.Image(decode=False))
