"""The state of a sweep in `sweep.json`, which is rewritten whenever a job starts or ends.

    {"command": "python train.py experiment=table3_zfnet", "script": "/.../train.py",
     "overrides": [...], "planned": [["ablation=none"], ...], "versions": {"torch": "2.15.0", ...},
     "machine": {"host": ..., "pid": ..., "cpus": 2, "gpus": []},
     "jobs": [{"folder": "ablation-none", "overrides": [...], "state": "finished", "status": 0,
               "error": null, "host": ..., "pid": ..., "started": 1764550000.0, "ended": ...}, ...]}

    with manifest(folder) as sweep: sweep["jobs"].append(...)

A job is "finished" if its directory contains a result, "running" while a process executes it, and
"failed" otherwise. `status` is its exit status, and `error` is the reason in one line. `host` and
`pid` are those of the process that waits for it. Times are in seconds since 1970. `machine` is the
one on which the sweep was started last. `planned` lists the overrides of all jobs; a sweep of
Optuna has their number in `trials` instead.
"""

import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from zfnet.errors import InputError, one_line
from zfnet.io import file_lock, read_json, save_json, try_lock
from zfnet.launch.results import read_result

PACKAGES = ("visualizing-convnets", "torch", "torchvision", "lightning", "hydra-core")
REMEDY = "delete it: finished jobs are found by their results, and are not run again"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads the manifest of a sweep.

    Args:
        folder: the directory of the sweep.

    Returns:
        The manifest. It has no jobs if the file does not exist yet.

    Raises:
        InputError: if the file is damaged.
    """
    path = folder / "sweep.json"
    return read_json(path, REMEDY, _manifest) if os.path.lexists(path) else {"jobs": []}


def _manifest(content: Any) -> dict[str, Any]:
    """Checks the content of sweep.json. Nothing in it is ever executed."""
    kinds: dict[str, type] = {"jobs": list, "overrides": list, "planned": list, "trials": int}
    kinds |= {"machine": dict, "command": str, "script": str}
    jobs = [(job["folder"], job["state"], *job.get("overrides", [])) for job in content["jobs"]]
    jobs += content.get("planned", [])
    texts = [*content.get("overrides", []), *(text for job in jobs for text in job)]
    times = [job.get(key, 0.0) for job in content["jobs"] for key in ("started", "ended")]
    if not all(isinstance(content.get(key, kind()), kind) for key, kind in kinds.items()):
        raise TypeError("a value is of the wrong kind")
    if not all(isinstance(each, int | float | None) for each in times):
        raise TypeError("a time is no number")
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("an override, a folder or a state is no text")
    return content


@contextmanager
def manifest(folder: Path) -> Iterator[dict[str, Any]]:
    """Opens the manifest for changes by one process at a time, and writes it on exit.

    Args:
        folder: the directory of the sweep.
    """
    with file_lock([folder / ".manifest.lock"], "waiting for the sweep's manifest"):
        sweep = read_manifest(folder)
        yield sweep
        save_json(folder / "sweep.json", sweep)


def begin(
    folder: Path, script: Path, overrides: list[str], jobs: list[list[str]] | int = 0
) -> dict[str, Any]:
    """Records the start of a sweep, and the state of jobs that died with an earlier process.

    Args:
        folder: the directory of the sweep.
        script: the script that the jobs run.
        overrides: the overrides of the sweep.
        jobs: the overrides of each job, or how many jobs there will be if these are not known yet.

    Returns:
        The manifest.
    """
    with manifest(folder) as sweep:
        sweep |= {"trials": jobs} if isinstance(jobs, int) else {"planned": jobs}
        sweep |= {
            "command": shlex.join(["python", *sys.argv]),
            "script": str(script),
            "overrides": overrides,
            "versions": _versions(),
            "machine": _machine(),
        }
        for job in sweep["jobs"]:
            if job["state"] == "running" and not _in_use(folder / job["folder"]):
                job |= _what_became(folder / job["folder"])
    return sweep


def _what_became(folder: Path) -> dict[str, Any]:
    """Returns the state of a job whose process no longer exists."""
    try:
        finished = read_result(folder) is not None
    except InputError as error:  # a damaged result
        return {"state": "failed", "error": one_line(error)}
    return (
        {"state": "finished"} if finished else {"state": "failed", "error": "died with the sweep"}
    )


def note(folder: Path, job: str, **what: Any) -> None:
    """Updates the entry of a job, or adds one.

    Args:
        folder: the directory of the sweep.
        job: the directory of the job, relative to `folder`.
        what: the values to set.
    """
    with manifest(folder) as sweep:
        entry = next((entry for entry in sweep["jobs"] if entry["folder"] == job), None)
        if entry is None:
            entry = {"folder": job}
            sweep["jobs"].append(entry)
        entry |= what


def _in_use(folder: Path) -> bool:
    lock = try_lock(folder / ".lock")
    if lock is not None:
        os.close(lock)
    return lock is None


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # not installed
            continue
    return found


def _machine() -> dict[str, Any]:
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"host": platform.node(), "pid": os.getpid(), "cpus": os.cpu_count(), "gpus": gpus}
