"""A run's TensorBoard log is whole records, and can be cut back to what a checkpoint knew."""

import errno
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.helpers.compare_runs import shown, stored
from zfnet.errors import InputError
from zfnet.training.event_log import EventLogger, cut_back


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file grows beyond 4096 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_what_is_logged_is_shown_at_once(tmp_path: Path) -> None:
    logger = EventLogger(tmp_path)
    assert logger.lengths() == {}
    logger.log_metrics({"a": 0.5, "b": 2.0}, step=3)
    logger.experiment.add_image("c", torch.zeros(3, 2, 2), 4)
    assert [point[:2] for point in shown(tmp_path)] == [("a", 3), ("b", 3), ("c", 4)]
    assert shown(tmp_path)[0] == ("a", 3, 0.5)
    (path,) = tmp_path.iterdir()
    assert logger.lengths() == {path.name: path.stat().st_size}


def test_a_log_is_cut_back_to_a_checkpoint(tmp_path: Path) -> None:
    """Of two processes: the first one's file is cut, the second one's is gone; a start anew takes
    all."""
    first = EventLogger(tmp_path)
    first.log_metrics({"a": 1.0}, step=0)
    lengths = first.lengths()
    first.log_metrics({"a": 2.0}, step=1)
    EventLogger(tmp_path).log_metrics({"a": 3.0}, step=2)
    assert stored(tmp_path) == [("a", 0), ("a", 1), ("a", 2)]
    cut_back(tmp_path, lengths)
    assert stored(tmp_path) == [("a", 0)]
    EventLogger(tmp_path).log_metrics({"a": 4.0}, step=1)
    assert shown(tmp_path) == [("a", 0, 1.0), ("a", 1, 4.0)]
    cut_back(tmp_path, {})
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_shorter_is_left(tmp_path: Path) -> None:
    """As a power cut may leave it."""
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(b"short")
    cut_back(tmp_path, {path.name: 100})
    assert path.read_bytes() == b"short"


def test_logging_goes_on_after_finalize(tmp_path: Path) -> None:
    """Lightning finalizes a logger after training, and logs the test after that."""
    logger = EventLogger(tmp_path)
    logger.log_metrics({"a": 1.0}, step=0)
    logger.finalize("success")
    logger.log_metrics({"b": 2.0}, step=1)
    logger.finalize("success")
    assert shown(tmp_path) == [("a", 0, 1.0), ("b", 1, 2.0)]
    assert len(logger.lengths()) == 2


def test_a_log_of_an_earlier_version_is_purged_as_then(tmp_path: Path) -> None:
    EventLogger(tmp_path).log_metrics({"a": 1.0}, step=5)
    EventLogger(tmp_path, purge_step=5).log_metrics({"a": 2.0}, step=7)
    assert shown(tmp_path) == [("a", 7, 2.0)]
    assert stored(tmp_path) == [("a", 5), ("a", 7)]


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_is_one_line_and_leaves_whole_records(tmp_path: Path) -> None:
    logger = EventLogger(tmp_path)

    def fill() -> None:
        for step in range(1000):
            logger.log_metrics({"a": 1.0}, step=step)

    with pytest.raises(
        InputError, match=r"events\.out.*: cannot be written \(File too large\)"
    ) as caught:
        fill()
    assert "\n" not in str(caught.value)
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size == logger.lengths()[path.name]
    count = len(shown(tmp_path))
    assert stored(tmp_path) == [("a", step) for step in range(count)]
    assert 50 < count < 200


def test_no_space_left_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = EventLogger(tmp_path)
    logger.log_metrics({"a": 1.0}, step=0)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(InputError, match="the disk is full; free some space"):
            logger.log_metrics({"a": 1.0}, step=1)
    logger.log_metrics({"a": 2.0}, step=1)
    assert shown(tmp_path) == [("a", 0, 1.0), ("a", 1, 2.0)]
