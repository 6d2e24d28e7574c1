"""Locks belong to whoever lives: to a child that outlives its parent, to nobody after a kill."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from zfnet.io import file_lock, try_lock
from zfnet.launch.processes import one_gpu

SLEEP = [sys.executable, "-c", "input()"]


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    with file_lock([tmp_path / "a"], "busy"):
        assert try_lock(tmp_path / "a") is None
        assert try_lock(tmp_path / "b") is not None
    assert try_lock(tmp_path / "a") is not None


def test_a_child_keeps_the_lock_until_it_is_killed(tmp_path: Path) -> None:
    with file_lock([tmp_path / "a"], "busy") as (_, lock):
        child = subprocess.Popen(SLEEP, pass_fds=[lock], stdin=subprocess.PIPE)
    assert try_lock(tmp_path / "a") is None
    child.kill()
    child.communicate()
    assert try_lock(tmp_path / "a") is not None


def test_whoever_finds_none_free_waits_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    paths = [tmp_path / name for name in "ab"]
    got: list[int] = []

    def wait() -> None:
        with file_lock(paths, "both are taken") as (place, _):
            got.append(place)

    with file_lock(paths, "") as (first, _):
        assert first == 0
        with file_lock(paths, "") as (second, _):
            assert second == 1
            waiting = threading.Thread(target=wait)
            waiting.start()
            waiting.join(timeout=0.5)
            assert not got
        waiting.join(timeout=60)
    assert got == [1]
    assert caplog.messages == ["both are taken"]


@pytest.mark.parametrize(("visible", "names"), [("", ["0", "1"]), ("3,GPU-af", ["3", "GPU-af"])])
def test_jobs_share_out_the_visible_gpus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str, names: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    with one_gpu() as (one, _), one_gpu() as (other, _):
        assert [one, other] == names
    with one_gpu() as (again, _):
        assert again == names[0]
