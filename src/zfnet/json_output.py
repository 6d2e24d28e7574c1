"""Numbers as JSON: six significant digits; NaN and infinity, which JSON lacks, become null.

write_json({"energy": 0.123456789, "missing": math.nan}, folder / "energy.json")  # 0.123457, null
"""

import math
from pathlib import Path
from typing import Any

from zfnet.io import save_json


def write_json(result: Any, path: Path, indent: int | None = None) -> None:
    """Writes a JSON file, whole or not at all.

    Args:
        result: Mappings, lists and tuples of numbers, strings, booleans and None, at any depth.
        path: The file.
        indent: Spaces for each level; None for one line.

    Raises:
        InputError: The file cannot be written.
    """
    save_json(path, plain(result), indent)


def plain(value: Any) -> Any:
    """The same value with its floats rounded, and None for those that are not finite."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
