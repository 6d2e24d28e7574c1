"""Curves, filter pictures and throughput of a small run say what happened, also after a resume."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import callbacks
from callbacks import FilterImages, LearningCurves, Throughput
from zfnet.training import Classifier

Runs = Callable[..., Trainer]


@pytest.fixture
def run(
    tiny_classifier: Callable[..., Classifier],
    tiny_data: Callable[..., LightningDataModule],
    tiny_trainer: Callable[..., Trainer],
) -> Runs:
    def go(
        *extra: Callback,
        net: nn.Module | None = None,
        resume: Path | None = None,
        **options: object,
    ) -> Trainer:
        model = tiny_classifier()
        model.net = net or model.net
        trainer = tiny_trainer(callbacks=list(extra), **options)
        trainer.fit(model, datamodule=tiny_data(), ckpt_path=resume, weights_only=True)
        return trainer

    return go


class Truth(Callback):
    """What each epoch logged, read when everything is logged."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take(trainer)

    def _take(self, trainer: Trainer) -> None:
        values = {
            key: value.item() for key, value in trainer.callback_metrics.items() if "/" in key
        }
        if "train/loss" in values:
            self.epochs.append({"epoch": len(self.epochs) + 1, **values})


def test_the_history_holds_each_epochs_own_values(run: Runs, tmp_path: Path) -> None:
    curves, truth = LearningCurves(str(tmp_path)), Truth()
    run(curves, truth, max_epochs=3)
    assert {"train/loss", "val/loss", "train/top1_error", "val/top1_error"} <= set(truth.epochs[0])
    assert curves.history == truth.epochs
    assert json.loads((tmp_path / "history.json").read_text()) == truth.epochs
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"


class Keep(Checkpoint):
    """The state after two epochs, at the moment at which ModelCheckpoint writes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 1:
            trainer.save_checkpoint(self.path)


def test_a_resumed_run_draws_the_whole_curve(run: Runs, tmp_path: Path) -> None:
    whole, resumed = LearningCurves(str(tmp_path)), LearningCurves(str(tmp_path))
    run(whole, Keep(tmp_path / "kept.ckpt"), max_epochs=4, enable_checkpointing=True)
    run(resumed, max_epochs=4, resume=tmp_path / "kept.ckpt")
    assert resumed.history == whole.history
    assert [entry["epoch"] for entry in resumed.history] == [1, 2, 3, 4]


def test_filters_are_drawn(run: Runs, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="")
    run(FilterImages(str(tmp_path)), logger=logger, max_epochs=2)
    with Image.open(tmp_path / "filters.png") as picture:
        sheet = np.asarray(picture)
    assert sheet.ndim == 3
    assert sheet.shape[2] == 3
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0})
    events.Reload()
    assert [event.step for event in events.Images("filters/layer_1")] == [0, 3, 6]


def test_zero_filters_are_mid_grey(tmp_path: Path) -> None:
    layer = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0, 0, 0] = -2
        layer.weight[0, 1, 0, 0] = 1
    trainer = SimpleNamespace(loggers=[], global_step=3, datamodule=None)
    prepare = SimpleNamespace(channels=3)
    FilterImages(str(tmp_path)).on_train_epoch_end(
        trainer, SimpleNamespace(net=nn.Sequential(layer), prepare=prepare)
    )
    with Image.open(tmp_path / "filters.png") as picture:
        sheet = np.asarray(picture)
    colours = {tuple(colour) for colour in np.unique(sheet.reshape(-1, 3), axis=0).tolist()}
    # (R, G, B): the mid-grey of 0 is 127.5, rounded to even; -2 is the largest magnitude; white is
    # the gap
    assert colours == {(128, 128, 128), (0, 191, 128), (255, 255, 255)}


def test_nets_that_do_not_see_the_channels_have_no_filters_to_draw(tmp_path: Path) -> None:
    trainer = SimpleNamespace(loggers=[], global_step=0, datamodule=None)
    model = SimpleNamespace(net=nn.Conv2d(1, 2, 3), prepare=SimpleNamespace(channels=3))
    FilterImages(str(tmp_path)).on_train_start(trainer, model)
    assert not list(tmp_path.iterdir())


def test_throughput_counts_pictures_per_second(
    run: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that gains 2 seconds each time it is read: 4, 8 and 12 pictures after 2, 4 and 6
    seconds."""
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(
        "callbacks.throughput.time", SimpleNamespace(perf_counter=lambda: next(clock))
    )
    run(Throughput(), logger=TensorBoardLogger(tmp_path, name="", version=""), max_epochs=2)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.value for event in events.Scalars("images_per_second")] == [2.0] * 6


def test_all_callbacks_are_exported() -> None:
    found = {
        name
        for path in Path(callbacks.__file__).parent.glob("[a-z]*.py")
        for name, value in vars(__import__(f"callbacks.{path.stem}", fromlist=["x"])).items()
        if isinstance(value, type)
        and issubclass(value, Callback)
        and value.__module__ == f"callbacks.{path.stem}"
    }
    assert found - {"FeatureSearch"} == set(callbacks.__all__)  # a base class
