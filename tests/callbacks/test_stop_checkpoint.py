"""A run that SIGTERM ends leaves its whole state: going on equals never having stopped.

Others leave none."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from callbacks import StopCheckpoint
from zfnet.training import Classifier


class Interrupt(Callback):
    """Calls `act` once, after the first batch of the second epoch's training or validation."""

    def __init__(self, hook: str, act: Callable[[], None]) -> None:
        setattr(
            self,
            hook,
            lambda trainer, *_: trainer.current_epoch == 1 and not self.done and self._act(act),
        )
        self.done = False

    def _act(self, act: Callable[[], None]) -> None:
        self.done = True
        act()


class Losses(Callback):
    """The validation loss of each epoch."""

    def __init__(self) -> None:
        self.epochs: dict[int, float] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs[trainer.current_epoch] = trainer.callback_metrics["val/loss"].item()


def stop() -> None:
    signal.raise_signal(signal.SIGTERM)


def fail(exception: type[BaseException]) -> Callable[[], None]:
    def act() -> None:
        raise exception("in the middle of a step")

    return act


@pytest.fixture
def fit(
    tiny_classifier: Callable[..., Classifier],
    tiny_data: Callable[..., LightningDataModule],
    tiny_trainer: Callable[..., Trainer],
) -> Callable[..., Classifier]:
    def go(
        *callbacks: Callback, schedule: str = "cosine", resume: Path | None = None
    ) -> Classifier:
        model = tiny_classifier(schedule=schedule, patience=0, seed=6)
        trainer = tiny_trainer(callbacks=list(callbacks), max_epochs=3)
        trainer.fit(model, datamodule=tiny_data(), ckpt_path=resume, weights_only=True)
        return model

    return go


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_batch_end"])
def test_going_on_equals_never_having_stopped(
    fit: Callable[..., Classifier], tmp_path: Path, hook: str, schedule: str
) -> None:
    whole_losses, losses = Losses(), Losses()
    whole = fit(whole_losses, schedule=schedule)
    with pytest.raises(SystemExit):
        fit(StopCheckpoint(str(tmp_path)), Interrupt(hook, stop), losses, schedule=schedule)
    stopped = tmp_path / "stop.ckpt"
    if hook == "on_train_batch_end":  # within validation it may leave none, but never half a one
        assert torch.load(stopped, weights_only=True)["global_step"] == 4
    resumed = fit(losses, schedule=schedule, resume=stopped if stopped.exists() else None)
    assert all(
        torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items()
    )
    assert losses.epochs == whole_losses.epochs


@pytest.mark.parametrize("exception", [ValueError, RuntimeError, KeyboardInterrupt])
def test_other_exceptions_leave_nothing(
    fit: Callable[..., Classifier], tmp_path: Path, exception: type[BaseException]
) -> None:
    with pytest.raises((exception, SystemExit)):
        fit(StopCheckpoint(str(tmp_path)), Interrupt("on_train_batch_end", fail(exception)))
    assert not list(tmp_path.iterdir())


def test_a_run_that_ends_by_itself_leaves_nothing(fit: Callable[..., Any], tmp_path: Path) -> None:
    fit(StopCheckpoint(str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_a_stop_while_the_finished_net_is_tested_leaves_nothing(
    tiny_classifier: Callable[..., Classifier],
    tiny_data: Callable[..., LightningDataModule],
    tiny_trainer: Callable[..., Trainer],
    tmp_path: Path,
) -> None:
    """Its last checkpoint is the whole of it already."""
    net, data, stopper = tiny_classifier(), tiny_data(), Interrupt("on_test_batch_start", stop)
    trainer = tiny_trainer(callbacks=[StopCheckpoint(str(tmp_path)), stopper], max_epochs=1)
    trainer.fit(net, datamodule=data)
    with pytest.raises((SIGTERMException, SystemExit)):
        trainer.test(net, datamodule=data, verbose=False)
    assert stopper.done
    assert not list(tmp_path.iterdir())
