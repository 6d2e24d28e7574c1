"""A sweep as a user meets it: whatever dies, the same command goes on with what is not finished."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import pytest

from tests.helpers.commands import Ended
from zfnet.io import try_lock

Start = Callable[..., subprocess.Popen[str]]
Run = Callable[..., Ended]
WORDS = "_target_:tests.helpers.mishaps.Mishap,folder:'${hydra:runtime.output_dir}',seed:'${seed}'"
MISHAP = f"+callbacks.mishap={{{WORDS}}}"
QUIET = ("callbacks=[checkpoint,stop_checkpoint]", MISHAP, "test=false", "hydra.mode=MULTIRUN")
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


def jobs(sweep: Path) -> dict[str, dict[str, Any]]:
    return {job["folder"]: job for job in json.loads((sweep / "sweep.json").read_text())["jobs"]}


def lives(sweep: Path) -> dict[str, int]:
    """How many processes have trained in each job's folder."""
    return {
        path.parent.name: len(json.loads(path.read_text())) for path in sweep.glob("*/lives.json")
    }


def test_a_job_that_fails_fails_alone_and_the_same_command_mends_it(
    command: Run, tmp_path: Path
) -> None:
    """So does one with a damaged result, which is replaced by that of another."""
    sweep = tmp_path / "sweep"
    damaged = sweep / "seed-5" / "result.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text('{"val/top1')
    line = ("seed=5,1,4", f"hydra.sweep.dir={sweep}", *QUIET)
    first = command(*line)
    assert first.status == 1, first
    found = jobs(sweep)
    assert {name: job["state"] for name, job in found.items()} == {
        "seed-5": "failed",
        "seed-1": "failed",
        "seed-4": "finished",
    }
    assert "result.json: is damaged" in found["seed-5"]["error"]
    assert "RuntimeError: the oven is on fire" in found["seed-1"]["error"]
    assert f"no result in {sweep / 'seed-1'}: {found['seed-1']['error']}" in first.output
    assert "the oven is on fire" in (sweep / "seed-1" / "train.log").read_text()
    shutil.copy(sweep / "seed-4" / "result.json", damaged)
    again = command(*line)
    assert again.status == 0, again
    assert [job["state"] for job in jobs(sweep).values()] == ["finished"] * 3
    assert lives(sweep) == {"seed-1": 2, "seed-4": 1}


@pytest.mark.slow
def test_jobs_that_die_at_once_die_alone_and_the_same_command_mends_them(
    start: Start, command: Run, tmp_path: Path
) -> None:
    """First by joblib, two at once with a thread each for two processors; then one after the
    other."""
    sweep = tmp_path / "sweep"
    line = ("seed=1,2,4", f"hydra.sweep.dir={sweep}", *QUIET)
    with start(*line, *JOBLIB, threads=None) as process:
        output, errors = process.communicate(timeout=240)
    assert process.returncode == 1, output + errors
    found = jobs(sweep)
    assert {name: job["state"] for name, job in found.items()} == {
        "seed-1": "failed", "seed-2": "failed", "seed-4": "finished",
    }  # fmt: skip
    assert (found["seed-2"]["error"], found["seed-2"]["status"]) == ("killed by SIGKILL", -9)
    assert "seed=4" in found["seed-4"]["overrides"]
    for name, job in found.items():
        assert (f"no result in {sweep / name}: {job['error']}" in output) == (name != "seed-4")
    threads = json.loads((sweep / "seed-4" / "lives.json").read_text())
    assert threads == [max(1, joblib.cpu_count() // 2)]

    finished = {
        path: path.stat() for path in (sweep / "seed-4").rglob("*") if path.suffix != ".log"
    }
    again = command(*line)
    assert again.status == 0, again.output + again.errors
    assert "1 finished, 2 not" in again.output
    assert [job["state"] for job in jobs(sweep).values()] == ["finished"] * 3
    assert lives(sweep) == {"seed-1": 2, "seed-2": 2, "seed-4": 1}
    assert "going on from" in (sweep / "seed-2" / "train.log").read_text()
    assert {path: path.stat() for path in finished} == finished


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "launcher"),
    [(signal.SIGTERM, ()), (signal.SIGKILL, JOBLIB)],
    ids=["SIGTERM", "SIGKILL-joblib"],
)
def test_a_sweep_that_is_stopped_stops_its_jobs_and_goes_on(
    start: Start, command: Run, tmp_path: Path, number: signal.Signals, launcher: tuple[str, ...]
) -> None:
    sweep = tmp_path / "sweep"
    line = ("seed=3,4", f"hydra.sweep.dir={sweep}", *QUIET)
    with start(*line, *launcher) as process:
        until(lambda: (sweep / "seed-3" / "waiting").exists(), process)
        if not launcher:
            second = command(*line)  # while the first is at work
            assert second.status == 1
            assert f"process {process.pid} is running this sweep" in second.output
        os.kill(process.pid, number)
        output, _ = process.communicate(timeout=240)  # its jobs hold the pipe: they have ended, too
    lock = try_lock(sweep / "seed-3" / ".lock")
    assert lock is not None
    os.close(lock)
    assert (sweep / "seed-3" / "checkpoints" / "stop.ckpt").exists()
    assert not (sweep / "seed-3" / "result.json").exists()
    if number == signal.SIGTERM:
        assert process.returncode == 143
        assert "stopped by SIGTERM; the same command goes on" in output
        found = jobs(sweep)
        assert {name: (job["state"], job["status"]) for name, job in found.items()} == {
            "seed-3": ("failed", 143), "seed-4": ("failed", None),
        }  # fmt: skip
        assert [job["error"] for job in found.values()] == ["stopped by SIGTERM", "not started"]
    again = command(*line)
    assert again.status == 0, again.output + again.errors
    assert [job["state"] for job in jobs(sweep).values()] == ["finished"] * 2
    assert lives(sweep)["seed-3"] == 2
    assert "going on from" in (sweep / "seed-3" / "train.log").read_text()


def until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Waits two minutes at most, and no longer than the process lives."""
    for _ in range(1200):
        if happened() or process.poll() is not None:
            break
        time.sleep(0.1)
    assert happened()
