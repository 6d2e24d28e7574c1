"""Where a run lives: a folder named after its command line, so that `resume=true` finds it again.

    python train.py model=alexnet seed=2               →  outputs/train/model-alexnet_seed-2
    the same again                                      →  outputs/train/model-alexnet_seed-2.2
    the same with resume=true                           →  goes on in the latest of them
    python train.py name=demo                           →  outputs/train/demo
    python train.py seed=1,2 --multirun, once or again  →  outputs/sweeps/seed-1-2-HASH

Nothing of an earlier run is ever written over: each fresh run claims a folder of its own, and a
sweep goes on with what is not finished. Processes started together from outside (torchrun, SLURM)
must agree without talking, so they share the name without a number. A run holds the lock of its
folder while it lives."""

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override, ValueType
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, read_write

from zfnet.errors import InputError
from zfnet.io import try_lock, writing
from zfnet.launch.command_line import last_of_each, parse
from zfnet.launch.error_messages import explain
from zfnet.launch.processes import started_by_ours

LONGEST = 150  # characters of a folder's name, all ASCII, before its hash and its number
NOT_IN_NAME = ("resume", "name")
# Overrides that their names give back: no dash in a key, so that the first dash of "key-value"
# stands for "=". An underscore before a letter in a value would read like the next key; it is
# certain in the last override only.
CLEAR = re.compile(r"\+{0,2}[A-Za-z][A-Za-z0-9_.]*=[A-Za-z0-9.+-]+(_[0-9][A-Za-z0-9.+-]*)*")
CLEAR_LAST = re.compile(r"\+{0,2}[A-Za-z][A-Za-z0-9_.]*=[A-Za-z0-9.+-][A-Za-z0-9_.+-]*")


def slug(text: str) -> str:
    """`text` as one folder name that shells and Hydra's `ckpt=` take as it is. A hash stands for
    what is lost."""
    return _name([text], clear=re.fullmatch(r"[A-Za-z0-9_+][A-Za-z0-9_.+-]*", text) is not None)


def run_name(words: Sequence[str], name: object = None) -> str:
    """The folder's name for the overrides of a command line. Equal ones give equal names, in any
    order.

    Args:
        words: the overrides. `resume` and `name` have no part in it.
        name: what the config has as `name`, if anything: then the folder is called so.
    """
    if name is not None:
        return slug(str(name))
    texts: dict[str, list[str]] = {}
    for override in parse(words):
        key = override.key_or_group
        if key not in NOT_IN_NAME and not override.is_hydra_override():
            texts.setdefault(key, []).append(
                _typed(override)
            )  # in their order: the last one counts
    ordered = [text for key in sorted(texts) for text in texts[key]]
    if not ordered:
        return "default"
    return _name(
        ordered,
        clear=all(map(CLEAR.fullmatch, ordered[:-1])) and bool(CLEAR_LAST.fullmatch(ordered[-1])),
    )


def _typed(override: Override) -> str:
    """An override without the `++` that `normalize_words` puts before it."""
    return str(override.input_line).removeprefix("++")


def _name(texts: list[str], clear: bool) -> str:
    """The texts, readable and joined; with a hash of them where that is not `clear`, or too
    long."""
    readable = [
        re.sub(r"[^A-Za-z0-9_.+-]+", "-", re.sub(r"[^=,\s]*/", "", text)).strip("-.")
        for text in texts
    ]
    short = "_".join(part for part in readable if part) or "run"
    if clear and len(short) <= LONGEST and short == "_".join(texts).replace("=", "-"):
        return short
    digest = hashlib.sha256("\0".join(texts).encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{short[:LONGEST]}-{digest}"


def fixed_words(words: Sequence[str]) -> dict[str, str]:
    """The overrides of a sweep that all its jobs share, by key, with their values as Hydra writes
    them."""
    return {
        key: override.get_value_element_as_str()
        for key, override in last_of_each(words).items()
        if not override.is_sweep_override()
    }


def check_sweep(words: Sequence[str]) -> None:
    """Raises InputError where a sweep lists a value twice, for the two jobs would be the same."""
    for key, override in last_of_each(words).items():
        if override.value_type in (ValueType.CHOICE_SWEEP, ValueType.SIMPLE_CHOICE_SWEEP):
            values = list(override.sweep_string_iterator())
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise InputError(
                    f"{_typed(override)}: {key.lstrip('+')}={twice} is listed twice; list each "
                    "value of a sweep once"
                )


def job_name(words: Sequence[str], shared: Iterable[str]) -> str:
    """A job's name within its sweep: its overrides without the keys that all jobs share."""
    keys = set(shared)
    own = [
        word
        for word, each in zip(words, parse(words), strict=True)
        if each.get_key_element() not in keys
    ]
    return run_name(own)


class ClaimRunDir(Callback):
    """Hydra's callback that gives each run a folder of its own, once its config is composed. The
    config of a run names the folder without a number; this makes it, with a number where it is
    there already."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        if any(word.startswith("hydra.run.dir=") for word in config.hydra.overrides.hydra):
            return
        try:
            if not isinstance(config.resume, bool):
                raise InputError(f"resume={config.resume}: must be true or false")
            folder = claim(Path(config.hydra.run.dir), config.resume)
        except Exception as error:  # Hydra would make a warning of it
            print(explain(error)[0], file=sys.stderr)
            sys.exit(1)
        with read_write(config.hydra):
            config.hydra.run.dir = str(folder)


def claim(first: Path, resume: bool) -> Path:
    """Makes the folder `first`, or `first.2`, `first.3`, ...; with `resume` takes the latest that
    is there.

    Raises:
        InputError: it cannot be made.
    """
    if any(variable in os.environ for variable in ("TORCHELASTIC_RUN_ID", "SLURM_PROCID")):
        return first
    version, folder = 1, first
    while folder.exists():
        following = first.with_name(f"{first.name}.{version + 1}")
        if resume and not following.exists():
            return folder
        version, folder = version + 1, following
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():  # its parent, or one above it, is a file
            raise InputError(
                f"{folder}: cannot be made, for {folder.parent} is no folder"
            ) from None
        return claim(first, resume)  # another run claimed it in between
    except OSError as error:
        with writing(folder):
            raise error
    return folder


_held: list[int] = []  # the locks of this process, which are the kernel's to take back


def hold(folder: Path) -> None:
    """Holds the lock of a run's folder for the life of this process. A sweep's job and the further
    processes of a run leave that to the process that started them.

    Raises:
        InputError: another process works in `folder`.
    """
    if started_by_ours() or int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) > 0:
        return
    lock = try_lock(folder / ".lock")
    if lock is None:
        raise InputError(
            f"{folder}: another process works in it; wait for its end, or give another name="
        )
    _held.append(lock)
