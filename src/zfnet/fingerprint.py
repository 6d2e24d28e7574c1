"""What a kept file depends on, compared before the file is used again.

    save_json(path, {"fingerprint": asked, "found": ...})
    check_fingerprint(path, kept["fingerprint"], asked, "give the same settings, or another name= for a new run")

A fingerprint is a mapping of plain values, nested as deep as one likes.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from zfnet.errors import InputError

LONGEST = 60  # characters of a value that a message shows
MISSING = "(not set)"


def check_fingerprint(where: object, found: Mapping[str, Any], asked: Mapping[str, Any], remedy: str) -> None:
    """Compares what a file was made with and what is asked for now.

    Args:
        where: the file or folder, for the message.
        found: the fingerprint that it carries.
        asked: that of this run.
        remedy: what the user can do, an imperative.

    Raises:
        InputError: "WHERE was made with KEY=OLD, and this run has KEY=NEW (and 2 more differ); REMEDY".
    """
    old, new = flat(found), flat(asked)
    different = [key for key in old.keys() | new.keys() if old.get(key, MISSING) != new.get(key, MISSING)]
    if different:
        key = min(different, key=lambda key: (key.count("."), key))  # a setting before those that follow it
        more = f" (and {len(different) - 1} more differ)" if different[1:] else ""
        raise InputError(
            f"{where} was made with {key}={_short(old.get(key, MISSING))}, and this run has "
            f"{key}={_short(new.get(key, MISSING))}{more}; {remedy}"
        )


def flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested mappings as one, {"model.edit.conv3": None}; an empty mapping is a value."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            result |= flat(value, f"{above}{key}.")
        else:
            result[f"{above}{key}"] = list(value) if isinstance(value, tuple) else value
    return result


def digest(*values: Any) -> str:
    """16 hexadecimal digits of tensors and of what JSON can hold: equal values, equal digits."""
    hasher = hashlib.sha256()
    for value in values:
        if isinstance(value, Tensor):
            array = value.detach().cpu().contiguous()
            hasher.update(f"{array.dtype} {tuple(array.shape)}".encode())
            hasher.update(array.flatten().view(torch.uint8).numpy().data)
        else:
            hasher.update(json.dumps(value, sort_keys=True).encode(errors="surrogateescape"))
        hasher.update(b"\0")
    return hasher.hexdigest()[:16]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
