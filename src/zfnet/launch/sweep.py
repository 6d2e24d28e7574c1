"""Starts a sweep, or continues it: the same command runs the jobs that are not finished.

    python train.py seed=1,2,3 --multirun
    python train.py seed=1,2,3 hydra/launcher=joblib hydra.launcher.n_jobs=2 --multirun
    python train.py seed=1,2,3 sweep=status                 # see sweep_status.py

Finished jobs are not run again. The manifest (manifest.py) records the state of each job, and
sweep_job.py runs it. SIGTERM or SIGINT to the sweep stops all jobs.
"""

import logging
import signal
import sys
import time
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from zfnet.errors import InputError, check_choice
from zfnet.io import try_lock
from zfnet.launch.command_line import last_of_each, parse, quoted
from zfnet.launch.error_messages import explain
from zfnet.launch.manifest import begin, read_manifest
from zfnet.launch.processes import started_outside
from zfnet.launch.results import read_result, summary
from zfnet.launch.run_dirs import NOT_IN_NAME, check_sweep, fixed_words
from zfnet.launch.stopping import SWEEP_GRACE, Stopped, stop
from zfnet.launch.sweep_job import STOPPING, script, words_of
from zfnet.launch.sweep_status import find_sweep, read_status

log = logging.getLogger(__name__)


def _swept_words(hydra: Any) -> list[str]:
    """Returns the overrides of the sweep's config, then those of its command line, which win."""
    params = OmegaConf.select(hydra, "sweeper.params") or {}
    return [*(f"{key}={value}" for key, value in params.items()), *words_of(hydra.overrides.task)]


class Sweep(Callback):
    """A Hydra callback that starts or continues a sweep, and logs the state of each job at the end.

    The exit status is 1 if a job has no result, and that of `Stopped` after a signal.
    """

    def __init__(self) -> None:
        self.lock: int | None = None  # held until this process ends

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        hydra = config.hydra
        try:
            folder = Path(hydra.sweep.dir).absolute()
            words = _swept_words(hydra)
            if config.get("sweep") is not None:
                print_status(config.sweep, folder, words)
                sys.exit(0)
            self._begin(folder, words, _jobs(hydra, words))
        except Exception as error:  # Hydra would only warn
            log.error("%s", explain(error)[0])
            sys.exit(1)
        # Each job composes its config again, possibly in another process, and needs these values.
        shared = ",".join(quoted(key) for key in fixed_words(words))
        for word in (
            f"hydra.sweep.dir={quoted(str(folder))}",
            f"hydra.job.config.override_dirname.exclude_keys=[{shared}]",
        ):
            hydra.overrides.hydra.append(word)
        stop.hold(lambda: (folder / STOPPING).touch(), SWEEP_GRACE)

    def _begin(self, folder: Path, words: list[str], jobs: list[list[str]] | int) -> None:
        if started_outside() > 1:
            raise InputError(
                "a sweep starts its own processes: run it once, without torchrun or srun"
            )
        check_sweep(words)
        folder.mkdir(parents=True, exist_ok=True)
        before = read_manifest(folder)
        self.lock = try_lock(folder / ".lock")
        if self.lock is None:
            pid = before.get("machine", {}).get("pid", "another")
            raise InputError(f"{folder}: process {pid} is running this sweep")
        if before["jobs"] and _shared(before.get("overrides", [])) != _shared(words):
            raise InputError(
                f"{folder} is the sweep of {before.get('command')!r}: give another name="
            )
        (folder / STOPPING).unlink(missing_ok=True)
        own = [
            word
            for word, each in zip(words, parse(words), strict=True)
            if each.key_or_group not in NOT_IN_NAME
        ]
        states = [job["state"] for job in begin(folder, script(), own, jobs)["jobs"]]
        if states:
            finished = states.count("finished")
            log.info(
                "going on in %s: %d finished, %d not", folder, finished, len(states) - finished
            )

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        try:
            self._end(Path(config.hydra.sweep.dir).absolute())
        except Exception as error:
            log.error("%s", explain(error)[0])
            sys.exit(1)

    def _end(self, folder: Path) -> None:
        jobs = read_manifest(folder)["jobs"]
        failed = [job for job in jobs if job["state"] != "finished"]
        log.info("%d of %d jobs finished in %s", len(jobs) - len(failed), len(jobs), folder)
        for job in jobs:
            if job["state"] == "finished" and (result := read_result(folder / job["folder"])):
                log.info("%s: %s", job["folder"], summary(result))
        for job in failed:
            log.error("no result in %s: %s", folder / job["folder"], job["error"])
        if (folder / STOPPING).exists():
            stopped = Stopped(stop.number or signal.SIGTERM)
            log.warning("%s; the same command goes on in %s", stopped, folder)
            stopped.told = True
            raise stopped
        if failed:
            log.error("the same command runs again what failed")
            sys.exit(1)


def print_status(what: str, folder: Path, words: list[str]) -> None:
    """Prints how far a sweep is.

    Args:
        what: the value of `sweep`, "status".
        folder: the directory of the sweep that `words` name.
        words: its overrides. If they name no sweep, the one whose state changed last is shown.

    Raises:
        InputError: if there is no such sweep, its manifest is damaged, or `what` is unknown.
    """
    check_choice("sweep", what, ("status",))
    of_sweep = [key for key in last_of_each(words) if not key.startswith(("sweep", "paths."))]
    status = read_status(find_sweep(folder, named=bool(of_sweep)), time.time())
    print("\n".join(status.lines()))


def _jobs(hydra: Any, words: list[str]) -> list[list[str]] | int:
    """Returns the overrides of all jobs, or their number if the sweeper chooses them later."""
    if trials := OmegaConf.select(hydra, "sweeper.n_trials"):  # Optuna
        return int(trials)
    return BasicSweeper.split_arguments(parse(words), None)[0]


def _shared(words: list[str]) -> dict[str, str]:
    """Returns the shared overrides that identify a sweep: those that are part of its name."""
    return {
        key: value
        for key, value in fixed_words(words).items()
        if key.lstrip("+") not in NOT_IN_NAME
    }
