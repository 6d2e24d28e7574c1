"""Numbers of any kind as JSON that every reader takes."""

import json
import math
from pathlib import Path

from zfnet.studies.results import write_json


def test_floats_are_rounded_and_what_is_no_number_is_null(tmp_path: Path) -> None:
    result = {
        "a": [0.123456789, math.nan, (math.inf, 2)],
        "b": {"c": True, "d": "nan", "e": None},
        "f": 12345678,
    }
    write_json(result, tmp_path / "numbers.json")
    found = json.loads((tmp_path / "numbers.json").read_text(), parse_constant=lambda name: name)
    assert found == {"a": [0.123457, None, [None, 2]], "b": {"c": True, "d": "nan", "e": None}, "f": 12345678}
