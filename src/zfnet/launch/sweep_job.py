"""One job of a sweep: a separate command, whose state is recorded in the manifest.

Lightning's DDP starts processes from the command line that it finds, which inside a sweep is that
of the whole sweep (Lightning#11300). Therefore each job is a separate command, `train.py
<overrides> hydra.run.dir=<directory>`, which can use DDP. A job holds the lock of its directory and
stops if the sweep's process is killed.

SLURM may start several processes of a job, such as one for each GPU of two machines. Each runs the
command, when the first does. The first does all else. When the command of one fails, it says so in
a file, and the others end theirs.
"""

import logging
import math
import os
import platform
import signal
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from zfnet.errors import InputError, one_line
from zfnet.io import file_lock, save
from zfnet.launch.command_line import quoted
from zfnet.launch.job_process import reason, run_process
from zfnet.launch.manifest import note, read_manifest
from zfnet.launch.processes import (
    LOST_CONNECTION,
    child_environment,
    one_gpu,
    started_outside,
    terminate_with_parent,
)
from zfnet.launch.project import config_folder, project_root
from zfnet.launch.results import objective, read_result
from zfnet.launch.run_dirs import fixed_words
from zfnet.launch.stopping import SWEEP_GRACE, stop

STOPPING = ".stopping"  # a file in the sweep's directory: the sweep received a signal
OF_SWEEP = (  # prefixes of overrides that apply to the sweep and not to its jobs
    "hydra.sweep",
    "hydra.launcher",
    "hydra/launcher",
    "hydra/sweeper",
    "hydra.mode",
    "hydra.run.",
)
OTHERS = 5.0  # seconds that another process of a job has to say why it failed
ON_GPU = ("auto", "cuda", "gpu")  # accelerators
log = logging.getLogger(__name__)


def words_of(overrides: Any) -> list[str]:
    """Returns overrides of the `hydra` config as they were typed."""
    return OmegaConf.to_container(overrides, resolve=False)  # type: ignore[return-value]


def script() -> Path:
    """Returns the script that a job runs."""
    return project_root() / "train.py"


def job_command(hydra: Any, folder: Path) -> list[str]:
    """Returns the command line of a job: its overrides and Hydra's, without those of the sweep.

    Args:
        hydra: the `hydra` config of the job.
        folder: the directory of the job.
    """
    sources = {source.provider: source.path for source in hydra.runtime.config_sources}
    options = [f"--config-name={hydra.job.config_name}"]
    if sources["main"] != str(config_folder()):
        options.append(f"--config-path={sources['main']}")
    if "command-line" in sources:
        options.append(f"--config-dir={sources['command-line']}")
    of_hydra = [word for word in words_of(hydra.overrides.hydra) if not word.startswith(OF_SWEEP)]
    words = [
        *words_of(hydra.overrides.task),
        *of_hydra,
        "hydra.mode=RUN",
        f"hydra.run.dir={quoted(str(folder))}",
    ]
    return [sys.executable, str(script()), *options, *words]


def run_job(cfg: DictConfig, folder: Path) -> float:
    """Runs the current job of a sweep.

    Args:
        cfg: the composed config of the job.
        folder: the directory of the job.

    Returns:
        The value that the sweep minimizes (see `objective`), or nan if the job failed.

    Raises:
        InputError: if another job of the sweep has the same directory.
    """
    hydra = HydraConfig.get()
    sweep, overrides = Path(hydra.sweep.dir).absolute(), words_of(hydra.overrides.task)
    stopping = sweep / STOPPING
    head = read_manifest(sweep)
    machine = head.get("machine", {})
    here, pid = machine.get("host") == platform.node(), machine.get("pid")
    stop.watch()  # a launcher's worker is a separate process
    if here and pid in (os.getpid(), os.getppid()):
        stop.hold(lambda: stopping.touch(), SWEEP_GRACE)
    else:  # a job of a cluster: a signal is for this job alone
        stop.hold(grace=SWEEP_GRACE)
    if here and pid == os.getppid():
        terminate_with_parent(os.getppid())  # a launcher's worker
    if rank := _rank():
        return _run_further(folder, job_command(hydra, folder), rank, stopping)
    name = os.path.relpath(folder, sweep)
    others = [job.get("overrides", overrides) for job in head["jobs"] if job["folder"] == name]
    if folder == sweep or any(fixed_words(other) != fixed_words(overrides) for other in others):
        raise InputError(
            f"{folder} is the folder of another job, too: hydra.sweep.subdir must tell jobs apart"
        )
    try:
        return _run_job(cfg, folder, sweep, name, job_command(hydra, folder))
    except InterruptedError:
        error = "not started"
    except InputError as wrong:
        error = one_line(wrong)
        log.error("the job in %s failed: %s; the sweep goes on", folder, error)
    if started_outside() > 1:
        _tell(_sign(folder, "failed"), error)
    note(sweep, name, overrides=overrides, state="failed", status=None, error=error)
    return math.nan


