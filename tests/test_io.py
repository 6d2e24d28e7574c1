"""A file is whole or not there, a damaged one is named, and a lock belongs to one process."""

import errno
import json
import math
import os
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from zfnet.errors import InputError
from zfnet.io import (
    file_lock,
    read_back,
    read_json,
    read_torch,
    save,
    save_json,
    save_torch,
    try_lock,
)


class _Command:
    """What pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    save_json(tmp_path / "a.json", {"é": [1, None]})
    assert read_json(tmp_path / "a.json", "") == {"é": [1, None]}
    save_torch(tmp_path / "a.pt", {"x": torch.arange(3)})
    assert read_torch(tmp_path / "a.pt", "")["x"].tolist() == [0, 1, 2]
    assert read_torch(tmp_path / "a.pt", "", lambda value: len(value["x"]), mapped=True) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.pt"]


def test_json_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        save_json(tmp_path / "a.json", math.nan)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "writer",
    [
        lambda path: save_json(path, [0] * 10_000),
        lambda path: save_torch(path, torch.zeros(10_000)),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_the_old_file(
    tmp_path: Path, writer: Callable[[Path], None]
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(InputError, match=r"file: cannot be written \(File too large\)"):
            writer(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_no_space_left_says_what_to_do(tmp_path: Path) -> None:
    def write(_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match="the disk is full; free some space") as caught:
        save(tmp_path / "file", write)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b'{"b": 1}', b"null"])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json: is damaged \(.*\); delete it$") as caught:
        read_json(path, "delete it", lambda value: value["a"])
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.json: no such file; make it"):
        read_json(tmp_path / "a.json", "make it")
    with pytest.raises(InputError, match="is damaged"):
        read_back(tmp_path, Path.read_text, "name a file")


def test_a_torch_file_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pt").write_bytes(pickle.dumps(_Command()))
    torch.save({"x": _Command()}, tmp_path / "b.pt")
    for name in ("a.pt", "b.pt"):
        with pytest.raises(InputError, match="is damaged"):
            read_torch(tmp_path / name, "delete it")
    assert not (tmp_path / "ran").exists()


def test_a_lock_is_held_until_its_last_holder_is_gone(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with file_lock([path], "") as (_, lock):
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock]
        )
        assert try_lock(path) is None
    assert try_lock(path) is None
    child.communicate(b"\n", timeout=60)
    again = try_lock(path)
    assert again is not None
    os.close(again)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        save_json(tmp_path / "missing" / "a.json", json.loads("1"))
