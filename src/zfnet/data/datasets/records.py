"""Images with labels in text, as tables and archives hold them: to class numbers and splits.

    records = Records(["a.jpg", "b.jpg"], ["dog", "cat"])
    train = records_of_split("photos.csv", records, None, "train", val_fraction=0)
    train.classes, train.labels  # ["cat", "dog"], [1, 0]

A record without an image or a label stays in the list, with its fault. It is skipped and reported
as an unreadable image is."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from zfnet.data.datasets.folders import split_by_hash
from zfnet.data.image_files import expand
from zfnet.data.source import SPLITS, Split
from zfnet.errors import InputError, check_choice, one_line

Classes = str | Sequence[str]


@dataclass
class Records:
    """Records in their order.

    Args:
        ids: unique.
        labels: class names, or numbers in digits; None where there is a fault.
        places: int64 (N, k), where the images are; their meaning is that of the data set.
        faults: what is wrong with records that cannot be used, by index.
    """

    ids: list[str]
    labels: list[str | None]
    places: np.ndarray = field(default_factory=lambda: np.empty((0, 0), dtype=np.int64))
    faults: dict[int, str] = field(default_factory=dict)

    @classmethod
    def concatenate(cls, parts: Sequence["Records"]) -> "Records":
        """The records of several files, one after the other."""
        ids: list[str] = []
        labels: list[str | None] = []
        faults: dict[int, str] = {}
        for part in parts:
            faults |= {len(ids) + row: fault for row, fault in part.faults.items()}
            ids += part.ids
            labels += part.labels
        return cls(ids, labels, np.concatenate([part.places for part in parts]), faults)

    def select(self, rows: Sequence[int]) -> "Records":
        """The records `rows`, in that order."""
        return Records(
            [self.ids[row] for row in rows],
            [self.labels[row] for row in rows],
            self.places[rows] if len(self.places) else self.places,
            {new: self.faults[old] for new, old in enumerate(rows) if old in self.faults},
        )


@dataclass
class Labeled:
    """The records of one split, with the class names and the index of each record's class, which
    is 0 where there is a fault."""

    records: Records
    classes: list[str]
    labels: list[int]


def records_of_split(
    where: str,
    train: Records,
    val: Records | None,
    split: Split,
    classes: Classes | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
) -> Labeled:
    """The records of one split, with numbers for labels.

    Args:
        where: the data set, for messages.
        train: those to train on; without `val`, all of them.
        val: those to validate on; None splits them off, as `split_by_hash`.
        split: "train" or "val".
        classes: the class names, or a file with one in each line. Labels are names or numbers from
            0 on. None takes the labels of `train`, in alphabetical or numerical order.
        val_fraction, seed: of the split.

    Raises:
        InputError: no image is left, a label is none of the classes, or an argument is wrong.
    """
    check_choice("split", split, SPLITS)
    names = _class_names(train.labels) if classes is None else read_classes(classes)
    if val is not None:
        chosen = train if split == "train" else val
    else:
        if not 0 <= val_fraction < 1:
            raise InputError(
                f"data.val_fraction={val_fraction}: must be at least 0 and less than 1"
            )
        members: dict[str | None, list[int]] = defaultdict(list)
        for row, label in enumerate(train.labels):
            members[label].append(row)
        kept: list[int] = members.pop(None, []) if split == "train" else []
        for rows in members.values():
            row_of = {train.ids[row]: row for row in rows}
            kept += [row_of[id_] for id_ in split_by_hash([*row_of], split, val_fraction, seed)]
        chosen = train.select(sorted(kept))
    if len(chosen.faults) == len(chosen.ids):
        reasons = [f" ({chosen.ids[row]}: {fault})" for row, fault in chosen.faults.items()]
        raise InputError(f"{where}: has no image for split {split!r}{''.join(reasons[:1])}")
    numbers = {name: number for number, name in enumerate(names)}
    if classes is not None and not any(map(_is_number, names)):
        numbers |= {str(number): number for number in range(len(names))}
    for id_, label in zip(chosen.ids, chosen.labels, strict=True):
        if label is not None and label not in numbers:
            raise InputError(
                f"{where}: the label {label!r} of {id_} is none of the {len(names)} classes "
                f"{'of split train' if classes is None else 'of data.classes'}"
            )
    labels = [0 if label is None else numbers[label] for label in chosen.labels]
    return Labeled(chosen, names, labels)


def records_of_label_column(name: str, labels: Iterable[object]) -> Records:
    """The records of a table, with the ids NAME/ROW and the row for a place.

    Args:
        name: of the table.
        labels: texts, or whole numbers from 0 on, which may be floats. Anything else, such as the
            -1 of test sets, is a fault.
    """
    records = Records([], [])
    for row, value in enumerate(labels):
        label, fault = _label_of(value)
        if fault is not None:
            records.faults[row] = fault
        records.ids.append(f"{name}/{row}")
        records.labels.append(label)
    records.places = np.arange(len(records.ids))[:, None]
    return records


def read_classes(classes: Classes) -> list[str]:
    """The names of a list, or of a file with one name in each line.

    Raises:
        InputError: the file cannot be read, a name is empty or there twice.
    """
    if not isinstance(classes, str):
        names, where = list(classes), "data.classes"
    else:
        where = f"data.classes={classes}"
        try:
            text = expand(classes).read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or one_line(error)
            raise InputError(
                f"{where}: {reason}; name a text file with a class in each line"
            ) from error
        names = [line.strip() for line in text.rstrip().split("\n")]
    seen: dict[str, int] = {}
    for line, name in enumerate(names, 1):
        if not name:
            raise InputError(f"{where}, line {line}: is empty; a class name is needed")
        if (first := seen.setdefault(name, line)) != line:
            raise InputError(f"{where}, line {line}: has {name!r} again, as line {first}")
    return names


def _label_of(value: object) -> tuple[str | None, str | None]:
    """The label of a cell, or what is wrong with it."""
    if isinstance(value, float) and value.is_integer():  # pandas, where other labels are missing
        value = int(value)
    if (type(value) is int and value >= 0) or (isinstance(value, str) and value):
        return str(value), None
    if value is None or type(value) in (int, str) or value != value:
        return None, "has no label"
    return None, f"has a label that is neither a text nor a whole number, but {value!r:.40}"


def _class_names(labels: Iterable[str | None]) -> list[str]:
    names = {label for label in labels if label is not None}
    return sorted(names, key=int) if all(map(_is_number, names)) else sorted(names)


def _is_number(label: str) -> bool:
    """Whether a label is a whole number, written as `str` writes it."""
    return bool(re.fullmatch("0|[1-9][0-9]{0,17}", label))
