"""sweep.json says what became of each job, also of killed ones, and is never half a file."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from omegaconf import DictConfig

from zfnet.io import file_lock
from zfnet.launch.manifest import begin, note, read_manifest
from zfnet.launch.sweep import Sweep


@pytest.fixture(autouse=True)
def _own_command_line(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "argv", ["train.py", "seed=1,2", "--multirun"])
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def states(folder: Path) -> dict[str, str]:
    return {job["folder"]: job["state"] for job in read_manifest(folder)["jobs"]}


def test_what_became_of_running_jobs(tmp_path: Path) -> None:
    """One left a result, one left none, one is still at work for a sweep that was killed."""
    for name in ("done", "dead", "alive"):
        (tmp_path / name).mkdir()
        note(tmp_path, name, overrides=[f"name={name}"], state="running", status=None, error=None)
    (tmp_path / "done" / "result.json").write_text('{"val/top1_error": 0.5}')
    with file_lock([tmp_path / "alive" / ".lock"], ""):
        begin(tmp_path, Path("/x/train.py"), ["seed=1,2"])
    assert states(tmp_path) == {"done": "finished", "dead": "failed", "alive": "running"}
    sweep = read_manifest(tmp_path)
    assert sweep["jobs"][1]["error"] == "died with the sweep"
    assert sweep["command"] == "python train.py seed=1,2 --multirun"
    assert {"python", "torch", "lightning"} <= set(sweep["versions"])


def test_jobs_that_note_at_once_lose_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(lambda i: note(tmp_path, f"job {i % 10}", state="running", last=i), range(40))
        )
    assert len(states(tmp_path)) == 10
    assert not list(tmp_path.glob("*.tmp"))


def words(folder: Path, *overrides: str) -> DictConfig:
    given = {"task": list(overrides), "hydra": []}
    return DictConfig({"hydra": {"sweep": {"dir": str(folder)}, "overrides": given}})


def run(folder: Path, *overrides: str) -> None:
    """A sweep's process begins and is gone."""
    sweep = Sweep()
    sweep.on_multirun_start(words(folder, *overrides))
    assert sweep.lock is not None
    os.close(sweep.lock)


def test_more_values_go_on_in_the_same_folder_and_another_recipe_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, "seed=1,2", "optimizer.lr=0.1", "name=a")
    note(tmp_path, "seed-1", state="finished")
    run(tmp_path, "optimizer.lr=0.1", "seed=1,2,3", "name=a", "resume=true")
    with pytest.raises(SystemExit):
        run(tmp_path, "seed=1,2", "optimizer.lr=0.2", "name=a")
    assert (
        "is the sweep of 'python train.py seed=1,2 --multirun': give another name=" in caplog.text
    )
    assert json.loads((tmp_path / "sweep.json").read_text())["overrides"] == [
        "optimizer.lr=0.1",
        "seed=1,2,3",
    ]


def test_a_sweep_has_one_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = Sweep()
    first.on_multirun_start(words(tmp_path, "seed=1,2"))
    with pytest.raises(SystemExit):
        Sweep().on_multirun_start(words(tmp_path, "seed=1,2"))
    assert "is running this sweep" in caplog.text
