"""CSV files that users write: one reader, with a line number in every complaint.

    for line, row in read_csv("data.exclude", "exclude.csv", ("data_set", "split", "image")):
        row["image"]

Comma-separated UTF-8 with a header, as spreadsheets save it: a byte order mark, either line ending and blank lines
are accepted, columns may come in any order and others may stand between them. Bytes that are no UTF-8 are kept, for
file names have them. Cells are text and nothing else.
"""

import csv
import io
from collections.abc import Iterator, Sequence

from zfnet.data.image_files import expand
from zfnet.errors import InputError, one_line


def read_csv(word: str, path: object, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a file, one after the other.

    Args:
        word: the setting that names the file, for messages.
        path: the file.
        columns: those that must be there.

    Returns:
        Line numbers, from 2 on, with the cells of these columns as they stand.

    Raises:
        InputError: the file cannot be read or is no text, a column is missing or there twice, a row has other cells
            than the header, or nothing where these columns are.
    """
    where, head = f"{word}={path}", ",".join(columns)
    reader = csv.reader(io.StringIO(_text(where, path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if missing := [name for name in columns if name not in header]:
            separated = (
                "; separate columns by commas" if any(";" in name or "\t" in name for name in header) else ""
            )
            raise InputError(
                f"{where}, line 1: has no column {', '.join(missing)}; its first line must be {head}{separated}"
            )
        if twice := [name for name in columns if header.count(name) > 1]:
            raise InputError(f"{where}, line 1: has column {twice[0]} twice; its first line must be {head}")
        for cells in reader:
            line = reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(header):
                raise InputError(
                    f"{where}, line {line}: has {len(cells)} cells for {len(header)} columns; put quotation marks "
                    "around a name with a comma in it"
                )
            row = dict(zip(header, cells, strict=False))
            if empty := [name for name in columns if not row.get(name)]:
                raise InputError(f"{where}, line {line}: has nothing for {', '.join(empty)}; fill it in")
            yield line, {name: row[name] for name in columns}
    except csv.Error as error:
        raise InputError(f"{where}, line {reader.line_num}: {one_line(error)}; mend the line") from error


def _text(where: str, path: object) -> str:
    file = expand(str(path))
    try:
        if file.exists() and not file.is_file():
            raise InputError(f"{where}: is a directory, a pipe or a device; name a csv file")
        text = file.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"{where}: {reason}; name a csv file") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(f"{where}, line {line}: this is no text in UTF-8; save it as comma-separated UTF-8")
    return text
