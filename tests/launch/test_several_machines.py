"""Real processes that die or that two agents of torchrun start; `make test-slow`."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.commands import ROOT, environment
from tests.helpers.train_command import Run
from zfnet.launch.results import read_result

pytestmark = pytest.mark.slow

DRY = (
    "++model.edit.fc6.dropout=0",
    "++model.edit.fc7.dropout=0",
    "test=false",
    "scheduler=constant",
)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def two_machines(words: list[str], folder: Path) -> list[subprocess.Popen[str]]:
    """Starts train.py by two agents with one process each, as on two machines."""
    port = free_port()
    launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    return [
        subprocess.Popen(
            [*launch, f"--node-rank={rank}", "--master-addr=127.0.0.1", f"--master-port={port}",
             str(ROOT / "train.py"), *words],
            cwd=folder, env=environment(1), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip


def ended(started: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Waits for processes, and returns their statuses and what they said."""
    said = [process.communicate(timeout=240)[0] for process in started]
    return [(process.returncode, text) for process, text in zip(started, said, strict=True)]


def test_two_machines_train_as_one_process_and_resume(
    common_words: Callable[..., list[str]], command: Run, tmp_path: Path
) -> None:
    """With 13 validation images on two processes, each image counts once."""
    one, two = tmp_path / "one", tmp_path / "two"
    assert command(f"hydra.run.dir={one}", *DRY, "trainer.max_epochs=3").status == 0
    words = [*common_words(), *DRY, f"hydra.run.dir={two}", "trainer=ddp_cpu"]
    words += ["trainer.precision=32-true", "trainer.devices=1", "trainer.num_nodes=2"]
    for epochs, resume in ((2, "false"), (3, "true")):
        again = [*words, f"trainer.max_epochs={epochs}", f"resume={resume}"]
        for status, text in ended(two_machines(again, tmp_path)):
            assert status == 0, text
    alone, together = read_result(one), read_result(two)
    assert alone is not None
    assert together is not None
    assert together["epochs"] == 3
    for key in ("val/top1_error", "val/loss"):
        assert together[key] == pytest.approx(alone[key], abs=1e-5)
    weights = [
        torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for path in (one, two)
    ]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-4, atol=1e-6)


def processes_of_slurm(
    words: list[str], tmp_path: Path, restarts: int = 0
) -> list[subprocess.Popen[str]]:
    """Starts the two processes of one job of a sweep, as SLURM does on two machines.

    Each is a sweep of its own here, whose only job has the environment and the folder of the job.
    """
    port, commands = free_port(), []
    for rank in (0, 1):
        slurm = {"PROCID": rank, "LOCALID": 0, "NODEID": rank, "NTASKS": 2, "NNODES": 2}
        slurm |= {"NTASKS_PER_NODE": 1, "JOB_ID": 17, "NODELIST": "127.0.0.1"}
        slurm |= {"RESTART_COUNT": restarts}
        variables = [f'SLURM_{name}:"{value}"' for name, value in slurm.items()]
        of_job = ",".join([*variables, f'MASTER_PORT:"{port}"'])
        commands.append(
            [sys.executable, str(ROOT / "train.py"), *words, "seed=1", "trainer=ddp_cpu",
             "trainer.precision=32-true", "trainer.devices=1", "trainer.num_nodes=2",
             f"hydra.sweep.dir={tmp_path / f'sweep{rank}'}", "hydra.sweep.subdir=../sweep0/job",
             f"+hydra.job.env_set={{{of_job}}}", "hydra.mode=MULTIRUN"]
        )  # fmt: skip
    return [
        subprocess.Popen(
            command, cwd=tmp_path, env=environment(1), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )
        for command in commands
    ]  # fmt: skip


