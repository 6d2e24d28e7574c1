"""Training that diverges stops with one line, and keeps the checkpoints from before."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from zfnet.errors import InputError
from zfnet.training import Classifier
from zfnet.training.checkpoint_io import AtomicCheckpointIO
from zfnet.training.divergence import all_finite

Make = Callable[..., Any]
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("values", "finite"),
    [
        ({"a": [torch.ones(2), (torch.zeros(1),)], "b": 3}, True),
        (torch.tensor([1, 2]), True),
        ({"a": [torch.ones(2), {"c": torch.tensor([1.0, NAN])}]}, False),
        ([torch.tensor(INF)], False),
        ((torch.tensor(-INF, dtype=torch.bfloat16),), False),
        (None, True),
    ],
)
def test_all_finite(values: Any, finite: bool) -> None:
    assert all_finite(values) == finite


class Spoil(Callback):
    """Sets a weight after a step, or at a validation."""

    def __init__(self, hook: str, step: int, value: float) -> None:
        self.step, self.value = step, value
        setattr(self, hook, self._spoil)

    def _spoil(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self.step and not trainer.sanity_checking:
            pl_module.net.conv1.conv.weight.data[0, 0, 0, 0] = self.value  # type: ignore[union-attr]


@pytest.fixture
def run(
    tiny_classifier: Make,
    tiny_data: Callable[..., LightningDataModule],
    tiny_trainer: Make,
    tmp_path: Path,
) -> Callable[..., Classifier]:
    """3 steps an epoch; a checkpoint after each epoch."""

    def go(*callbacks: Callback, **recipe: Any) -> Classifier:
        keep = ModelCheckpoint(
            dirpath=tmp_path,
            filename="last",
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        model = tiny_classifier(**recipe)
        trainer = tiny_trainer(
            callbacks=[*callbacks, keep],
            max_epochs=3,
            enable_checkpointing=True,
            plugins=[AtomicCheckpointIO()],
        )
        trainer.fit(model, datamodule=tiny_data())
        return model

    return go


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (Spoil("on_train_batch_end", 4, NAN), "the loss is not finite in epoch 2, step 5"),
        (Spoil("on_train_batch_end", 5, INF), "the loss is not finite in epoch 2, step 6"),
        (
            Spoil("on_validation_start", 6, NAN),
            "the validation loss is not finite in epoch 2, step 6",
        ),
        (Spoil("on_validation_end", 6, NAN), "the weights are not finite in epoch 2, step 6"),
    ],
    ids=["loss", "infinite loss", "validation", "weights"],
)
def test_it_stops_and_keeps_the_checkpoint_before(
    run: Callable[..., Classifier], tmp_path: Path, spoil: Callback, message: str
) -> None:
    with pytest.raises(InputError, match=f"training diverged: {message}; .*optimizer.lr") as caught:
        run(spoil)
    assert "\n" not in str(caught.value)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 3
    assert all_finite(kept["state_dict"])
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_rate_that_is_too_high(run: Callable[..., Classifier]) -> None:
    with pytest.raises(InputError, match=r"training diverged: .* epoch [123], step"):
        run(lr=1e30)


def test_a_rate_that_is_not(run: Callable[..., Classifier]) -> None:
    assert run(lr=0.01).saved_step == 9
