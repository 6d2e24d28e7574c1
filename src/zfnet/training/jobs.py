"""One job of a sweep as a process of its own.

Lightning's DDP starts further processes by the command line it finds; inside a sweep that line is the whole
sweep's (Lightning#11300). So each job is `train.py <its overrides> hydra.run.dir=<its folder>`: it may start
what it likes, and when it dies, it dies alone.
"""

import json
import subprocess
import sys
from pathlib import Path

from zfnet.errors import InputError


def run_job(overrides: list[str], folder: Path) -> float:
    """Runs train.py on `overrides` in `folder` and returns its validation top-1 error."""
    script = Path(sys.argv[0]).resolve()
    command = [sys.executable, str(script), *overrides, f'hydra.run.dir="{folder}"']
    status = subprocess.run(command).returncode
    if status:
        raise InputError(f"the job in {folder} ended with exit status {status}: its train.log says why")
    return float(json.loads((folder / "result.json").read_text())["val/top1_error"])
