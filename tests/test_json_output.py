"""Numbers of any kind as JSON that every reader takes."""

import json
import math
from pathlib import Path

import pytest

from zfnet.errors import InputError
from zfnet.json_output import write_json


def test_floats_are_rounded_and_what_is_no_number_is_null(tmp_path: Path) -> None:
    result = {
        "a": [0.123456789, math.nan, (math.inf, 2)],
        "b": {"c": True, "d": "nan", "e": None},
        "f": 12345678,
    }
    write_json(result, tmp_path / "numbers.json")
    found = json.loads((tmp_path / "numbers.json").read_text(), parse_constant=lambda name: name)
    assert found == {
        "a": [0.123457, None, [None, 2]],
        "b": {"c": True, "d": "nan", "e": None},
        "f": 12345678,
    }


def test_a_file_is_whole_or_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    write_json({"a": 1}, path)
    with pytest.raises(TypeError):
        write_json({"a": object()}, path)
    assert json.loads(path.read_text()) == {"a": 1}
    with pytest.raises(InputError, match=r"absent/numbers.json: cannot be written"):
        write_json({}, tmp_path / "absent" / "numbers.json")
    assert [each.name for each in tmp_path.iterdir()] == ["numbers.json"]