def test_a_job_of_a_sweep_on_two_machines(
    common_words: Callable[..., list[str]], command: Run, tmp_path: Path
) -> None:
    one, job = tmp_path / "one", tmp_path / "sweep0" / "job"
    assert command(f"hydra.run.dir={one}", *DRY, "seed=1", "trainer.max_epochs=3").status == 0
    for restarts in range(2):  # the second time it continues from its checkpoint
        started = processes_of_slurm([*common_words(), *DRY], tmp_path, restarts)
        [(status, text), _] = ended(started)
        assert status == 0, text
        together = read_result(job)
        assert together is not None
        assert together["epochs"] == 3
        (job / "result.json").unlink()
    assert "going on from" in (job / "train.log").read_text()
    alone = read_result(one)
    assert alone is not None
    for key in ("val/top1_error", "val/loss"):
        assert together[key] == pytest.approx(alone[key], abs=1e-5)


def test_a_process_of_a_job_that_fails_ends_the_others(
    common_words: Callable[..., list[str]], tmp_path: Path
) -> None:
    crash = "_target_:tests.helpers.mishaps.RankCrash,rank:1,step:2,killed:false"
    words = [*common_words(), *DRY, f"+callbacks.mishap={{{crash}}}"]
    [(status, text), _] = ended(processes_of_slurm(words, tmp_path))
    assert status == 1
    [recorded] = json.loads((tmp_path / "sweep0" / "sweep.json").read_text())["jobs"]
    assert recorded["state"] == "failed"
    assert recorded["error"].startswith("process 2: "), text
    assert "the oven is on fire" in recorded["error"]


@pytest.mark.parametrize("resumed_by", [1, 2])
def test_a_killed_process_ends_an_analysis_and_the_command_continues(
    checkpoint: Path, elsewhere: Path, tmp_path: Path, resumed_by: int
) -> None:
    words = ["analysis=atlas", f"ckpt={checkpoint}", "layers=[conv1,conv2]", "k=3", "contrast=4"]
    words += [f"data.store_dir={tmp_path}/stores", "data.source.train=14", "data.source.val=300"]

    def start(name: str, *more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "analyze.py"), *words, f"hydra.run.dir={tmp_path / name}",
             "accelerator=cpu", *more],
            cwd=elsewhere, env=environment(1), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip

    process = start("broken", "devices=2")
    progress = tmp_path / "broken" / "net_1" / "progress"
    until = time.monotonic() + 120
    while not list(progress.glob("connections_*.pt")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.05)
    [other] = [
        int(line)
        for line in subprocess.run(
            ["pgrep", "-P", str(process.pid), "-f", "analyze_process_1"],
            capture_output=True, text=True, check=True,
        ).stdout.split()
    ]  # fmt: skip
    os.kill(other, signal.SIGKILL)
    killed = time.monotonic()
    [(status, text)] = ended([process])
    assert time.monotonic() - killed < 30
    assert status == 1
    assert "process 2 of 2: killed by SIGKILL" in text
    for name, more in (("broken", [f"devices={resumed_by}", "resume=true"]), ("whole", [])):
        [(status, text)] = ended([start(name, *more)])
        assert status == 0, text
    found: list[dict[str, Any]] = [
        {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file() and path.suffix != ".log" and ".hydra" not in path.parts
        }
        for name in ("broken", "whole")
    ]
    assert found[0] == found[1]


def test_an_error_of_an_analysis_is_one_line(
    checkpoint: Path, elsewhere: Path, tmp_path: Path
) -> None:
    words = ["analysis=top_activations", f"ckpt={checkpoint}", "layers=[nothing]", "devices=2"]
    words += ["accelerator=cpu", f"data.store_dir={tmp_path}/stores", "data.source.val=14"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "analyze.py"), *words, f"hydra.run.dir={tmp_path / 'run'}"],
        cwd=elsewhere, env=environment(1), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    [(status, text)] = ended([process])
    assert status == 1
    assert "Traceback" not in text
    [error] = [line for line in text.splitlines() if "[ERROR]" in line]
    assert "'nothing'" in error
