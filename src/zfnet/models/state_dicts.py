"""State dicts as other software writes them: below a key of a checkpoint, their names behind prefixes.

state = find_state_dict(torch.load("resnet.pt"), "resnet.pt")     # {"epoch": 3, "model": {...}} → the tensors
state = strip_prefixes(state, net.state_dict(), "resnet.pt")      # module.conv1.weight → conv1.weight
"""

import logging
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from zfnet.errors import InputError

log = logging.getLogger(__name__)

KEYS = ("state_dict", "model_state_dict", "model", "net")  # of checkpoints, in the order of preference
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")  # of DataParallel, torch.compile, Lightning
SHOWN = 8  # keys in a message


def find_state_dict(content: Any, source: object) -> dict[str, Tensor]:
    """The state dict that a file holds, itself or below one of KEYS, also one below another.

    Raises:
        InputError: there is none; the message names the keys that were found.
    """
    found, path = content, ""
    while not _is_state_dict(found):
        below = [key for key in KEYS if isinstance(found, Mapping) and isinstance(found.get(key), Mapping)]
        if not below:
            place = f"below {path} " if path else ""
            keys = f"; {place}it has {_some(found)}" if isinstance(found, Mapping) and found else ""
            raise InputError(
                f"{source}: not a state dict (names → tensors), nor one under {', '.join(KEYS)}{keys}"
            )
        path = f"{path}.{below[0]}" if path else below[0]
        found = found[below[0]]
    if path:
        others = [key for key in content if key != path.partition(".")[0]]
        log.info(
            "%s: the state dict is under %s%s", source, path, f", beside {_some(others)}" if others else ""
        )
    return dict(found)


def strip_prefixes(state: dict[str, Tensor], own: Collection[str], source: object) -> dict[str, Tensor]:
    """`state` with names as the net has them, `own`: PREFIXES that all of its names share are removed, while none
    of them is a name of the net."""
    removed = ""
    while state and not set(state) & set(own):
        prefix = next((each for each in PREFIXES if all(name.startswith(each) for name in state)), None)
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
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())
    )


def _some(keys: Collection[Any]) -> str:
    names = [str(key) for key in keys]
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
