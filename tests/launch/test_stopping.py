"""A process that is asked to stop ends within a bound, whatever it does."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.helpers.commands import Commands, Ended
from zfnet.errors import InputError
from zfnet.launch.distributed import check_started_once
from zfnet.launch.job_process import run_process

ALONE, TWO = {"trainer": {"devices": 1}}, {"trainer": {"devices": 2}}


@pytest.fixture
def run(commands: Commands, tmp_path: Path) -> Callable[..., Ended]:
    """A process that watches, and gets a signal from itself while it does what `lines` say."""

    def script(number: signal.Signals, *lines: str) -> Ended:
        head = (
            "import os, threading, time",
            "from zfnet.launch.stopping import stop",
            "stop.watch()",
        )
        kill = f"threading.Timer(0.3, os.kill, (os.getpid(), {int(number)})).start()"
        (tmp_path / "script.py").write_text("\n".join([*head, kill, *lines]))
        return commands.run(str(tmp_path / "script.py"), [], patience=60)

    return script


STATUSES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 138, signal.SIGUSR2: 140}


@pytest.mark.parametrize(("number", "status"), STATUSES.items())
def test_a_stop_that_nothing_holds_is_at_once(
    run: Callable[..., Ended], number: signal.Signals, status: int
) -> None:
    assert run(number, "time.sleep(100)").status == status


def test_a_stop_is_held_until_it_is_released(run: Callable[..., Ended]) -> None:
    lines = (
        "stop.hold()",
        "while stop.number is None: time.sleep(0.1)",
        "print('saved')",
        "stop.release()",
    )
    ended = run(signal.SIGTERM, *lines, "print('not reached')")
    assert (ended.status, ended.output) == (143, "saved\n")


def test_who_does_not_end_is_ended(run: Callable[..., Ended]) -> None:
    ended = run(signal.SIGTERM, "stop.hold(grace=1)", "while True: time.sleep(1)")
    assert ended.status == 143
    assert "not done within 1 s, so it was ended" in ended.errors


def test_a_job_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    """The child beats until it is killed, too."""
    (tmp_path / "child.py").write_text(
        "import pathlib, sys, time\nwhile True:\n    pathlib.Path(sys.argv[1]).touch()\n    "
        "time.sleep(0.1)\n"
    )
    (tmp_path / "parent.py").write_text(
        "import signal, subprocess, sys\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen([sys.executable, *sys.argv[1:]]).wait()\n"
    )
    beat, stopping = tmp_path / "beat", tmp_path / "stopping"
    command = [
        sys.executable,
        *(str(tmp_path / name) for name in ("parent.py", "child.py", "beat")),
    ]

    def ask() -> None:
        while not beat.exists():
            time.sleep(0.05)
        stopping.touch()

    threading.Thread(target=ask, daemon=True).start()
    assert run_process(command, os.environ, [], stopping.exists, grace=-4) == -signal.SIGKILL
    beat.unlink()
    time.sleep(1)
    assert not beat.exists()


def test_a_job_saves_before_submitit_requeues_it(tmp_path: Path) -> None:
    """A handler of submitit's ends this process by SystemExit, which the job must not lose."""
    (tmp_path / "job.py").write_text(
        "import pathlib, signal, sys, time\n"
        "def save(*_):\n"
        "    time.sleep(0.5)\n"
        "    pathlib.Path(sys.argv[1]).touch()\n"
        "    sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "pathlib.Path(sys.argv[2]).touch()\n"
        "time.sleep(100)\n"
    )
    saved, started = tmp_path / "saved", tmp_path / "started"
    command = [sys.executable, *(str(path) for path in (tmp_path / "job.py", saved, started))]

    def ask() -> None:
        while not started.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGUSR2)

    def requeue(*_: object) -> None:
        sys.exit(-1)

    before = signal.signal(signal.SIGUSR2, requeue)
    threading.Thread(target=ask, daemon=True).start()
    try:
        with pytest.raises(SystemExit):
            run_process(command, os.environ, [], lambda: False)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert saved.exists()


def test_the_handler_of_a_launcher_stays(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import os, signal, time\n"
        "signal.signal(signal.SIGUSR2, lambda *_: print('requeued', flush=True))\n"
        "from zfnet.launch.stopping import stop\n"
        "stop.watch()\n"
        "os.kill(os.getpid(), signal.SIGUSR2)\n"
        "time.sleep(0.5)\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        "time.sleep(100)\n"
    )
    ended = commands.run(str(tmp_path / "script.py"), [], patience=60)
    assert (ended.status, ended.output) == (138, "requeued\n")


OUTSIDE = [
    {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "1"},
    {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"},
    {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"},
]


@pytest.mark.parametrize("environment", OUTSIDE)
def test_processes_started_for_one_are_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for cfg in (ALONE, TWO | {"transfer": {"method": "frozen"}}):
        check_started_once(OmegaConf.create(cfg))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for cfg in (ALONE, TWO | {"transfer": {"method": "frozen"}}):
        with pytest.raises(InputError, match="processes were started for what one process does"):
            check_started_once(OmegaConf.create(cfg))
    check_started_once(OmegaConf.create(TWO))
