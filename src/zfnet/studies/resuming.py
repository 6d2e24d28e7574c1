"""What a study has found so far, in a file that says what it depends on.

    save_progress(path, fingerprint, {"seen": 640, ...})
    load_progress(path, fingerprint, parse)              # None where there is none

A file of another net, other images or other settings is refused. JSON by its name, else torch's format.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from zfnet.fingerprint import check_fingerprint
from zfnet.io import read_json, read_torch, save_json, save_torch

DELETE = "delete it to start again"
T = TypeVar("T")


def save_progress(path: Path, fingerprint: Mapping[str, Any], found: Any) -> None:
    """Writes the whole file, or leaves the old one."""
    content = {"fingerprint": dict(fingerprint), "found": found}
    if path.suffix == ".json":
        save_json(path, content)
    else:
        save_torch(path, content)


def load_progress(path: Path, fingerprint: Mapping[str, Any], parse: Callable[[Any], T]) -> T | None:
    """What `save_progress` wrote.

    Args:
        path: the file.
        fingerprint: what the results depend on now.
        parse: checks what was found. Whatever it raises means that the file is damaged.

    Returns:
        What `parse` returns; None where there is no file.

    Raises:
        InputError: the file is damaged, or was made with another fingerprint.
    """

    def checked(content: Any) -> T:
        if not isinstance(content, dict) or not isinstance(content.get("fingerprint"), dict):
            raise ValueError("it does not say what it was made with")
        check_fingerprint(path, content["fingerprint"], fingerprint, f"give the same settings, or {DELETE}")
        return parse(content["found"])

    if not os.path.lexists(path):
        return None
    return (read_json if path.suffix == ".json" else read_torch)(path, DELETE, checked)
