"""Whatever checkpoint a run goes on from, it ends as the whole run: weights, metrics, log."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningDataModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint

from callbacks import FilterRenormalization, LearningCurves, RecentCheckpoint
from tests.helpers.compare_runs import same, shown, stored
from zfnet.errors import InputError
from zfnet.training import Classifier
from zfnet.training.checkpoint_io import AtomicCheckpointIO
from zfnet.training.event_log import EventLogger, cut_back
from zfnet.training.resume import newest_checkpoint

Fit = Callable[..., tuple[Trainer, Classifier]]
EVERY = {
    "save_top_k": -1,
    "every_n_train_steps": 1,
    "filename": "{step}",
    "auto_insert_metric_name": False,
}
END = {
    "save_top_k": -1,
    "every_n_epochs": 1,
    "filename": "end-{epoch}",
    "save_on_train_epoch_end": True,
}
MODEL = {"_target_": "zfnet.models.convnet", "input_norm": "unit"}
CARD = {"model": MODEL, "classes": ["cat"], "image_size": 8, "store_size": 12}
Words = dict[str, Any]


def write_history(history: list[dict[str, float]], path: Path) -> None:
    """Stands for `draw_curves`, which takes longer than these epochs."""
    path.write_text(json.dumps(history))


@pytest.fixture
def fit(
    tiny_classifier: Callable[..., Classifier],
    tiny_data: Callable[..., LightningDataModule],
    tiny_trainer: Callable[..., Trainer],
    monkeypatch: pytest.MonkeyPatch,
) -> Fit:
    """A run of 6 batches of 2 an epoch in `folder`, with a checkpoint at every step and epoch that
    allows one."""
    monkeypatch.setattr("callbacks.learning_curves.draw_curves", write_history)

    def run(
        folder: Path,
        schedule: str,
        words: Words,
        resume: Path | None = None,
        inside: type = RecentCheckpoint,
    ) -> tuple[Trainer, Classifier]:
        checkpoints = folder / "checkpoints"
        model = tiny_classifier(schedule=schedule, patience=0, seed=6, lr=0.05, model_config=CARD)
        trainer = tiny_trainer(
            logger=EventLogger(folder),
            enable_checkpointing=True,
            plugins=[AtomicCheckpointIO()],
            callbacks=[
                FilterRenormalization(0.2),
                LearningCurves(str(folder)),
                LearningRateMonitor(),
                inside(dirpath=checkpoints, **EVERY),
                ModelCheckpoint(dirpath=checkpoints, **END),
            ],
            **{"max_epochs": 3, **words},
        )
        kept = ("accumulate_grad_batches", "max_epochs")
        model.fingerprint = {"trainer": {key: getattr(trainer, key) for key in kept}}
        trainer.fit(model, datamodule=tiny_data(batch_size=2), ckpt_path=resume, weights_only=True)
        return trainer, model

    return run


# The steps after which a checkpoint may be written, and those from which the test goes on.
STEPS = [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17]
WORDS: dict[str, tuple[Words, list[int], list[int]]] = {
    "plain": ({}, STEPS, [1, 11]),
    "accumulated": ({"accumulate_grad_batches": 4}, [1, 3, 5], [1, 5]),
    "limited": (
        {"limit_train_batches": 4, "limit_val_batches": 2},
        [1, 2, 3, 5, 6, 7, 9, 10, 11],
        [6],
    ),
    "rarely validated": ({"check_val_every_n_epoch": 2}, STEPS, [10, 16]),
    "clipped": ({"gradient_clip_val": 0.1, "limit_train_batches": 2}, [1, 3, 5], [3]),
    "few steps": ({"max_steps": 9}, [1, 2, 3, 4, 5, 7, 8], [3, 8]),
}


pytestmark = pytest.mark.filterwarnings(
    "ignore:The dirpath has changed", "ignore:Checkpoint directory"
)


@pytest.mark.parametrize("schedule", ["plateau", "cosine"])
@pytest.mark.parametrize("kind", WORDS)
def test_from_every_checkpoint(fit: Fit, tmp_path: Path, kind: str, schedule: str) -> None:
    words, steps, from_steps = WORDS[kind]
    whole = tmp_path / "whole"
    trainer, model = fit(whole, schedule, words)
    within = {int(path.stem): path for path in (whole / "checkpoints").glob("[0-9]*.ckpt")}
    assert sorted(within) == steps
    ends = sorted((whole / "checkpoints").glob("end-*.ckpt"))
    final = torch.load(ends[-1], weights_only=True)
    for path in [*(within[step] for step in from_steps), *ends[:-1]]:
        folder = tmp_path / path.stem
        folder.mkdir()
        for events in whole.glob("events.*"):
            (folder / events.name).write_bytes(events.read_bytes())
        cut_back(folder, torch.load(path, weights_only=True)["log"]["lengths"])
        resumed_trainer, resumed = fit(folder, schedule, words, path)
        assert resumed_trainer.global_step == trainer.global_step
        again = torch.load(folder / "checkpoints" / ends[-1].name, weights_only=True)
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "validated"):
            assert same(again[key], final[key]), key
        assert resumed.validated == model.validated
        assert (folder / "history.json").read_text() == (whole / "history.json").read_text()
        assert (folder / "curves.png").read_bytes() == (whole / "curves.png").read_bytes()
        assert shown(folder) == shown(whole)
        assert stored(folder) == stored(whole)


def test_an_epoch_that_is_not_yet_logged_is_in_its_checkpoint(fit: Fit, tmp_path: Path) -> None:
    """Lightning logs an epoch's means after its checkpoints; the checkpoint holds them."""
    whole = tmp_path / "whole"
    fit(whole, "plateau", {})
    end = whole / "checkpoints" / "end-epoch=2.ckpt"
    kept = torch.load(end, weights_only=True)["log"]
    assert kept["unlogged"]["step"] == 17
    assert {"train/loss", "train/top1_error", "clipped_filters/conv1", "epoch"} <= set(
        kept["unlogged"]["metrics"]
    )
    folder = tmp_path / "run"
    folder.mkdir()
    for events in whole.glob("events.*"):
        (folder / events.name).write_bytes(events.read_bytes()[: kept["lengths"][events.name]])
    assert shown(folder) != shown(whole)
    fit(folder, "plateau", {}, end)
    assert shown(folder) == shown(whole)


