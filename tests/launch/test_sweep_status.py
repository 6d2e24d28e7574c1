"""`sweep=status` tells running from dead jobs, changes nothing, and expects the right end."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from lightning import Trainer

from tests.helpers.commands import Ended
from zfnet.errors import InputError
from zfnet.io import save_json, try_lock
from zfnet.launch.manifest import begin, note
from zfnet.launch.run_progress import RunProgress, read_progress
from zfnet.launch.sweep_status import (
    JobStatus,
    SweepStatus,
    clock_time,
    find_sweep,
    read_status,
)

NOW = 1_800_000_000.0
SHARED = ["trainer.max_epochs=10", "name=a"]
JOBS = [[*SHARED, f"seed={seed}"] for seed in range(1, 8)]
HERE = platform.node()


def progress(epoch: float, written: float = NOW) -> dict[str, float]:
    values = {"epoch": epoch, "epochs": 10, "seconds_per_epoch": 60.0, "images_per_second": 400}
    return {**values, "written": written}


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Job 1 has finished, 2 runs here, 3 and 4 elsewhere, 5 has died, 6 was stopped, 7 waits."""
    monkeypatch.setattr(sys, "argv", ["train.py", "seed=1,2", "--multirun"])
    begin(tmp_path, Path("/x/train.py"), [*SHARED[:1], "seed=1,2,3,4,5,6,7"], JOBS)
    here = {"host": HERE, "pid": os.getpid(), "started": NOW - 300, "error": None}
    what = {
        1: {"state": "finished", "ended": NOW - 60},
        2: {"state": "running"},
        3: {"state": "running", "host": "node7"},
        4: {"state": "running", "host": "node8"},
        5: {"state": "running", "pid": dead_process()},
        6: {"state": "failed", "error": "stopped by SIGTERM"},
    }
    for number, given in what.items():
        folder = tmp_path / f"seed-{number}"
        folder.mkdir()
        note(tmp_path, folder.name, overrides=JOBS[number - 1], **{**here, **given})
        if number != 3:
            save_json(folder / "progress.json", progress(number))
        age = 3600 if number == 4 else 0
        for path in (folder, *folder.iterdir()):
            os.utime(path, (NOW - age, NOW - age))
    (tmp_path / "seed-1" / "result.json").write_text('{"val/top1_error": 0.25, "seconds": 9}')
    return tmp_path


def test_each_job_has_its_state(sweep: Path) -> None:
    status = read_status(sweep, NOW)
    assert [job.state for job in status.jobs] == [
        *("finished", "running", "running", "silent", "died", "stopped", "waiting")
    ]
    assert [job.overrides for job in status.jobs] == [f"seed={seed}" for seed in range(1, 8)]
    assert [job.outcome for job in status.jobs] == [
        *("validation top-1 error 25.0%", "", "", "no sign of life for 1 h 0 min", ""),
        *("stopped by SIGTERM", ""),
    ]
    assert status.jobs[0].seconds == 240
    assert status.jobs[1].ends == NOW + 8 * 60  # eight epochs of a minute are left
    assert status.jobs[2].ends is None  # it has made no step yet


