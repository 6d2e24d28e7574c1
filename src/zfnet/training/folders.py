"""Where a run lives: a folder named after its command line, so that `resume=true` finds it again.

    python train.py model=alexnet seed=2               →  outputs/train/model-alexnet_seed-2
    the same again                                      →  outputs/train/model-alexnet_seed-2.2
    the same with resume=true                           →  goes on in the latest of them
    python train.py name=demo                           →  outputs/train/demo
    python train.py seed=1,2 --multirun, once or again  →  outputs/sweeps/seed-1-2-HASH

Nothing of an earlier run is ever written over: each fresh run claims a folder of its own, and a sweep goes on
with what is not finished. Processes started together from outside (torchrun, SLURM) must agree without talking,
so they share the name without a number.
"""

import hashlib
import os
import re
from functools import cache
from pathlib import Path

LONGEST = 100  # characters of a folder's name
NOT_IN_NAME = ("hydra.", "hydra/", "resume=", "name=")


def project_root() -> Path:
    """The checkout that holds `conf` and `train.py`; the working directory for an installed wheel."""
    checkout = Path(__file__).parents[3]
    return checkout if (checkout / "train.py").is_file() else Path.cwd()


def config_folder() -> Path:
    """Hydra's `conf`: at the checkout's top, or inside an installed wheel."""
    checkout = project_root() / "conf"
    return checkout if checkout.is_dir() else Path(__file__).parents[1] / "conf"


def slug(text: str) -> str:
    """`text` as one folder name: safe on every shell and in Hydra's `ckpt=`; a hash replaces what is lost."""
    short = re.sub(r"[^A-Za-z0-9_.+-]+", "-", re.sub(r"[^=,\s]*/", "", text)).strip("-.")
    if short == re.sub("[=,]", "-", text) and len(short) <= LONGEST:
        return short or "default"
    return f"{short[:LONGEST] or 'run'}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def run_name(arguments: list[str]) -> str:
    """The name that a command line's overrides give: `name=` if there is one, else all of them."""
    overrides = [a for a in arguments if not a.startswith("-") and ("=" in a or a.startswith("~"))]
    for override in overrides:
        if override.startswith("name=") and override != "name=null":
            return slug(override.removeprefix("name="))
    return "_".join(sorted(slug(o) for o in overrides if not o.startswith(NOT_IN_NAME))) or "default"


def sweep_folder(parent: Path, name: str) -> Path:
    """`parent/name`, cut to what a file system takes."""
    return parent / (slug(name) if len(name) > 2 * LONGEST else name)


@cache
def run_folder(parent: Path, name: str, resume: bool) -> Path:
    """Claims `parent/name`, or `name.2`, `name.3`, ...; with `resume` the latest that is there."""
    first = sweep_folder(parent, name)
    started_outside = any(variable in os.environ for variable in ("TORCHELASTIC_RUN_ID", "SLURM_PROCID"))
    if started_outside:
        return first
    version, folder = 1, first
    while folder.exists():
        following = parent / f"{name}.{version + 1}"
        if resume and not following.exists():
            return folder
        version, folder = version + 1, following
    try:
        folder.mkdir(parents=True)
    except FileExistsError:  # another run claimed it in between
        return run_folder.__wrapped__(parent, name, resume)
    return folder


def wants_resume(arguments: list[str]) -> bool:
    """Whether a command line says resume=true, as YAML reads it."""
    values = [a.partition("=")[2] for a in arguments if a.startswith("resume=")]
    return bool(values) and values[-1].lower() in ("true", "yes", "on", "1")
