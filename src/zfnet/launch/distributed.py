"""Starts and ends the additional processes of a run on several devices.

    start_ranks_as_ours(trainer.strategy)        # before trainer.fit

Lightning starts these processes from the command line that it finds. When one of them dies,
Lightning kills all of them and logs nothing. Here each process ends with the first process. When
one dies, the first process logs the reason and exits with status 1.
"""

import atexit
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.fabric.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.strategies.launchers.subprocess_script import (
    _SubprocessScriptLauncher as TrainerLauncher,
)
from omegaconf import DictConfig

from zfnet.errors import InputError
from zfnet.launch.command_line import with_words
from zfnet.launch.job_process import reason
from zfnet.launch.processes import LOST_CONNECTION, child_environment, started_outside
from zfnet.launch.stopping import stop

OWN_WORDS = 10.0  # seconds that the first process has to report an error itself
_launchers: list["RankLauncher"] = []  # of this process
log = logging.getLogger(__name__)


def check_started_once(cfg: DictConfig) -> None:
    """Checks that several processes were not started for a run of one process.

    Such processes would repeat the same work in the same directory.

    Args:
        cfg: the composed config.

    Raises:
        InputError: if torchrun, SLURM or MPI started several processes.
    """
    count = started_outside()
    trainer = cfg.trainer
    alone = trainer.get("devices", 1) == 1 and trainer.get("num_nodes", 1) == 1
    frozen = cfg.get("transfer") is not None and cfg.transfer.get("method") == "frozen"
    if count > 1 and (alone or frozen):
        remedy = "start it once" if frozen else "start it once, or choose trainer=ddp"
        raise InputError(f"{count} processes were started for what one process does: {remedy}")


def start_ranks_as_ours(strategy: Any) -> None:
    """Replaces Lightning's launcher by `RankLauncher`, if the strategy starts processes itself.

    Args:
        strategy: of a Trainer before `fit`, or of a Fabric before `launch`.
    """
    launcher = strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher | TrainerLauncher):
        strategy._launcher = RankLauncher(
            launcher.cluster_environment, launcher.num_processes, launcher.num_nodes
        )


def peer_error(error: Exception) -> str | None:
    """Returns why another process of this run died, if `error` is a lost connection to it.

    Waits up to 2 seconds for the process to end.

    Args:
        error: the error in this process.

    Returns:
        The reason, or None if the error has another cause.
    """
    if isinstance(error, RuntimeError) and LOST_CONNECTION.search(str(error)):
        for _ in range(10):
            for launcher in _launchers:
                if why := launcher.died():
                    return why
            time.sleep(0.2)
    return None


class RankLauncher(_SubprocessScriptLauncher):
    """Starts the additional processes of a run and monitors them."""

    def launch(self, function: Any, *args: Any, trainer: Any = None, **options: Any) -> Any:
        """Starts the processes, then calls `function` as Lightning's launchers do."""
        environment = self.cluster_environment
        if not environment.creates_processes_externally:
            environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
            # This sets LOCAL_RANK. Lightning's own launch then starts no further processes.
            self._call_children_scripts()
            _launchers.append(self)
            stop.before_forced.append(self.end)
            atexit.register(self._wait)
            threading.Thread(target=self._look_after, daemon=True, name="ranks").start()
        return super().launch(function, *args, **options)

    def _call_children_scripts(self) -> None:
        environment = self.cluster_environment
        os.environ |= {
            "MASTER_ADDR": environment.main_address,
            "MASTER_PORT": str(environment.main_port),
            "NODE_RANK": str(environment.node_rank()),
            "LOCAL_RANK": "0",
            "WORLD_SIZE": str(self.num_processes * self.num_nodes),
        }
        hydra = HydraConfig.get()
        self.folder, self.job = Path(hydra.runtime.output_dir), hydra.job.name
        for rank in range(1, self.num_processes):
            name = f"{self.job}_process_{rank}"  # the name of its log file
            words = {
                "hydra.run.dir": str(self.folder),
                "hydra.job.name": name,
                "hydra.output_subdir": None,
            }
            process = subprocess.Popen(
                [sys.executable, *with_words(sys.argv, words)],
                env={**child_environment(signal.SIGKILL), "LOCAL_RANK": str(rank)},
                cwd=hydra.runtime.cwd,
            )
            self.procs.append(process)

    def _look_after(self) -> None:
        """Monitors the processes. When one has died, logs the reason and ends all of them."""
        while stop.number is None:
            time.sleep(0.3)
            if self.died():
                time.sleep(OWN_WORDS)
                if stop.number is None:
                    log.error("the run failed: %s", self.died())
                    self.end()
                    os._exit(1)

    def died(self) -> str | None:
        """Returns why one of the additional processes died, or None if none has."""
        for rank, process in enumerate(self.procs, start=1):
            if process.poll():
                why = reason(process.returncode, self.folder / f"{self.job}_process_{rank}.log", 0)
                return f"process {rank + 1} of {self.num_processes}: {why}"
        return None

    def end(self) -> None:
        """Kills the additional processes."""
        for process in self.procs:
            process.kill()

    def _wait(self) -> None:
        """Waits for the additional processes at exit, then kills those that are left."""
        until = time.monotonic() + OWN_WORDS
        for process in self.procs:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
        self.end()
