"""A process that is asked to stop ends within a bound, whatever it does."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from zfnet.errors import InputError
from zfnet.training.jobs import _process
from zfnet.training.ranks import check_started_once

ALONE, TWO = {"trainer": {"devices": 1}}, {"trainer": {"devices": 2}}


def script(*lines: str) -> subprocess.Popen[str]:
    """A process that watches, and has said so."""
    head = ("import time", "from zfnet.training.stopping import Stopped, stop", "stop.watch()")
    text = "\n".join([*head, "print('ready', flush=True)", *lines])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", text], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_that_nothing_holds_is_at_once(number: signal.Signals, status: int) -> None:
    with script("time.sleep(100)") as process:
        process.send_signal(number)
        assert process.wait(timeout=60) == status


def test_a_stop_is_held_until_it_is_released() -> None:
    lines = ("stop.hold()", "print('held', flush=True)", "while stop.number is None: time.sleep(0.1)")
    with script(*lines, "print('saved', flush=True)", "stop.release()", "print('not reached')") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60)[0] == "saved\n"
        assert process.returncode == 143


def test_who_does_not_end_is_ended() -> None:
    lines = ("stop.hold(grace=1)", "print('held', flush=True)", "while True: time.sleep(1)")
    with script(*lines) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143


def test_a_job_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    """The child beats until it is killed, too."""
    (tmp_path / "child.py").write_text(
        "import pathlib, sys, time\nwhile True:\n    pathlib.Path(sys.argv[1]).touch()\n    time.sleep(0.1)\n"
    )
    (tmp_path / "parent.py").write_text(
        "import signal, subprocess, sys\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen([sys.executable, *sys.argv[1:]]).wait()\n"
    )
    beat, stopping = tmp_path / "beat", tmp_path / "stopping"
    command = [sys.executable, *(str(tmp_path / name) for name in ("parent.py", "child.py", "beat"))]

    def ask() -> None:
        while not beat.exists():
            time.sleep(0.05)
        stopping.touch()

    threading.Thread(target=ask, daemon=True).start()
    assert _process(command, os.environ, [], stopping, grace=-4) == -signal.SIGKILL
    beat.unlink()
    time.sleep(1)
    assert not beat.exists()


OUTSIDE = [
    {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "1"},
    {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"},
    {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"},
]


@pytest.mark.parametrize("environment", OUTSIDE)
def test_processes_started_for_one_are_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for cfg in ({}, ALONE, TWO | {"transfer": {"method": "frozen"}}):
        check_started_once(OmegaConf.create(cfg))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for cfg in ({}, ALONE, TWO | {"transfer": {"method": "frozen"}}):
        with pytest.raises(InputError, match="processes were started for what one process does"):
            check_started_once(OmegaConf.create(cfg))
    check_started_once(OmegaConf.create(TWO))
