"""What config groups do to a run: loggers, presets of callbacks, evaluation, warm starts."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.helpers.commands import Ended
from zfnet.errors import InputError
from zfnet.launch.results import objective

Run = Callable[..., Ended]
LAST = Path("checkpoints") / "last.ckpt"


@pytest.fixture(scope="module")
def trained(command: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "trained"
    words = ("logger=[tensorboard,csv]", "callbacks=none", "tags=[first,try]")
    done = command(f"hydra.run.dir={folder}", *words)
    assert done.status == 0, done.output + done.errors
    return folder


def result(folder: Path) -> dict[str, float]:
    return json.loads((folder / "result.json").read_text())


def test_loggers_write_the_same_epochs(trained: Path) -> None:
    """TensorBoard's events and a CSV; the net is kept though no callback keeps it."""
    assert list(trained.glob("events.out.tfevents.*"))
    lines = (trained / "csv" / "version_0" / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("val/top1_error")
    errors = [float(each) for line in lines[1:] if (each := line.split(",")[column])]
    assert len(errors) == 3
    assert errors[-1] == pytest.approx(result(trained)["val/top1_error"])
    assert result(trained)["tags"] == ["first", "try"]
    assert [path.name for path in trained.rglob("*.ckpt")] == ["last.ckpt"]


def test_without_a_logger_nothing_is_logged(command: Run, tmp_path: Path) -> None:
    words = ("logger=none", "trainer.max_epochs=1", "test=false", "callbacks=light")
    done = command(f"hydra.run.dir={tmp_path}/run", *words)
    assert done.status == 0, done.output + done.errors
    assert not list((tmp_path / "run").glob("events*"))
    assert (tmp_path / "run" / LAST).is_file()


def test_evaluation_repeats_the_numbers_of_the_run(
    command: Run, trained: Path, tmp_path: Path
) -> None:
    """train=false measures what training measured at its end, to the bit, and writes no net."""
    words = (f"ckpt_path={trained / LAST}", "train=false", "callbacks=none")
    done = command(f"hydra.run.dir={tmp_path}/run", *words, narrow=False)
    assert done.status == 0, done.output + done.errors
    before, now = result(trained), result(tmp_path / "run")
    keys = [key for key in before if key.startswith(("val/", "test/", "train_eval/"))]
    assert len(keys) >= 6
    assert {key: now[key] for key in keys} == {key: before[key] for key in keys}
    assert not list((tmp_path / "run").rglob("*.ckpt"))
    both = command(f"hydra.run.dir={tmp_path}/ranks", *words, "trainer=ddp_cpu", narrow=False)
    assert both.status == 0, both.output + both.errors
    ranks = result(tmp_path / "ranks")
    assert ranks["val/top1_error"] == before["val/top1_error"]
    assert ranks["test/top1_error"] == before["test/top1_error"]
    refused = command(f"hydra.run.dir={tmp_path}/model", *words)
    assert "model.edit" in refused.output
    assert "the network is that of ckpt=" in refused.output
    refused = command(f"hydra.run.dir={tmp_path}/none", "train=false")
    assert "train=false measures a net that has learned: give ckpt=" in refused.output


def test_a_warm_start_begins_with_the_weights_of_the_checkpoint(
    command: Run, trained: Path, tmp_path: Path
) -> None:
    """At a rate of nearly 0 the net stays what it was."""
    still = ("optimizer.lr=1e-17", "optimizer.weight_decay=0", "trainer.max_epochs=1")
    words = (f"ckpt={trained / LAST}", *still, "callbacks=none", "test=false", "seed=5")
    done = command(f"hydra.run.dir={tmp_path}/run", *words, narrow=False)
    assert done.status == 0, done.output + done.errors
    old, new = (torch.load(run / LAST, weights_only=True) for run in (trained, tmp_path / "run"))
    assert all(
        torch.equal(new["state_dict"][name], old["state_dict"][name]) for name in old["state_dict"]
    )


def test_what_a_sweep_minimizes() -> None:
    found = {"val/top1_error": 0.3, "test/top1_error": 0.25, "tags": ["a"]}
    assert objective(found) == 0.3
    assert objective(found, "test/top1_error") == 0.25
    assert objective({"val/mean_average_precision": 0.75}) == 0.25
    for metric in ("nothing", "tags"):
        with pytest.raises(InputError, match=f"optimized_metric={metric}: a result has val/top1"):
            objective(found, metric)
