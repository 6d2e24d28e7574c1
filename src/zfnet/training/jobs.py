"""A sweep: each job is a process of its own, one that dies dies alone, and the end says which did.

Lightning's DDP starts further processes by the command line it finds; inside a sweep that line is the whole
sweep's (Lightning#11300). So each job is `train.py <its overrides> hydra.run.dir=<its folder>`, which may
start what it likes.
"""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

log = logging.getLogger(__name__)


def run_job(overrides: list[str], folder: Path) -> float:
    """Runs train.py on `overrides` in `folder`; its validation top-1 error, nan when it failed."""
    script = Path(sys.argv[0]).resolve()
    status = subprocess.run([sys.executable, str(script), *overrides, f'hydra.run.dir="{folder}"']).returncode
    result = folder / "result.json"
    if status or not result.exists():
        log.error("the job in %s ended with exit status %d; the sweep goes on", folder, status)
        return float("nan")
    return float(json.loads(result.read_text())["val/top1_error"])


class SweepReport(Callback):
    """Names the jobs without a result at the end of a sweep, which then exits with 1."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folders = sorted(path for path in Path(config.hydra.sweep.dir).iterdir() if path.is_dir())
        failed = [path for path in folders if not (path / "result.json").exists()]
        log.info("%d of %d jobs finished", len(folders) - len(failed), len(folders))
        for path in failed:
            log.error(
                "no result in %s: its train.log says why; the same command with resume=true mends it", path
            )
        if failed:
            sys.exit(1)
