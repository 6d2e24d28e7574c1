"""One reader for the CSV files of users: what spreadsheets write is read, the rest is one line."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zfnet.data.csv_files import read_csv
from zfnet.errors import InputError

COLUMNS = ("image", "x")


def rows(path: Path, text: bytes) -> list[tuple[int, dict[str, str]]]:
    path.write_bytes(text)
    return list(read_csv("boxes", path, COLUMNS))


@pytest.mark.parametrize(
    "text",
    [
        b"image,x\na.jpg,1\nb.jpg,2\n",
        b"\xef\xbb\xbfimage,x\na.jpg,1\nb.jpg,2\n",
        b"image,x\r\na.jpg,1\r\nb.jpg,2\r\n",
        b"image,x\ra.jpg,1\rb.jpg,2",
        b" image , x \na.jpg,1\nb.jpg,2",
        b'"image","x"\n"a.jpg","1"\n"b.jpg","2"\n',
        b"x,image\n1,a.jpg\n2,b.jpg\n",
        b"image,why,x\na.jpg,small,1\nb.jpg,,2\n",
    ],
)
def test_what_spreadsheets_write(tmp_path: Path, text: bytes) -> None:
    expected = [(2, {"image": "a.jpg", "x": "1"}), (3, {"image": "b.jpg", "x": "2"})]
    assert rows(tmp_path / "a.csv", text) == expected


def test_blank_lines_are_passed_over_and_lines_are_those_of_the_file(tmp_path: Path) -> None:
    text = b'image,x\n\n,\n"two\nlines.jpg",1\n   ,  \nb.jpg,2\n'
    assert [(line, row["image"]) for line, row in rows(tmp_path / "a.csv", text)] == [
        (5, "two\nlines.jpg"),
        (7, "b.jpg"),
    ]


def test_cells_are_text(tmp_path: Path) -> None:
    """Formulas, markup and bytes that are no UTF-8 are names like others."""
    names = [
        b"=cmd|' /C calc'!A0",
        b"<script>alert(1)</script>",
        b"caf\xe9.jpg",
        b"../../etc/passwd",
        b"{a.__class__}",
    ]
    found = rows(tmp_path / "a.csv", b"image,x\n" + b"".join(b"%s,1\n" % name for name in names))
    assert [os.fsencode(row["image"]) for _, row in found] == names


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "line 1: has no column image, x; its first line must be image,x"),
        (b"\n\n", "line 1: has no column image, x"),
        (b"image\na\n", "line 1: has no column x"),
        (b"Image,x\na,1\n", "line 1: has no column image"),
        (b"image;x\na;1\n", "separate columns by commas"),
        (b"image\tx\na\t1\n", "separate columns by commas"),
        (b"image,x,image\na,1,b\n", "line 1: has column image twice"),
        (b"image,x\na,1\nb\n", "line 3: has nothing for x; fill it in"),
        (b"image,x\na,1\n,2\n", "line 3: has nothing for image"),
        (b"image,x\na,b.jpg,1\n", "line 2: has 3 cells for 2 columns"),
        (b'image,x\n"a"b,1\n', "line 2: .*expected after"),
        (b'image,x\n"a,1\n', "line .: unexpected end of data"),
        (b"image,x\n" + b"a" * 200_000 + b",1\n", "line 2: field larger than field limit"),
        ("image,x\na,1\n".encode("utf-16"), "line 1: this is not UTF-8 text"),
        (b"image,x\na\0,1\n", "line 2: this is not UTF-8 text"),
        (bytes(range(256)) * 9, "line 1: this is not UTF-8 text"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        rows(tmp_path / "a.csv", text)
    assert str(caught.value).startswith(f"boxes={tmp_path}/a.csv, line ")
    assert "\n" not in str(caught.value)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(InputError) as caught:
            list(read_csv("boxes", path, COLUMNS))
        reason = "is a directory, a pipe or a device; name a csv file"
        assert str(caught.value) == f"boxes={path}: {reason}"
    for name in ("absent", "loop", "x" * 300, "a\0b"):
        with pytest.raises(InputError, match="name a csv file"):
            list(read_csv("boxes", tmp_path / name, COLUMNS))


@settings(max_examples=200, deadline=None)
@given(
    text=st.binary(max_size=60),
    head=st.sampled_from([b"", b"image,x\n", b"\xef\xbb\xbfimage,x\r\n"]),
)
def test_any_bytes_are_rows_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, text: bytes, head: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    try:
        found = rows(path, head + text)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert all(row["image"] and row["x"] for _, row in found)
