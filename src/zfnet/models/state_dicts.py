"""Reads state dicts of other software: nested under a key, or with prefixed names.

>>> import torch
>>> from zfnet.models.state_dicts import find_state_dict, strip_prefixes
>>> checkpoint = {"epoch": 3, "model": {"module.fc.bias": torch.zeros(1)}}
>>> state = find_state_dict(checkpoint, "resnet.pt")
>>> strip_prefixes(state, ["fc.bias"], "resnet.pt")
{'fc.bias': tensor([0.])}
"""

import logging
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from zfnet.errors import InputError

log = logging.getLogger(__name__)

KEYS = ("state_dict", "model_state_dict", "model", "net")  # in order of preference
# Of DataParallel, torch.compile and Lightning.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
SHOWN = 8  # keys in a message


def find_state_dict(content: Any, source: object) -> dict[str, Tensor]:
    """Finds the state dict in a checkpoint, at the top level or nested under KEYS.

    Args:
        content: what `torch.load` returned.
        source: the file, for messages.

    Raises:
        InputError: there is none. The message names the keys that were found.
    """
    found, path = content, ""
    while not _is_state_dict(found):
        below = [
            key
            for key in KEYS
            if isinstance(found, Mapping) and isinstance(found.get(key), Mapping)
        ]
        if not below:
            place = f"below {path} " if path else ""
            keys = f"; {place}it has {_some(found)}" if isinstance(found, Mapping) and found else ""
            raise InputError(
                f"{source}: not a state dict (names → tensors), nor one under "
                f"{', '.join(KEYS)}{keys}"
            )
        path = f"{path}.{below[0]}" if path else below[0]
        found = found[below[0]]
    if path:
        others = [key for key in content if key != path.partition(".")[0]]
        log.info(
            "%s: the state dict is under %s%s",
            source,
            path,
            f", beside {_some(others)}" if others else "",
        )
    return dict(found)


def strip_prefixes(
    state: dict[str, Tensor], own: Collection[str], source: object
) -> dict[str, Tensor]:
    """Removes PREFIXES that all names share, until one of them is a name of the model.

    Args:
        state: parameter name → tensor.
        own: the model's own names.
        source: the file, for the log.
    """
    removed = ""
    while state and not set(state) & set(own):
        prefix = next(
            (each for each in PREFIXES if all(name.startswith(each) for name in state)), None
        )
        if prefix is None:
            break
        state = {name.removeprefix(prefix): value for name, value in state.items()}
        removed += prefix
    if removed:
        log.info("%s: the prefix %s of its names is removed", source, removed)
    return state


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(
            isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
        )
    )


def _some(keys: Collection[Any]) -> str:
    names = [str(key) for key in keys]
    return ", ".join(names[:SHOWN]) + (
        f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    )
