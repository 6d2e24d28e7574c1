"""A run that is killed, however often and wherever, ends as the run that was never killed.

Weights, rates, history, curves, pictures and TensorBoard. Temporary files lie on another file
system than the run."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.commands import PATIENCE, Ended
from tests.helpers.compare_runs import same, shown, stored

Start = Callable[..., subprocess.Popen[str]]
Run = Callable[..., Ended]
STEPS = 12  # 3 epochs of 4
EXACT = (
    "recipe=paper",  # rates that depend on the run's history
    "scheduler.patience=0",
    "trainer.log_every_n_steps=1",
    "callbacks.recent.train_time_interval.minutes=0.00001",  # after every step
)
DDP = ("trainer=ddp_cpu", "trainer.precision=32-true", "trainer.max_epochs=3")
# Steps of 3, 3 and 2 batches.
ACCUMULATED = ("data.batch_size=4", "+trainer.accumulate_grad_batches=3")
REFUSED = {
    (): "resume=true goes on with it",
    ("resume=true", "optimizer.lr=0.1"): "optimizer.lr=0.01, and this run has optimizer.lr=0.1",
}
PROCESSES = {"one": EXACT, "two": (*EXACT, *DDP), "accumulated": (*EXACT, *ACCUMULATED)}


def state(folder: Path) -> dict[str, Any]:
    """Everything of the last checkpoint that a further step would depend on."""
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    kept = ("state_dict", "optimizer_states", "lr_schedulers", "validated", "global_step", "epoch")
    return {key: checkpoint[key] for key in kept}


def assert_never_killed(folder: Path, whole: Path) -> None:
    """Bit for bit, but for what a clock says."""
    mine, theirs = state(folder), state(whole)
    for key in theirs:
        assert same(mine[key], theirs[key]), key
    for name in ("history.json", "evolution.json"):
        assert (folder / name).read_text() == (whole / name).read_text(), name
    for path in sorted(whole.rglob("*.png")):
        assert (folder / path.relative_to(whole)).read_bytes() == path.read_bytes(), path.name
    results = [json.loads((path / "result.json").read_text()) for path in (folder, whole)]
    assert results[0] | {"seconds": 0} == results[1] | {"seconds": 0}
    assert shown(folder) == shown(whole)
    assert stored(folder) == stored(whole)
    assert not list(folder.rglob("*.tmp"))


@pytest.fixture(scope="module", autouse=True)
def _temporary_files_elsewhere() -> Iterator[None]:
    """A file system of its own, where there is one."""
    with pytest.MonkeyPatch.context() as patch:
        if os.access("/dev/shm", os.W_OK):
            patch.setenv("TMPDIR", "/dev/shm")
        yield


@pytest.fixture(scope="module")
def whole(command: Run, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run that was never killed, by how it runs."""
    folders: dict[str, Path] = {}

    def run(kind: str) -> Path:
        if kind not in folders:
            folder = tmp_path_factory.mktemp("whole") / kind
            ended = command(*PROCESSES[kind], f"hydra.run.dir={folder}")
            assert ended.status == 0, ended
            folders[kind] = folder
        return folders[kind]

    return run


def finished(process: subprocess.Popen[str]) -> Ended:
    """How a process ends, within four minutes."""
    with process:
        try:
            output, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    return Ended(process.returncode, 0, output, errors)


KILLS = [
    (2, signal.SIGKILL),  # before the first epoch's end
    (7, signal.SIGTERM),
    (8, signal.SIGTERM),  # at an epoch's end: its validation is cut short
    (10, signal.SIGKILL),
]


@pytest.mark.timeout(1200)  # six runs, one after the other
@pytest.mark.parametrize(
    ("kind", "kills"),
    [
        ("one", KILLS),
        pytest.param("two", [(2, signal.SIGKILL), (7, signal.SIGTERM)], marks=pytest.mark.slow),
        pytest.param(
            "accumulated", [(1, signal.SIGTERM), (5, signal.SIGKILL)], marks=pytest.mark.slow
        ),
    ],
    ids=["one", "two", "accumulated"],
)
def test_killed_at_these_steps(
    command: Run,
    whole: Callable[[str], Path],
    tmp_path: Path,
    kind: str,
    kills: list[tuple[int, signal.Signals]],
) -> None:
    """One run, killed again and again."""
    folder, line = tmp_path / "run", PROCESSES[kind]
    for count, (step, number) in enumerate(kills):
        target = "_target_:tests.helpers.mishaps.Stopper"
        stopper = f"+callbacks.stop={{{target},step:{step},number:{int(number)}}}"
        more = ("resume=true",) if count else ()
        killed = command(*line, f"hydra.run.dir={folder}", stopper, *more)
        if kind != "two":  # of two processes the second dies of the first one's end
            status = 143 if number == signal.SIGTERM else -number
            assert killed.status == status, killed
        assert not (folder / "result.json").exists()
    config = (folder / ".hydra" / "config.yaml").read_bytes()
    for words, reason in REFUSED.items():
        refused = command(*line, f"hydra.run.dir={folder}", *words)
        assert refused.status == 1
        (error,) = [text for text in refused.output.splitlines() if "ERROR" in text]
        assert reason in error
    assert (folder / ".hydra" / "config.yaml").read_bytes() == config
    resumed = command(*line, f"hydra.run.dir={folder}", "resume=true")
    assert resumed.status == 0, resumed
    assert "going on from" in resumed.output
    assert_never_killed(folder, whole(kind))


def kill_sometime(
    process: subprocess.Popen[str], dice: random.Random, number: signal.Signals
) -> None:
    """At a random moment of a run, its start included; SIGKILL to all of its processes, SIGTERM to
    the first."""
    end = time.monotonic() + dice.uniform(3, 40)
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    if process.poll() is None:
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(int(os.environ.get("ZFNET_KILLS", "20"))))
def test_killed_at_random_moments(
    start: Start, whole: Callable[[str], Path], tmp_path: Path, seed: int
) -> None:
    """Each seed is a run that is killed up to four times; ZFNET_KILLS is how many. Every other has
    two processes."""
    dice = random.Random(seed)
    kind, folder = ("one", "two")[seed % 2], tmp_path / "run"
    for count in range(5):
        more = ("resume=true",) if count else ()
        process = start(*PROCESSES[kind], f"hydra.run.dir={folder}", *more, own_group=True)
        if count < 4:
            kill_sometime(process, dice, dice.choice([signal.SIGKILL, signal.SIGTERM]))
        ended = finished(process)
        if ended.status == 0:
            break
    assert ended.status == 0, ended
    assert_never_killed(folder, whole(kind))


@pytest.mark.slow
@pytest.mark.parametrize("size", ["300k", "700k", "1200k", "1800k"])
def test_a_full_disk_ends_in_one_line(start: Start, tmp_path: Path, size: str) -> None:
    """Wherever it fills: what is there is whole, and no traceback is."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=False
    )
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        ended = finished(start(*EXACT, f"hydra.run.dir={disk}/run"))
        assert ended.status == 1
        (error,) = [line for line in ended.output.splitlines() if "ERROR" in line]
        assert "the disk is full; free some space, then the same command with resume=true" in error
        assert "Traceback" not in ended.output + ended.errors
        assert "Logging error" not in ended.errors
        assert not list(disk.rglob("*.tmp"))
        for path in [*disk.rglob("*.ckpt"), *disk.rglob("*.pt")]:
            torch.load(path, weights_only=True)
        for path in disk.rglob("*.json"):
            json.loads(path.read_text())
        stored(disk / "run")
        assert not (disk / "run" / "result.json").exists()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
