"""Boxes of a csv as masks, and what is no box."""

from pathlib import Path

import pytest

from zfnet.errors import InputError
from zfnet.studies.annotations import read_boxes


def test_boxes(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("image,x0,y0,x1,y1\na.jpg,0,1,3,2\nb.jpg,0,0,8,8\na.jpg,7,7,8,8\n")
    masks = read_boxes(path, 8)
    assert list(masks) == ["a.jpg", "b.jpg"]
    assert masks["a.jpg"].nonzero().tolist() == [[1, 0], [1, 1], [1, 2], [7, 7]]
    assert masks["b.jpg"].all()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,x0,y0,x1\na,0,0,1\n", "no column y1"),
        ("", "no column image"),
        ("image,x0,y0,x1,y1\n", "holds no box"),
        ("image,x0,y0,x1,y1\na,0,0,9,5\n", "line 2: 0,0,9,5 is no box in 8 x 8 pixels"),
        ("image,x0,y0,x1,y1\na,3,0,3,5\n", "line 2: 3,0,3,5 is no box"),
        ("image,x0,y0,x1,y1\na,0,0,1,1\na,-1,0,3,5\n", "line 3: -1,0,3,5 is no box"),
        ("image,x0,y0,x1,y1\na,0,zero,3,5\n", "line 2: a box is four whole numbers"),
        ("image,x0,y0,x1,y1\na,0,1\n", "line 2: has nothing for x1, y1"),
    ],
)
def test_boxes_that_are_none(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        read_boxes(tmp_path / "boxes.csv", 8)


def test_no_file() -> None:
    with pytest.raises(InputError, match="No such file"):
        read_boxes("/nowhere/boxes.csv", 8)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match=r"boxes=.*boxes\.csv, line 1: this is not UTF-8 text"):
        read_boxes(tmp_path / "boxes.csv", 8)
