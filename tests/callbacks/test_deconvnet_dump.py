"""Each sheet shows the strongest activations of the validation pictures at the epochs asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

import callbacks.deconvnet_dump
from callbacks import DeconvnetDump
from zfnet.deconv import random_subset
from zfnet.errors import InputError
from zfnet.training import Classifier
from zfnet.viz import FeaturePanel, feature_sheet

Sheets = list[tuple[str, list[FeaturePanel], Tensor]]


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> Sheets:
    """What is drawn: title, panels and the sheet."""
    drawn: Sheets = []

    def draw(title: str, panels: list[FeaturePanel], width: int) -> Tensor:
        drawn.append((title, panels, feature_sheet(title, panels, width)))
        return drawn[-1][2]

    monkeypatch.setattr(callbacks.deconvnet_dump, "feature_sheet", draw)
    return drawn


@pytest.fixture
def run(
    tiny_classifier: Callable[..., Classifier],
    tiny_data: Callable[..., LightningDataModule],
    tiny_trainer: Callable[..., Trainer],
) -> Callable[..., tuple[Trainer, Classifier]]:
    def go(*extra: Callback, **options: Any) -> tuple[Trainer, Classifier]:
        model, trainer = tiny_classifier(), tiny_trainer(callbacks=list(extra), **options)
        trainer.fit(model, datamodule=tiny_data())
        return trainer, model

    return go


Runs = Callable[..., tuple[Trainer, Classifier]]


@pytest.mark.parametrize(("split", "k", "count"), [("val", 9, 7), ("val", 2, 2), ("train", 9, 9)])
def test_panels_are_those_of_a_search_by_hand(
    run: Runs, sheets: Sheets, tmp_path: Path, split: str, k: int, count: int
) -> None:
    """The best of 7 validation images or 12 for training: a unit of layer 1 projects to itself
    times its filter."""
    trainer, model = run(DeconvnetDump(str(tmp_path), channels=3, split=split, k=k))
    ((_, panels, _),) = sheets
    assert [panel.channel for panel in panels] == random_subset(4, 3).tolist()
    images = trainer.datamodule.images[split].images
    crops = torch.tensor([[2, 2, 0]]).expand(len(images), 3)
    with torch.no_grad():
        units = model.net.conv1.conv(model.prepare(images, torch.arange(len(images)), crops)).relu()
    for panel in panels:
        own = units[:, panel.channel].flatten(1)  # (N, H * W)
        best = own.amax(1).argsort(descending=True)[:count]
        values, places = own[best].max(1)
        weight = model.net.conv1.conv.weight[panel.channel].detach()
        torch.testing.assert_close(panel.values, values)
        torch.testing.assert_close(
            panel.projections, values[:, None, None, None] * weight, rtol=1e-4, atol=1e-6
        )
        assert torch.equal(panel.filter, weight)
        for patch, index, place in zip(panel.patches, best, places.tolist(), strict=True):
            y, x = place // 6 + 2, place % 6 + 2
            pixels = images[index, y : y + 3, x : x + 3].permute(2, 0, 1)
            torch.testing.assert_close(patch, pixels / 255, rtol=0, atol=1e-6)


class Stop(Callback):
    """Ends training after an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 == self.epoch


@pytest.mark.parametrize(("last", "epochs"), [(1, [1]), (4, [2, 4]), (5, [2, 4, 5])])
@pytest.mark.parametrize("early", [False, True])
def test_every_few_epochs_and_after_the_last(
    run: Runs, sheets: Sheets, tmp_path: Path, last: int, epochs: list[int], early: bool
) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="")
    dump = DeconvnetDump(str(tmp_path), every_n_epochs=2)
    run(dump, Stop(last if early else 0), logger=logger, max_epochs=9 if early else last)
    assert [title for title, *_ in sheets] == [
        f"conv1 after epoch {epoch}: top 7 of 7 validation images" for epoch in epochs
    ]
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0})
    events.Reload()
    assert [event.step for event in events.Images("top_activations/conv1")] == [
        3 * epoch for epoch in epochs
    ]
    assert [event.step for event in events.Scalars("dump_seconds")] == [
        3 * epoch for epoch in epochs
    ]
    with Image.open(tmp_path / "top_activations" / "conv1.png") as picture:
        assert np.array_equal(np.asarray(picture), sheets[-1][2].numpy())


def test_layers_behind_the_convolutions_can_be_shown(
    run: Runs, sheets: Sheets, tmp_path: Path
) -> None:
    """A fully connected unit sees the whole picture, and has no filter on it."""
    run(DeconvnetDump(str(tmp_path), layers=["fc2"], channels=2, k=1))
    ((_, panels, _),) = sheets
    assert all(panel.projections.shape == (1, 3, 8, 8) for panel in panels)
    assert [panel.filter for panel in panels] == [None, None]


def test_a_net_that_is_not_finite_has_no_sheets(run: Runs, sheets: Sheets, tmp_path: Path) -> None:
    """The last sheets of a net in order stay. Here it is repaired before it trains on."""
    before = tmp_path / "top_activations" / "conv1.png"
    before.parent.mkdir()
    before.write_bytes(b"as it was")

    class Diverge(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            pl_module.net.conv1.conv.weight.data[0, 0, 0, 0] = float("nan")

        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            pl_module.net.conv1.conv.weight.data.nan_to_num_(0)

    trainer, _ = run(Diverge(), DeconvnetDump(str(tmp_path), every_n_epochs=1), max_epochs=2)
    assert trainer.global_step == 6
    assert not sheets
    assert before.read_bytes() == b"as it was"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layers": []}, "layers is empty"),
        ({"channels": 0}, "channels=0"),
        ({"every_n_epochs": 0}, "every_n_epochs=0"),
        ({"k": 0}, "k=0"),
        ({"split": "test"}, "split='test'.*train, val"),
    ],
)
def test_impossible_arguments(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"deconvnet_dump.{words}"):
        DeconvnetDump("folder", **arguments)
