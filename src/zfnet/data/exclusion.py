"""Images to leave out of a data set, as a csv: near-duplicates of a test set, unwanted ones.

    data_set,split,image
    caltech101,train,accordion/image_0003.jpg

Every data set takes such a file: `data.exclude=exclude.csv`. `analyze.py analysis=overlap` writes
one. Image stores are not rebuilt for it. A fold of a few images per class is drawn from what is
left.

    write_exclusion("exclude.csv", "caltech101", {"train": ["accordion/image_0003.jpg"], "val": []})
    left_out = read_exclusion("exclude.csv", "caltech101")  # by split
    rest = drop_excluded(source, "train", left_out, "exclude.csv")
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from zfnet.data.csv_files import read_csv
from zfnet.data.source import SPLITS, Source
from zfnet.data.subset import Selection
from zfnet.errors import InputError
from zfnet.io import save

COLUMNS = ("data_set", "split", "image")


def write_exclusion(path: str | Path, name: str, ids: Mapping[str, Sequence[str]]) -> None:
    """Writes the file, whole or not at all.

    Args:
        path: the file.
        name: of the data set.
        ids: the images to leave out, by split.

    Raises:
        InputError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((name, split, image) for split, images in ids.items() for image in images)
    # File names need not be UTF-8.
    save(Path(path), text.getvalue().encode(errors="surrogateescape"))


def read_exclusion(path: str | Path, name: str) -> dict[str, set[str]]:
    """The ids to leave out of each split of the data set called `name`.

    Raises:
        InputError: `read_csv` refuses the file, or a row has another data set or an unknown split.
    """
    found: dict[str, set[str]] = {split: set() for split in SPLITS}
    for line, row in read_csv("data.exclude", path, COLUMNS):
        where = f"data.exclude={path}, line {line}"
        if row["data_set"] != name:
            raise InputError(
                f"{where}: is about {row['data_set']!r}, and this data set is {name!r}; keep one "
                "file for each"
            )
        if row["split"] not in SPLITS:
            raise InputError(f"{where}: split {row['split']!r} must be one of {', '.join(SPLITS)}")
        found[row["split"]].add(row["image"])
    return found


def drop_excluded(
    source: Source, split: str, left_out: Mapping[str, set[str]], path: str | Path
) -> Source:
    """One split of a data set without the images listed for it.

    Args:
        source: the split's images.
        split: its name.
        left_out: ids by split, as `read_exclusion` returns them. Where folds are drawn from a
            whole, the ids of all splits are left out of the whole.
        path: the file, for messages.

    Raises:
        InputError: an id is unknown, or no image is left.
    """
    if isinstance(source, Selection) and source.resample:
        gone = set().union(*left_out.values())
        return source.resample(_drop(source.whole, gone, source.store, path))
    return _drop(source, left_out[split], split, path)


def _drop(whole: Source, gone: set[str], store: str, path: str | Path) -> Selection:
    if unknown := sorted(gone - set(whole.ids)):
        raise InputError(f"data.exclude={path}: {whole.name} ({store}) has no image {unknown[0]!r}")
    rows = [row for row, id_ in enumerate(whole.ids) if id_ not in gone]
    if not rows:
        raise InputError(f"data.exclude={path}: leaves no image of {whole.name} ({store})")
    return Selection(whole, rows, store)
