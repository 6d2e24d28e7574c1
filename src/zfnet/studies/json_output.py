"""Numbers as JSON: six digits are enough, and what is no number is null, for JSON has no NaN.

write_json({"energy": 0.123456789, "missing": math.nan}, folder / "study.json")     # 0.123457, null
"""

import math
from pathlib import Path
from typing import Any

from zfnet.io import save_json


def write_json(result: Any, path: Path, indent: int | None = None) -> None:
    """Writes lists and mappings of numbers and words, whole or not at all."""
    save_json(path, plain(result), indent)


def plain(value: Any) -> Any:
    """The same with its floats rounded, and None for those that are not finite."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
