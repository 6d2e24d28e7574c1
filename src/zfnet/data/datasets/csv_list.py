"""Images that a csv file lists, with their labels.

    path,label,split
    cats/1.jpg,cat,train
    /photos/dogs/7.jpg,dog,val

    train = csv_list("photos.csv", "train")

Paths are relative to the folder of the file. Without a column `split`, a share of every class is
kept for "val". Other columns are ignored."""

from pathlib import Path

from zfnet.data.csv_files import read_csv
from zfnet.data.datasets.base import Photos
from zfnet.data.datasets.records import Classes, Records, records_of_split
from zfnet.data.image_files import check_line_breaks, expand
from zfnet.data.source import SPLITS, Split
from zfnet.errors import InputError

COLUMNS, OPTIONAL = ("path", "label"), ("split",)


def csv_list(
    root: str | Path,
    split: Split,
    classes: Classes | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
) -> Photos:
    """The images listed in a csv file with the columns `path`, `label` and, optionally, `split`.

    Args:
        root: the csv file.
        split: "train" or "val".
        classes: names for labels that are numbers: a list, or a file with one in each line. None
            takes the labels themselves.
        val_fraction, seed: of the split, where the file has no column `split`.

    Raises:
        InputError: the file cannot be read, a column is missing, or a line has an unknown split or
            a path that another line has.
    """
    lines: dict[str, int] = {}
    labels: list[str | None] = []
    splits: list[str] = []
    for line, row in read_csv("data.root", root, COLUMNS, OPTIONAL):
        where = f"data.root={root}, line {line}"
        if (first := lines.setdefault(row["path"], line)) != line:
            raise InputError(f"{where}: has {row['path']!r} again, as line {first}; remove one")
        if "split" in row:
            splits.append(row["split"].strip())
            if splits[-1] not in SPLITS:
                raise InputError(
                    f"{where}: split {row['split']!r} must be one of {', '.join(SPLITS)}"
                )
        labels.append(row["label"].strip())
        if not labels[-1]:
            raise InputError(f"{where}: has nothing for label; fill it in")
    file = expand(root)
    check_line_breaks(file.parent, lines)
    everything, val = Records([*lines], labels), None
    if splits:
        rows = {each: [i for i, name in enumerate(splits) if name == each] for each in SPLITS}
        everything, val = everything.select(rows["train"]), everything.select(rows["val"])
    found = records_of_split(
        f"data.root={root}", everything, val, split, classes, val_fraction, seed
    )
    return Photos(file.stem, file.parent, found.classes, found.records.ids, found.labels)
