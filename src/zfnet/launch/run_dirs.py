"""Names and creates run directories; a name follows from the command line.

    python train.py model=alexnet seed=2               →  outputs/train/model-alexnet_seed-2
    the same again                                      →  outputs/train/model-alexnet_seed-2.2
    the same with resume=true                           →  continues in the latest of them
    python train.py name=demo                           →  outputs/train/demo
    python train.py seed=1,2 --multirun, once or again  →  outputs/sweeps/seed-1-2-HASH

An earlier run is never overwritten: each new run creates its own directory. A sweep continues with
its unfinished jobs. Processes that torchrun or SLURM started cannot agree on a number, so they use
the name without one. A run holds the lock of its directory until it ends.
"""

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

LONGEST = 150  # ASCII characters of a directory name, before its hash and its number
# An analysis continues in the same directory with another number of processes.
NOT_IN_NAME = ("resume", "name", "sweep", "accelerator", "devices", "num_nodes")
RESULTS = (".png", ".json", ".csv", ".html", ".md")  # of files that a run shows at its end
# Overrides that can be recovered from a name. A key has no dash, so the first dash of "key-value"
# stands for "=". In a value, an underscore before a letter would look like the start of the next
# key, so only the last override may have one.
CLEAR = re.compile(r"\+{0,2}[A-Za-z][A-Za-z0-9_.]*=[A-Za-z0-9.+-]+(_[0-9][A-Za-z0-9.+-]*)*")
CLEAR_LAST = re.compile(r"\+{0,2}[A-Za-z][A-Za-z0-9_.]*=[A-Za-z0-9.+-][A-Za-z0-9_.+-]*")


def slug(text: str) -> str:
    """Converts `text` to a directory name that needs no quoting in shells or in Hydra's `ckpt=`.

    A hash is added if characters are replaced.
    """
    return _name([text], clear=re.fullmatch(r"[A-Za-z0-9_+][A-Za-z0-9_.+-]*", text) is not None)


def run_name(words: Sequence[str], name: object = None) -> str:
    """Returns the directory name for the overrides of a command line, which may be in any order.

    Args:
        words: the overrides. Those of `NOT_IN_NAME` are ignored.
        name: the value of `name` in the config. If it is not None, the directory has this name.
    """
    if name is not None:
        return slug(str(name))
    texts: dict[str, list[str]] = {}
    for override in parse(words):
        key = override.key_or_group
        if key not in NOT_IN_NAME and not override.is_hydra_override():
            # The order of the overrides of one key is kept: the last one wins.
            texts.setdefault(key, []).append(_typed(override))
    ordered = [text for key in sorted(texts) for text in texts[key]]
    if not ordered:
        return "default"
    return _name(
        ordered,
        clear=all(map(CLEAR.fullmatch, ordered[:-1])) and bool(CLEAR_LAST.fullmatch(ordered[-1])),
    )


def _typed(override: Override) -> str:
    """Returns an override without the `++` that `normalize_words` adds."""
    return str(override.input_line).removeprefix("++")


def _name(texts: list[str], clear: bool) -> str:
    """Joins texts to a readable name. Adds a hash if it is not `clear`, or is too long."""
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
    """Returns the overrides that all jobs of a sweep share: values as Hydra writes them, by key.

    Args:
        words: the overrides of the sweep.
    """
    return {
        key: override.get_value_element_as_str()
        for key, override in last_of_each(words).items()
        if not override.is_sweep_override()
    }


def check_sweep(words: Sequence[str]) -> None:
    """Checks that a sweep lists no value twice, which would give two identical jobs.

    Args:
        words: the overrides of the sweep.

    Raises:
        InputError: if a value is listed twice.
    """
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
    """Returns the name of a job within its sweep.

    Args:
        words: the overrides of the job.
        shared: the keys that all jobs share. They are left out of the name.
    """
    return run_name(own_words(words, shared))


def own_words(words: Sequence[str], shared: Iterable[str]) -> list[str]:
    """Returns the overrides of a job that not all jobs of its sweep share.

    Args:
        words: the overrides of the job.
        shared: the keys that all jobs share.
    """
    keys = set(shared)
    return [
        word
        for word, each in zip(words, parse(words), strict=True)
        if each.get_key_element() not in keys
    ]


class ClaimRunDir(Callback):
    """A Hydra callback that creates a new directory for each run.

    The config names the directory without a number. If it exists, the callback adds a number.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        if any(word.startswith("hydra.run.dir=") for word in config.hydra.overrides.hydra):
            return
        try:
            if not isinstance(config.resume, bool):
                raise InputError(f"resume={config.resume}: must be true or false")
            folder = claim(Path(config.hydra.run.dir), config.resume)
        except Exception as error:  # Hydra would only warn
            print(explain(error)[0], file=sys.stderr)
            sys.exit(1)
        with read_write(config.hydra):
            config.hydra.run.dir = str(folder)


def claim(first: Path, resume: bool) -> Path:
    """Creates a run directory: `first`, or `first.2`, `first.3` and so on.

    Args:
        first: the directory without a number.
        resume: whether to return the latest existing directory instead, if there is one.

    Raises:
        InputError: if the directory cannot be created, or processes that torchrun or SLURM started
            would mix their results with earlier ones.
    """
    if any(variable in os.environ for variable in ("TORCHELASTIC_RUN_ID", "SLURM_PROCID")):
        if not resume and first.is_dir() and any(p.suffix in RESULTS for p in first.iterdir()):
            raise InputError(
                f"{first} holds results: resume=true goes on with them, name= starts another run"
            )
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
        if not folder.is_dir():  # a parent directory is a file
            raise InputError(
                f"{folder}: cannot be made, for {folder.parent} is no folder"
            ) from None
        return claim(first, resume)  # another run created it at the same time
    except OSError as error:
        with writing(folder):
            raise error
    return folder


_held: list[int] = []  # the locks of this process; the kernel releases them when it ends


def hold(folder: Path) -> None:
    """Locks a run directory until this process ends.

    Does nothing in a job of a sweep and in an additional process: the process that started it holds
    the lock.

    Args:
        folder: the run directory.

    Raises:
        InputError: if another process holds the lock.
    """
    if started_by_ours() or int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) > 0:
        return
    lock = try_lock(folder / ".lock")
    if lock is None:
        raise InputError(
            f"{folder}: another process works in it; wait for its end, or give another name="
        )
    _held.append(lock)
