"""WebDataset: tar archives of samples, read in place.

    train-000.tar: 0001.jpg 0001.cls 0002.jpg 0002.cls ...

    train = webdataset("shards", "train")

Files whose names are equal up to the first dot are one sample: an image, and its label in a `cls`
file (a number or a name) or in a `json` file ({"label": 3}). Other files are ignored, and none runs
code. Headers and labels are read once in each process; images are read by their offset."""

import json
import os
from functools import cache
from pathlib import Path

import numpy as np

from zfnet.data.datasets.records import Classes, Records
from zfnet.data.datasets.shards import Shards, file_state, log_damage, shard_name
from zfnet.data.datasets.tar_images import TarImages
from zfnet.data.decoding import image_extensions
from zfnet.data.source import Split
from zfnet.data.tar_index import Member, index_tar, read_part
from zfnet.errors import one_line

LONGEST = 2**24  # bytes of a file with a label


def webdataset(
    root: str | Path,
    split: Split,
    train: str = "**/*train*.tar",
    val: str | None = "**/*val*.tar",
    label: str = "label",
    classes: Classes | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
) -> TarImages:
    """Samples in tar archives. An id is SHARD/IMAGE.

    Args:
        root: the folder of the archives, or one archive.
        split: "train" or "val".
        train, val: the archives of each split, as patterns relative to `root`, such as
            "train-{000..009}.tar". If `val` is null, or `root` is one archive, a share of every
            class is kept for "val".
        label: the key of `json` files, of samples without a `cls` file.
        classes: names for labels that are numbers: a list, or a file with one in each line. None
            takes the labels themselves.
        val_fraction, seed: of the split.

    Raises:
        InputError: there are no such archives, or no image is left.
    """
    shards = Shards.find(root, train, val)
    parts = [
        _read_shard(shard, shard_name(shard, shards.root), label, number, file_state(shard))
        for number, shard in enumerate(shards.all)
    ]
    return shards.labeled(TarImages, parts, split, classes, val_fraction, seed)


@cache
def _read_shard(path: Path, name: str, label: str, number: int, _state: tuple[int, int]) -> Records:
    """The records of one archive; what is wrong with the archive is a record of its own."""
    index = index_tar(path)
    samples: dict[str, dict[str, Member]] = {}
    for member in index.members:
        folder, _, file = member.name.removeprefix("./").rpartition("/")
        stem, _, ending = file.partition(".")
        if stem:  # not a hidden file
            samples.setdefault(f"{folder}/{stem}", {})[ending.lower()] = member
    records = Records([], [])
    places: list[tuple[int, int, int]] = []
    for key, sample in samples.items():
        image, fault = _image_of(sample)
        text = None
        if fault is None:
            try:
                text = _label_of(path, sample, label)
            except (ValueError, OSError, RecursionError) as error:
                fault = one_line(error)
        if fault is not None:
            records.faults[len(places)] = fault
        places.append((number, image.offset, image.size) if image else (number, 0, 0))
        records.ids.append(f"{name}/{image.name.removeprefix('./') if image else key.lstrip('/')}")
        records.labels.append(text)
    if index.damage is not None:
        log_damage(path, index.damage)
        records.faults[len(places)] = index.damage
        places.append((number, 0, 0))
        records.ids.append(name)
        records.labels.append(None)
    records.places = np.array(places, dtype=np.int64).reshape(-1, 3)
    return records


def _image_of(sample: dict[str, Member]) -> tuple[Member | None, str | None]:
    """The image of a sample, or why there is none. Of several, `jpg` is before `seg.jpg`, and
    arrays are last."""
    rank = {
        ending: (ending.count("."), ending.endswith("npy"))
        for ending in sample
        if f".{ending.rpartition('.')[2]}" in image_extensions()
    }
    if not rank:
        return None, f"is a sample without an image ({', '.join(sorted(sample))})"
    first = sorted(ending for ending in rank if rank[ending] == min(rank.values()))
    if len(first) > 1:
        return None, f"is a sample of several images ({', '.join(first)})"
    return sample[first[0]], None


def _label_of(path: Path, sample: dict[str, Member], key: str) -> str:
    """The label of a sample as text. Raises ValueError if there is none."""
    if "cls" in sample:
        text = _text(path, sample["cls"]).strip()
        if not text or "\n" in text:
            raise ValueError("its cls file is empty or has several lines")
        return text
    if "json" not in sample:
        raise ValueError("is a sample without a label (cls or json)")
    value = json.loads(_text(path, sample["json"]))
    value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ValueError(f"its json file has no number or text under {key!r}")
    return str(value)


def _text(path: Path, member: Member) -> str:
    if member.size > LONGEST:
        raise ValueError(f"{os.path.basename(member.name)} has {member.size:,} bytes")  # noqa: PTH119
    return read_part(path, member.offset, member.size).tobytes().decode("utf-8")
