"""CSV files that users write. Every error message has a line number.

    for line, row in read_csv("data.exclude", "exclude.csv", ("data_set", "split", "image")):
        row["image"]

The format is comma-separated UTF-8 with a header, as spreadsheets save it. A byte order mark,
either line ending, blank lines, further columns and any order of columns are accepted. Bytes that
are not UTF-8 are kept, because file names can have them. Cells are text."""

import csv
import io
from collections.abc import Iterator, Sequence

from zfnet.data.image_files import expand
from zfnet.errors import InputError, one_line


def read_csv(
    word: str, path: object, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a file.

    Args:
        word: the key that names the file, for messages.
        path: the file.
        columns: the columns that are needed.
        optional: columns that a file may lack.

    Yields:
        The line number, from 2 on, and the cells of these columns, without optional columns that
        the file lacks.

    Raises:
        InputError: the file cannot be read or is not text, a column is missing or there twice, or a
            row has too many cells or an empty one in these columns.
    """
    where, head = f"{word}={path}", ",".join(columns)
    reader = csv.reader(io.StringIO(_text(where, path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if missing := [name for name in columns if name not in header]:
            separated = (
                "; separate columns by commas"
                if any(";" in name or "\t" in name for name in header)
                else ""
            )
            raise InputError(
                f"{where}, line 1: has no column {', '.join(missing)}; its first line must be "
                f"{head}{separated}"
            )
        columns = [*columns, *(name for name in optional if name in header)]
        if twice := [name for name in columns if header.count(name) > 1]:
            raise InputError(
                f"{where}, line 1: has column {twice[0]} twice; its first line must be {head}"
            )
        for cells in reader:
            line = reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(header):
                raise InputError(
                    f"{where}, line {line}: has {len(cells)} cells for {len(header)} columns; put "
                    "quotation marks "
                    "around a name with a comma in it"
                )
            row = dict(zip(header, cells, strict=False))
            if empty := [name for name in columns if not row.get(name)]:
                raise InputError(
                    f"{where}, line {line}: has nothing for {', '.join(empty)}; fill it in"
                )
            yield line, {name: row[name] for name in columns}
    except csv.Error as error:
        raise InputError(
            f"{where}, line {reader.line_num}: {one_line(error)}; fix the line"
        ) from error


def _text(where: str, path: object) -> str:
    file = expand(str(path))
    try:
        if file.exists() and not file.is_file():
            raise ValueError("is a directory, a pipe or a device")
        text = file.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or one_line(error)
        raise InputError(f"{where}: {reason}; name a csv file") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(
            f"{where}, line {line}: this is not UTF-8 text; save it as comma-separated UTF-8"
        )
    return text