def test_overrides_are_shown_as_they_were_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs note `++optimizer.lr=1`, which Hydra accepts for `optimizer.lr=1`."""
    monkeypatch.setattr(sys, "argv", ["train.py"])
    begin(tmp_path, Path("/x/train.py"), ["++optimizer.lr=1,2"], [["++optimizer.lr=1"]])
    assert [job.overrides for job in read_status(tmp_path, NOW).jobs] == ["optimizer.lr=1"]


def test_it_only_reads(sweep: Path) -> None:
    """Locks of others do not stop it, and no file is made, changed or locked."""
    before = {path: path.stat().st_mtime_ns for path in sweep.rglob("*")}
    locks = [try_lock(path) for path in (sweep / ".manifest.lock", sweep / "seed-2" / ".lock")]
    after = read_status(sweep, NOW).lines()
    for lock in locks:
        assert lock is not None
        os.close(lock)
    (sweep / "seed-2" / ".lock").unlink()
    assert {path: path.stat().st_mtime_ns for path in sweep.rglob("*")} == before | {
        sweep / "seed-2": (sweep / "seed-2").stat().st_mtime_ns
    }
    assert after[1].split() == [
        *("job", "overrides", "state", "epoch", "images/s", "s/epoch", "ends", "result")
    ]
    assert after[3].startswith("2    seed=2     running   2/10   400       60       ")
    assert "(in 8 min)" in after[3]
    assert after[-1].startswith(
        "7 jobs: 1 finished, 2 running, 1 silent, 1 died, 1 stopped, 1 waiting; expected to end"
    )


def test_the_expected_end_by_hand() -> None:
    """Two at a time: ends at 100 and 400, jobs of 200, three wait: 300, 500, then 600."""
    done = JobStatus("", "finished", seconds=200.0)
    running = [JobStatus("", "running", ends=NOW + left) for left in (100, 400)]
    waiting = [JobStatus("", "waiting")] * 3
    assert SweepStatus(Path("x"), [done, *running, *waiting], NOW).expected_end() == NOW + 600
    assert SweepStatus(Path("x"), [done, *running], NOW).expected_end() == NOW + 400
    assert SweepStatus(Path("x"), [done, *waiting], NOW).expected_end() is None  # nothing runs
    assert SweepStatus(Path("x"), [*running, *waiting], NOW).expected_end() is None  # how long?


def test_a_sweep_that_ended_says_how_to_go_on() -> None:
    jobs = [JobStatus("", "finished"), JobStatus("", "failed")]
    last = SweepStatus(Path("x"), jobs, NOW, active=False).lines()[-1]
    assert last == (
        "2 jobs: 1 finished, 1 failed; the sweep is not running: the same command goes on"
    )


def test_trials_of_optuna_wait_without_overrides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    begin(tmp_path, Path("/x/train.py"), [], 3)
    note(tmp_path, "0", overrides=["optimizer.lr=0.1"], state="failed", error="killed by SIGKILL")
    states = [(job.overrides, job.state) for job in read_status(tmp_path, NOW).jobs]
    assert states == [("optimizer.lr=0.1", "failed"), ("", "waiting"), ("", "waiting")]


@pytest.mark.parametrize("name", ["result.json", "progress.json"])
def test_a_damaged_file_of_a_job_is_named_in_its_line(sweep: Path, name: str) -> None:
    (sweep / "seed-2" / name).write_text('{"val/')
    job = read_status(sweep, NOW).jobs[1]
    assert f"{name}: is damaged" in job.outcome
    assert len(read_status(sweep, NOW).jobs) == 7


@pytest.mark.parametrize("content", ["{", '{"jobs": [{}]}', '{"jobs": [], "planned": [[1]]}'])
def test_a_damaged_manifest_is_one_line(sweep: Path, content: str) -> None:
    (sweep / "sweep.json").write_text(content)
    with pytest.raises(InputError, match=r"sweep\.json: is damaged"):
        read_status(sweep, NOW)


def test_which_sweep_is_shown(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no sweeps yet"):
        find_sweep(tmp_path / "default", named=False)
    for name, time in (("old", 1), ("new", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sweep.json").touch()
        os.utime(tmp_path / name / "sweep.json", (time, time))
    assert find_sweep(tmp_path / "old", named=True) == tmp_path / "old"
    assert find_sweep(tmp_path / "default", named=False) == tmp_path / "new"
    with pytest.raises(InputError, match=r"default: no sweep has been started.*name= one of new, "):
        find_sweep(tmp_path / "default", named=True)


def test_a_time_of_another_day_has_its_date() -> None:
    assert "(in 2 h 0 min)" in clock_time(NOW + 7200, NOW)
    assert clock_time(NOW + 7 * 86400, NOW).startswith("2027-01-22 ")


def test_the_command_prints_the_table(command: Callable[..., Ended], sweep: Path) -> None:
    done = command("sweep=status", f"hydra.sweep.dir={sweep}")
    assert done.status == 0
    assert done.output.splitlines()[0] == str(sweep)
    assert done.output.splitlines()[-1].startswith("7 jobs: 1 finished")
    wrong = command("sweep=stat", f"hydra.sweep.dir={sweep}", "--multirun")
    assert wrong.status == 1
    assert "sweep='stat' is unknown: choose one of status" in wrong.output + wrong.errors


def test_a_run_writes_its_progress(
    tiny_classifier: Callable[..., object],
    tiny_data: Callable[..., object],
    tiny_trainer: Callable[..., Trainer],
    tmp_path: Path,
) -> None:
    """12 images in batches of 4: three steps an epoch, four steps in all."""
    trainer = tiny_trainer(callbacks=[RunProgress(tmp_path)], max_epochs=5, max_steps=4)
    trainer.fit(tiny_classifier(), datamodule=tiny_data())  # type: ignore[arg-type]
    found = read_progress(tmp_path)
    assert found is not None
    assert found["epoch"] == found["epochs"] == pytest.approx(4 / 3)
    assert found["seconds_per_epoch"] > 0
    assert found["images_per_second"] > 0
    assert json.loads((tmp_path / "progress.json").read_text())["written"] == found["written"]