def test_a_plateau_that_is_given_more_epochs_is_the_longer_run(fit: Fit, tmp_path: Path) -> None:
    fit(tmp_path / "short", "plateau", {"max_epochs": 2})
    fit(tmp_path / "short", "plateau", {}, tmp_path / "short" / "checkpoints" / "end-epoch=1.ckpt")
    fit(tmp_path / "long", "plateau", {})
    short, long = (
        torch.load(tmp_path / name / "checkpoints" / "end-epoch=2.ckpt", weights_only=True)
        for name in ("short", "long")
    )
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "validated"):
        assert same(short[key], long[key]), key


def test_a_cosine_over_other_steps_is_refused(fit: Fit, tmp_path: Path) -> None:
    fit(tmp_path / "short", "cosine", {"max_epochs": 2})
    with pytest.raises(
        InputError,
        match="learning rate is for a run of 12 steps, and this run has 18; give another name=",
    ):
        fit(
            tmp_path / "long", "cosine", {}, tmp_path / "short" / "checkpoints" / "end-epoch=0.ckpt"
        )


@pytest.mark.parametrize(
    ("words", "exact"), [({}, {1, 2, 3, 4, 5, 7}), ({"accumulate_grad_batches": 4}, {1})]
)
def test_checkpoints_that_lose_something_are_passed_over(
    fit: Fit, tmp_path: Path, caplog: pytest.LogCaptureFixture, words: Words, exact: set[int]
) -> None:
    """Lightning's own ModelCheckpoint writes after an epoch's last step, before its validation; a
    stop may come between two accumulated batches."""

    class Anywhere(ModelCheckpoint):
        """After every batch of epoch 1, and the first of epoch 2."""

        def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
            if trainer.current_epoch == 0 or trainer.fit_loop.batch_idx == 0:
                batch = trainer.current_epoch * 6 + trainer.fit_loop.batch_idx + 1
                trainer.save_checkpoint(f"{self.dirpath}/{batch}.ckpt", weights_only=False)

    whole = tmp_path / "whole"
    fit(whole, "plateau", words | {"max_epochs": 2}, inside=Anywhere)
    good = set()
    for number in range(1, 8):
        alone = tmp_path / str(number)
        alone.mkdir()
        (whole / "checkpoints" / f"{number}.ckpt").rename(alone / "x.ckpt")
        caplog.clear()
        if kept := newest_checkpoint(alone, CARD):
            good.add(kept.step)
        else:
            assert "was written between" in caplog.text
    assert good == exact