def _run_job(cfg: DictConfig, folder: Path, sweep: Path, name: str, command: list[str]) -> float:
    """Runs `command`. Raises InterruptedError if the sweep is stopped before the job starts."""
    hydra, several, failed = HydraConfig.get(), started_outside() > 1, _sign(folder, "failed")
    asked = partial(_is_asked_to_stop, sweep / STOPPING, *([failed] if several else []))
    overrides = words_of(hydra.overrides.task)
    with ExitStack() as held:
        busy = f"{folder}: a process of an earlier sweep still works on this job; waiting for it"
        locks = [held.enter_context(file_lock([folder / ".lock"], busy, asked))[1]]
        if result := read_result(folder):
            log.info("%s has finished already", folder)
            note(sweep, name, overrides=overrides, state="finished", status=0, error=None)
            return objective(result, cfg.optimized_metric)
        environment = _environment()
        if (
            cfg.trainer.accelerator in ON_GPU
            and cfg.trainer.devices == 1 < torch.cuda.device_count()
            and not several
        ):
            device, lock = held.enter_context(one_gpu(asked))
            environment["CUDA_VISIBLE_DEVICES"] = device
            locks.append(lock)
        if asked():
            raise InterruptedError
        now = {"host": platform.node(), "pid": os.getpid(), "started": time.time(), "ended": None}
        note(sweep, name, overrides=overrides, state="running", status=None, error=None, **now)
        written = folder / f"{hydra.job.name}.log"
        start = written.stat().st_size if written.exists() else 0
        if several:
            _sign(folder, "started").touch()
        status = run_process(_resumed(command, folder), environment, locks, asked)
        if result := read_result(folder):
            note(sweep, name, state="finished", status=status, ended=time.time())
            return objective(result, cfg.optimized_metric)
        error = reason(status, written, start)
        if several:
            error = _tell(failed, error)
        note(sweep, name, state="failed", status=status, error=error, ended=time.time())
    log.error("the job in %s failed: %s; the sweep goes on", folder, error)
    return math.nan


def _run_further(folder: Path, command: list[str], rank: int, stopping: Path) -> float:
    """Runs the command of a job in a process after the first, which has its own log file."""
    failed, started = (_sign(folder, what) for what in ("failed", "started"))
    asked = partial(_is_asked_to_stop, stopping, failed)
    while not (started.exists() or asked() or read_result(folder)):
        time.sleep(0.2)
    if started.exists() and not asked():
        name = f"{HydraConfig.get().job.name}_process_{rank}"
        words = [f"hydra.job.name={name}", "hydra.output_subdir=null"]
        status = run_process([*_resumed(command, folder), *words], _environment(), [], asked)
        if status:
            _tell(failed, f"process {rank + 1}: {reason(status, folder / f'{name}.log', 0)}")
    return math.nan


def _rank() -> int:
    """Which of the processes that SLURM started for this job this one is."""
    return int(os.environ["SLURM_PROCID"]) if started_outside() > 1 else 0


def _sign(folder: Path, what: str) -> Path:
    """A file for the other processes of this job: it has "started", or why it has "failed"."""
    get = os.environ.get
    return folder / f".{what}_{get('SLURM_JOB_ID', '')}_{get('SLURM_RESTART_COUNT', '0')}"


def _tell(failed: Path, error: str) -> str:
    """Writes why this process of a job failed, unless another one has. Returns what is written.

    A process that has lost the connection to another one lets that one tell.
    """
    until = time.monotonic() + (OTHERS if LOST_CONNECTION.search(error) else 0)
    while not failed.exists() and time.monotonic() < until:
        time.sleep(0.1)
    if not failed.exists():
        save(failed, error.encode(errors="surrogateescape"), durable=False)
    return failed.read_text(errors="replace")


def _environment() -> dict[str, str]:
    """The environment of the command.

    One process of a job starts the others itself. In a job of SLURM, Lightning would expect srun to
    start them, as it has done if there are several.
    """
    environment = child_environment(signal.SIGTERM)
    if started_outside() > 1:
        return environment
    return {name: value for name, value in environment.items() if not name.startswith("SLURM_")}


def _resumed(command: list[str], folder: Path) -> list[str]:
    """The command of a job, which continues from its checkpoint if there is one."""
    has_checkpoint = any((folder / "checkpoints").glob("*.ckpt"))
    return [*command, "++resume=true"] if has_checkpoint else command


def _is_asked_to_stop(*files: Path) -> bool:
    """Whether this process received a signal, or one of the files is there: the sweep received one,
    or another process of the job failed."""
    return stop.number is not None or any(file.exists() for file in files)
