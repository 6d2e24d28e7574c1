"""`python train.py` as a user meets it: runs that survive, DDP, sweeps."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import zfnet
from tests.helpers.commands import Ended
from zfnet.data import Creatures

Run = Callable[..., Ended]


def last(folder: Path) -> dict[str, torch.Tensor]:
    """The final weights and momenta of a run, by name."""
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    momenta = checkpoint["optimizer_states"][0]["state"]
    buffers = {f"momentum {i}": state["momentum_buffer"] for i, state in momenta.items()}
    return checkpoint["state_dict"] | buffers


def assert_identical(one: Path, other: Path) -> None:
    a, b = last(one), last(other)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def result(folder: Path) -> tuple[dict[str, float], float]:
    """The numbers of a finished run, and the seconds it took."""
    found = json.loads((folder / "result.json").read_text())
    return found, found.pop("seconds")


# A rate that depends on the runs' history.
PLATEAU = ("recipe=paper", "scheduler.patience=0", "test=false")


@pytest.fixture(scope="module")
def uninterrupted(command: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert command(f"hydra.run.dir={folder}", *PLATEAU).status == 0
    return folder


def test_a_finished_run_says_so(command: Run, uninterrupted: Path) -> None:
    before = (uninterrupted / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    again = command(f"hydra.run.dir={uninterrupted}", *PLATEAU, "resume=true")
    assert again.status == 0
    assert "finished already" in again.output
    assert command(f"hydra.run.dir={uninterrupted}", *PLATEAU).status == 1
    assert (uninterrupted / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before


def test_a_finished_run_takes_more_epochs_and_no_other_settings(
    command: Run, uninterrupted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted, folder)
    config, before = (folder / ".hydra" / "config.yaml").read_text(), result(folder)
    for word, words in {
        "seed=7": "seed=0, and this run has seed=7",
        "trainer.max_epochs=2": "3 epochs are done, more than trainer.max_epochs=2",
    }.items():
        refused = command(f"hydra.run.dir={folder}", *PLATEAU, "resume=true", word)
        assert refused.status == 1
        (error,) = [line for line in refused.output.splitlines() if "ERROR" in line]
        assert words in error
    assert (folder / ".hydra" / "config.yaml").read_text() == config
    assert result(folder) == before
    more = command(f"hydra.run.dir={folder}", *PLATEAU, "resume=true", "trainer.max_epochs=4")
    assert more.status == 0, more.output + more.errors
    assert result(folder)[0]["epochs"] == 4
    epochs = json.loads((folder / "history.json").read_text())
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4]
    assert epochs[:3] == json.loads((uninterrupted / "history.json").read_text())
    assert result(folder)[0]["val/top1_error"] == epochs[3]["val/top1_error"]
    assert "max_epochs: 4" in (folder / ".hydra" / "config.yaml").read_text()


def test_a_rehearsal_keeps_nothing(command: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = command(f"hydra.run.dir={folder}", "+trainer.fast_dev_run=2")
    assert done.status == 0, done.output + done.errors
    assert "nothing is kept" in done.output
    assert {path.name for path in folder.iterdir()} == {"train.log", ".lock"}


def test_a_run_killed_after_its_last_epoch_is_finished(
    command: Run, uninterrupted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted, folder)
    (folder / "result.json").unlink()
    assert command(f"hydra.run.dir={folder}", *PLATEAU, "resume=true").status == 0
    found, seconds = result(folder)
    assert found == result(uninterrupted)[0]
    before = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["seconds"]
    assert seconds > before - 0.05 > 0  # rounded


def test_decoding_on_the_fly_trains_the_same_net(
    command: Run, uninterrupted: Path, tmp_path: Path
) -> None:
    assert command(f"hydra.run.dir={tmp_path / 'run'}", *PLATEAU, "data.store=false").status == 0
    assert_identical(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize(
    "choice",
    [
        ("experiment=paper_imagenet", "trainer=cpu"),
        ("model=torchvision", "model.name=squeezenet1_1"),
        (
            "model=alexnet",
            "ablation=linear",
            "+callbacks.histograms._target_=callbacks.WeightHistograms",
        ),
    ],
    ids=lambda choice: choice[0],
)
def test_other_choices_train(command: Run, tmp_path: Path, choice: tuple[str, ...]) -> None:
    folder = tmp_path / "run"
    narrow = choice[0].startswith("experiment")
    done = command(f"hydra.run.dir={folder}", *choice, "trainer.max_epochs=1", narrow=narrow)
    assert done.status == 0, done.errors
    assert set(result(folder)[0]) == {
        *("val/top1_error", "val/class_accuracy", "val/loss"),
        *("test/top1_error", "test/class_accuracy", "train_eval/top1_error", "epochs"),
    }
    assert zfnet.load(folder / "checkpoints" / "last.ckpt").classes == Creatures.classes[:4]


def test_another_architecture_does_not_resume(
    command: Run, uninterrupted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    checkpoint = (uninterrupted / "checkpoints" / "last.ckpt").read_bytes()
    (folder / "checkpoints" / "last.ckpt").write_bytes(checkpoint)
    other = command(f"hydra.run.dir={folder}", *PLATEAU, "resume=true", "model=alexnet")
    assert other.status == 1
    assert (
        "was made with model.architecture=zfnet, and this run has model.architecture=alexnet"
        in other.output
    )
    assert "Traceback" not in other.output + other.errors
    assert (folder / "checkpoints" / "last.ckpt").read_bytes() == checkpoint


def test_two_processes_give_the_numbers_of_one(command: Run, tmp_path: Path) -> None:
    """With the same global batch and no dropout; 13 validation pictures on two processes count 13
    times."""
    dry = ("++model.edit.fc6.dropout=0", "++model.edit.fc7.dropout=0", "trainer.max_epochs=2")
    one, two = tmp_path / "one", tmp_path / "two"
    assert command(f"hydra.run.dir={one}", *dry).status == 0
    done = command(f"hydra.run.dir={two}", *dry, "trainer=ddp_cpu", "trainer.precision=32-true")
    assert done.status == 0, done.errors
    a, b = last(one), last(two)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6, msg=name)
    alone, together = (result(path)[0] for path in (one, two))
    assert together == pytest.approx(alone, abs=1e-5)
    assert round(together["val/top1_error"] * 13, 4) == round(together["val/top1_error"] * 13)


QUIET_DDP = (
    "trainer=ddp_cpu",
    "trainer.precision=32-true",
    "callbacks=[checkpoint,stop_checkpoint]",
    "test=false",
)


def test_sigterm_ends_all_processes_after_the_same_step(command: Run, tmp_path: Path) -> None:
    line = (f"hydra.run.dir={tmp_path / 'run'}", *QUIET_DDP)
    target = "_target_:tests.helpers.mishaps.Stopper"
    stopper = f"+callbacks.stop={{{target},step:6,number:{int(signal.SIGTERM)}}}"
    stopped = command(*line, stopper)
    assert stopped.status == 143, stopped.output + stopped.errors
    assert "stopped by SIGTERM; the same command with resume=true goes on" in stopped.output
    assert (
        torch.load(tmp_path / "run" / "checkpoints" / "stop.ckpt", weights_only=True)["global_step"]
        == 6
    )
    resumed = command(*line, "resume=true")
    assert resumed.status == 0, resumed.output + resumed.errors


def test_the_signals_of_slurm_stop_at_a_checkpoint(command: Run, tmp_path: Path) -> None:
    """`--signal=USR1@120` of sbatch, then the same command once more, in the middle of an epoch."""
    line = (f"hydra.run.dir={tmp_path / 'run'}", *QUIET_DDP[1:], "resume=true")
    target = "_target_:tests.helpers.mishaps.Stopper"
    stopper = f"+callbacks.stop={{{target},step:6,number:{int(signal.SIGUSR1)}}}"
    stopped = command(*line, stopper)
    assert stopped.status == 138, stopped.output + stopped.errors
    assert "stopped by SIGUSR1; the same command with resume=true goes on" in stopped.output
    resumed = command(*line)
    assert resumed.status == 0, resumed.output + resumed.errors
    assert f"going on from {tmp_path / 'run' / 'checkpoints' / 'stop.ckpt'}" in resumed.output


@pytest.mark.parametrize(
    ("killed", "why"), [(True, "killed by SIGKILL"), (False, "RuntimeError: the oven is on fire")]
)
def test_a_process_of_several_that_dies_ends_the_run(
    command: Run, tmp_path: Path, killed: bool, why: str
) -> None:
    target = "_target_:tests.helpers.mishaps.RankCrash"
    crash = f"+callbacks.crash={{{target},rank:1,step:2,killed:{killed}}}"
    done = command(f"hydra.run.dir={tmp_path / 'run'}", *QUIET_DDP, crash)
    assert done.status == 1, done.output + done.errors
    [error] = [line for line in done.output.splitlines() if "[ERROR]" in line]
    assert "process 2 of 2" in error
    assert why in error


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("nokey=1", "Could not override 'nokey'. To append to your config use +nokey=1"),
        ("--nosuch", "unrecognized arguments: --nosuch"),
        ("resume=yes", "resume=yes: must be true or false"),
    ],
)
def test_what_hydra_does_not_take_is_one_line(command: Run, word: str, error: str) -> None:
    done = command(word)
    assert done.status == 1
    [line] = (done.output + done.errors).splitlines()
    assert error in line


def test_a_sweep_of_ddp_jobs(command: Run, tmp_path: Path) -> None:
    """One folder a job and nothing else; a job that has a result is not run again."""
    sweep = tmp_path / "sweep"
    before = sweep / "optimizer.lr-0.02" / "result.json"
    before.parent.mkdir(parents=True)
    before.write_text('{"val/top1_error": 0.5}')
    overrides = (
        "trainer=ddp_cpu",
        "trainer.max_epochs=1",
        "test=false",
        "trainer.precision=32-true",
    )
    arguments = ("optimizer.lr=0.02,0.01", f"hydra.sweep.dir={sweep}", "--multirun")
    done = command(*overrides, *arguments)
    assert done.status == 0, done.output + done.errors
    assert {path.name for path in sweep.iterdir() if path.is_dir()} == {
        *("optimizer.lr-0.01", "optimizer.lr-0.02")
    }
    assert {path.name for path in sweep.iterdir() if path.is_file()} == {
        *("multirun.yaml", "sweep.json", ".lock", ".manifest.lock")
    }
    assert not (before.parent / "checkpoints").exists()
    assert (sweep / "optimizer.lr-0.01" / "result.json").exists()
    assert not (sweep / "optimizer.lr-0.01" / "multirun").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.root=/nowhere/photos", "/nowhere/photos"),
        ("data.image_size=30", "at least 47"),
        ("++model.edit={conv9:null}", "conv9"),
        ("data.batch_size=64", "data.batch_size"),
        ("+trainer.logger={_target_:no.such.Logger}", "trainer.logger"),
        ("trainer.max_epochs=null", "training would not end"),
        ("+trainer.gradient_clip_algorithm=best", "gradient_clip_algorithm"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    command: Run, tmp_path: Path, override: str, words: str
) -> None:
    done = command(f"hydra.run.dir={tmp_path / 'run'}", override)
    assert done.status == 1
    assert "Traceback" not in done.output + done.errors
    errors = [line for line in done.output.splitlines() if "ERROR" in line]
    assert len(errors) == 1
    assert words in errors[0]
