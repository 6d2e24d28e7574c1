"""Fingerprints: what a file depends on, compared before the file is used again.

    save_json(path, {"fingerprint": asked, "found": ...})
    remedy = "give the same settings, or another name= for a new run"
    check_fingerprint(path, saved["fingerprint"], asked, remedy)

A fingerprint is a nested mapping of plain values.
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


def check_fingerprint(
    where: object, found: Mapping[str, Any], asked: Mapping[str, Any], remedy: str
) -> None:
    """Compares the fingerprint of a file with the one of this run.

    >>> check_fingerprint("run", {"seed": 0}, {"seed": 1}, "use another name=")
    Traceback (most recent call last):
    zfnet.errors.InputError: run was made with seed=0, and this run has seed=1; use another name=

    Args:
        where: the file or folder, for the message.
        found: the fingerprint of the file.
        asked: the fingerprint of this run.
        remedy: what the user can do, an imperative.

    Raises:
        InputError: a value differs.
    """
    old, new = flat(found), flat(asked)
    different = [
        key for key in old.keys() | new.keys() if old.get(key, MISSING) != new.get(key, MISSING)
    ]
    if different:
        key = min(different, key=lambda key: (key.count("."), key))  # the least nested key
        more = f" (and {len(different) - 1} more differ)" if different[1:] else ""
        raise InputError(
            f"{where} was made with {key}={_short(old.get(key, MISSING))}, and this run has "
            f"{key}={_short(new.get(key, MISSING))}{more}; {remedy}"
        )


def flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """A nested mapping with dotted keys; an empty mapping is a value.

    >>> flat({"model": {"edit": {}, "init": "he"}})
    {'model.edit': {}, 'model.init': 'he'}
    """
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            result |= flat(value, f"{above}{key}.")
        else:
            result[f"{above}{key}"] = list(value) if isinstance(value, tuple) else value
    return result


def digest(*values: Any) -> str:
    """A hash of tensors and of values that JSON can hold: 16 hexadecimal digits."""
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
