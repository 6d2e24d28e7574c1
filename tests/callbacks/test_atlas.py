"""A small atlas every few epochs, of the net as it is then; training does not notice."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import zfnet.atlas
from callbacks import Atlas
from zfnet.deconv import random_subset
from zfnet.errors import InputError
from zfnet.training import Classifier

Runs = Callable[..., tuple[Trainer, Classifier]]


@pytest.fixture
def run(
    tiny_classifier: Callable[..., Classifier],
    tiny_data: Callable[..., LightningDataModule],
    tiny_trainer: Callable[..., Trainer],
) -> Runs:
    def go(*extra: Callback, **options: Any) -> tuple[Trainer, Classifier]:
        model, trainer = tiny_classifier(), tiny_trainer(callbacks=list(extra), **options)
        trainer.fit(model, datamodule=tiny_data())
        return trainer, model

    return go


def draw(*_: object) -> None:
    """A forward hook: random numbers in whatever pass."""
    torch.rand(3)


@pytest.mark.parametrize("images", [200, 4])
def test_the_atlas_is_that_of_the_net_after_the_epoch(
    run: Runs, tmp_path: Path, images: int
) -> None:
    """Of all images, or of a random sample of them."""
    trainer, model = run(Atlas(str(tmp_path / "run"), every_n_epochs=1, images=images, k=2))
    folder = tmp_path / "run" / "atlas" / "epoch_001"
    assert (folder / "index.html").exists()
    atlas = zfnet.atlas.load(folder)
    assert atlas.title == "run, epoch 1"
    assert atlas.layers == ["conv1"]
    store = trainer.datamodule.images["val"]
    chosen = random_subset(7, min(7, images))
    inputs = model.prepare(
        store.images[chosen], torch.arange(len(chosen)), torch.tensor([[2, 2, 0]] * len(chosen))
    )
    with torch.no_grad():
        largest = model.net.conv1.conv(inputs).relu().amax((2, 3)).numpy()
    assert np.allclose(atlas["conv1"].activations, largest, rtol=1e-5)
    for unit in atlas["conv1"]:
        best = largest[:, unit.channel].argsort()[::-1][:2]
        assert [each["id"] for each in unit.top] == [store.ids[chosen[i]] for i in best]
        assert unit.patches.shape == unit.projections.shape == (2, 3, 3, 3)
        assert unit.controls["random_channel"] != unit.channel


def test_every_few_epochs_with_an_address_in_tensorboard(run: Runs, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="")
    run(Atlas(str(tmp_path), every_n_epochs=2), logger=logger, max_epochs=5)
    folders = sorted((tmp_path / "atlas").iterdir())
    assert [folder.name for folder in folders] == ["epoch_002", "epoch_004"]
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
    events.Reload()
    texts = events.Tensors("atlas/text_summary")
    assert [event.step for event in texts] == [6, 12]
    assert [event.tensor_proto.string_val[0].decode() for event in texts] == [
        f"after epoch {epoch}: `{folder.as_uri()}/index.html`"
        for epoch, folder in zip((2, 4), folders, strict=True)
    ]
    assert [event.step for event in events.Scalars("atlas_seconds")] == [6, 12]
    first, second = (zfnet.atlas.load(folder) for folder in folders)
    assert first.overview["net"]["hash"] != second.overview["net"]["hash"]


class Draws(Callback):
    """What the generator gives after each epoch."""

    def __init__(self) -> None:
        self.drawn: list[float] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.drawn.append(torch.rand(()).item())


def test_weights_and_random_numbers_are_those_of_training_alone(
    tiny_classifier: Callable[..., Classifier],
    tiny_data: Callable[..., LightningDataModule],
    tiny_trainer: Callable[..., Trainer],
    tmp_path: Path,
) -> None:
    results = []
    for extra in ([], [Atlas(str(tmp_path), every_n_epochs=1)]):
        model, draws = tiny_classifier(), Draws()
        model.net.conv1.register_forward_hook(draw)
        trainer = tiny_trainer(callbacks=[*extra, draws], max_epochs=2, precision="bf16-mixed")
        trainer.fit(model, datamodule=tiny_data())
        results.append((draws.drawn, model.state_dict()))
    (alone, plain), (beside, watched) = results
    assert alone == beside
    assert plain.keys() == watched.keys()
    assert all(torch.equal(plain[name], watched[name]) for name in plain)
    assert len(list((tmp_path / "atlas").iterdir())) == 2


def test_nothing_is_left_on_the_net(run: Runs, tmp_path: Path) -> None:
    trainer, model = run()
    model.train()
    model.net.fc2.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    model.zero_grad()
    callback = Atlas(str(tmp_path), every_n_epochs=2)
    callback.on_fit_start(trainer, model)
    callback.on_train_epoch_end(trainer, model)
    assert (tmp_path / "atlas" / "epoch_002" / "index.html").exists()
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in model.net.modules()
    )
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_net_trains_on(
    run: Runs, tmp_path: Path, caplog: pytest.LogCaptureFixture, value: float
) -> None:
    """With a warning. The atlas of that epoch by a run that went further is removed."""
    stale = tmp_path / "atlas" / "epoch_001"
    stale.mkdir(parents=True)

    class Diverge(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            pl_module.net.conv1.conv.weight.data[0, 0, 0, 0] = value

        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            pl_module.net.conv1.conv.weight.data.nan_to_num_(0, 0, 0)

    with caplog.at_level(logging.WARNING, logger="callbacks"):
        trainer, _ = run(Diverge(), Atlas(str(tmp_path), every_n_epochs=1), max_epochs=2)
    assert trainer.global_step == 6
    steps = [re.match(r"atlas at step (\d): nothing is drawn: ", each) for each in caplog.messages]
    assert [found[1] for found in steps if found] == ["3", "6"]
    assert not stale.exists()


def test_an_epoch_that_is_repeated_is_made_anew(run: Runs, tmp_path: Path) -> None:
    """By a resumed run, of another net."""
    trainer, model = run()
    callback = Atlas(str(tmp_path), every_n_epochs=1)
    callback.on_fit_start(trainer, model)
    hashes = []
    for _ in range(2):
        callback.on_train_epoch_end(trainer, model)
        (folder,) = (tmp_path / "atlas").iterdir()
        hashes.append(zfnet.atlas.load(folder).overview["net"]["hash"])
        model.net.conv1.conv.weight.data.mul_(2)
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layers": []}, "layers is empty"),
        ({"every_n_epochs": 0}, "every_n_epochs=0"),
        ({"images": 0}, "images=0"),
        ({"k": 0}, "k=0"),
    ],
)
def test_impossible_arguments(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"atlas.{words}"):
        Atlas("folder", **arguments)
