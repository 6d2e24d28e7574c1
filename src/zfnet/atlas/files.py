"""The data files of an atlas: JSON for programs, and scripts for the pages.

A page that is opened from a folder cannot read files, but can load scripts. Each script hands one
value to the pages: `atlas.receive("net_1/layer_0/summary.js", {...})`.
"""

import json
from pathlib import Path
from typing import Any

from zfnet.io import save
from zfnet.json_output import plain

FORMAT = 2  # version of the files


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON in ASCII on one line, its numbers with six significant digits.

    File names that are not UTF-8 stay what they are.
    """
    save(path, f"{_json(value, ascii_only=True)}\n".encode())


def write_script(site: Path, name: str, value: Any) -> None:
    """Writes a script that hands a value to the pages.

    Args:
        site: folder of the pages.
        name: path of the script in this folder.
        value: as for `write_json`.
    """
    text = f"atlas.receive({_safe(json.dumps(name))},{_safe(_json(value))});\n"
    save(site / name, text.encode(errors="replace"))


def _json(value: Any, ascii_only: bool = False) -> str:
    return json.dumps(plain(value), ensure_ascii=ascii_only, allow_nan=False, separators=(",", ":"))


def _safe(text: str) -> str:
    """JSON that is safe inside a script."""
    for character, escaped in (("</", "<\\/"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029")):
        text = text.replace(character, escaped)
    return text
