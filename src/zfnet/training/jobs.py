"""A sweep: each job is a process of its own, one that dies dies alone, and the same command goes on.

    python train.py seed=1,2,3 --multirun                             # again: what finished is not run again
    python train.py seed=1,2,3 --multirun hydra/launcher=joblib hydra.launcher.n_jobs=2

Lightning's DDP starts further processes by the command line it finds; inside a sweep that line is the whole
sweep's (Lightning#11300). So each job is `train.py <its overrides> hydra.run.dir=<its folder>`, which may
start what it likes. It holds its folder's lock, stops when the sweep's process is killed, and the manifest
(manifest.py) says what became of it. SIGTERM to the sweep stops all of it in order.
"""

import logging
import math
import os
import platform
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from zfnet.errors import InputError
from zfnet.io import file_lock, try_lock
from zfnet.training.folders import NOT_IN_NAME
from zfnet.training.manifest import begin, note, read_manifest
from zfnet.training.processes import die_with, one_gpu
from zfnet.training.result import objective, read_result, summary

STARTED_BY = "ZFNET_SWEEP_PROCESS"  # in a job's environment: the process that ends with it
STOPPING = ".stopping"  # in a sweep's folder: SIGTERM came
log = logging.getLogger(__name__)


def fixed_words(words: list[str]) -> list[str]:
    """The overrides of a command line that all jobs share."""
    parsed = OverridesParser.create().parse_overrides(words)
    return sorted(
        word for word, override in zip(words, parsed, strict=True) if not override.is_sweep_override()
    )


def _words(hydra: Any) -> list[str]:
    return OmegaConf.to_container(hydra.overrides.task, resolve=False)  # type: ignore[return-value]


def stay_with_sweep() -> None:
    """A job's own process: it stops when the one that started it is killed."""
    if parent := os.environ.pop(STARTED_BY, None):
        die_with(int(parent))


def run_job(cfg: DictConfig, folder: Path) -> float:
    """Runs the current job of a sweep in `folder`; what it minimises (see `objective`), nan when it failed."""
    hydra = HydraConfig.get()
    sweep, overrides = Path(hydra.sweep.dir).absolute(), _words(hydra)
    head = read_manifest(sweep)
    if head["machine"]["host"] == platform.node() and head["machine"]["pid"] == os.getppid():
        die_with(os.getppid())  # a launcher's worker
    with ExitStack() as held:
        busy = f"{folder}: a process of an earlier sweep still works on this job; waiting for it"
        locks = [held.enter_context(file_lock([folder / ".lock"], busy))[1]]
        if result := read_result(folder):
            log.info("%s has finished already", folder)
            note(sweep, folder.name, overrides=overrides, state="finished", status=0, error=None)
            return objective(result)
        environment = os.environ | {STARTED_BY: str(os.getpid())}
        if cfg.trainer.accelerator == "gpu" and cfg.trainer.devices == 1 < torch.cuda.device_count():
            device, lock = held.enter_context(one_gpu())
            environment["CUDA_VISIBLE_DEVICES"] = device
            locks.append(lock)
        if (sweep / STOPPING).exists():
            note(sweep, folder.name, overrides=overrides, state="failed", status=None, error="not started")
            return math.nan
        note(sweep, folder.name, overrides=overrides, state="running", status=None, error=None)
        written = folder / f"{hydra.job.name}.log"
        start = written.stat().st_size if written.exists() else 0
        words = [*overrides, "hydra.mode=RUN", f'hydra.run.dir="{folder}"']
        if any((folder / "checkpoints").glob("*.ckpt")):
            words.append("resume=true")
        status = _process([sys.executable, head["script"], *words], environment, locks, sweep / STOPPING)
        if result := read_result(folder):
            note(sweep, folder.name, state="finished", status=status)
            return objective(result)
        error = _reason(status, written, start)
        note(sweep, folder.name, state="failed", status=status, error=error)
    log.error("the job in %s failed: %s; the sweep goes on", folder, error)
    return math.nan


def _process(command: list[str], environment: dict[str, str], locks: list[int], stopping: Path) -> int:
    """The exit status of a process that inherits `locks` and is asked to stop when `stopping` appears."""
    process = subprocess.Popen(command, env=environment, pass_fds=locks)
    try:
        while not stopping.exists():
            try:
                return process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                continue
        process.terminate()
    finally:  # an interrupt from the keyboard reaches it too
        process.wait()
    return process.returncode


def _reason(status: int, written: Path, start: int) -> str:
    """Why a process ended without a result: the last line it wrote to its log after `start`, or its status."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    if status == 128 + signal.SIGTERM:
        return "stopped by SIGTERM"
    text = written.read_bytes()[start:].decode(errors="replace") if written.exists() else ""
    last = text.rstrip().rpartition("\n")[2]
    return last.partition("] - ")[2] or last or f"exit status {status}"


class Sweep(Callback):
    """Begins a sweep, or goes on with it, and says at the end what each job came to; 1 is its exit status
    when a job has no result, 143 after SIGTERM."""

    def __init__(self) -> None:
        self.lock: int | None = None  # held while this process lives

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir).absolute()
        try:
            self._begin(folder, [word for word in _words(config.hydra) if not word.startswith(NOT_IN_NAME)])
        except (InputError, OSError, ValueError) as error:  # Hydra would make a warning of it
            log.error("%s", error)
            sys.exit(1)
        signal.signal(signal.SIGTERM, lambda *_: (folder / STOPPING).touch())

    def _begin(self, folder: Path, words: list[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        before = read_manifest(folder)
        self.lock = try_lock(folder / ".lock")
        if self.lock is None:
            raise InputError(f"{folder}: process {before['machine']['pid']} is running this sweep")
        if before["jobs"] and fixed_words(before["overrides"]) != fixed_words(words):
            raise InputError(f"{folder} is the sweep of {before['command']!r}: give another name=")
        (folder / STOPPING).unlink(missing_ok=True)
        states = [job["state"] for job in begin(folder, Path(sys.argv[0]).resolve(), words)["jobs"]]
        if states:
            finished = states.count("finished")
            log.info("going on in %s: %d finished, %d not", folder, finished, len(states) - finished)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir).absolute()
        jobs = read_manifest(folder)["jobs"]
        failed = [job for job in jobs if job["state"] != "finished"]
        log.info("%d of %d jobs finished in %s", len(jobs) - len(failed), len(jobs), folder)
        for job in jobs:
            if result := read_result(folder / job["folder"]):
                log.info("%s: %s", job["folder"], summary(result))
        for job in failed:
            log.error("no result in %s: %s", folder / job["folder"], job["error"])
        if (folder / STOPPING).exists():
            log.warning("stopped by SIGTERM; the same command goes on in %s", folder)
            sys.exit(143)
        if failed:
            log.error("the same command runs again what failed")
            sys.exit(1)
