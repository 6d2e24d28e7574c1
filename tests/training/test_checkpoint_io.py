"""A checkpoint is written beside its place and renamed, never by way of another folder."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from zfnet.errors import InputError
from zfnet.training.checkpoint_io import AtomicCheckpointIO


def test_it_is_written_beside_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere")
    renamed: list[tuple[str, str]] = []
    replace = Path.replace

    def watch(self: Path, target: Any) -> Path:
        renamed.append((str(self.parent), str(Path(target).parent)))
        torch.load(self, weights_only=True)  # whole by then
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watch)
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"a": torch.arange(3)}, path)
    assert renamed == [(str(path.parent), str(path.parent))]
    assert AtomicCheckpointIO().load_checkpoint(path, weights_only=True)["a"].tolist() == [0, 1, 2]
    assert [each.name for each in path.parent.iterdir()] == ["last.ckpt"]


def test_a_full_disk_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"last\.ckpt: the disk is full; free some space"):
            AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["last.ckpt"]
