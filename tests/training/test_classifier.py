"""Learning as section 3 has it: ten-crop error, falling rates, steps that depend on nothing but their number."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import nn

from zfnet.data.preprocessing import Preprocessing, ten_crops
from zfnet.errors import InputError
from zfnet.training import Classifier

Make = Callable[..., Classifier]
MakeData = Callable[..., LightningDataModule]
MakeTrainer = Callable[..., Trainer]


@pytest.mark.parametrize(("classes", "ranks"), [(3, [1]), (5, [1]), (6, [1, 5]), (7, [1, 5])])
def test_ten_crop_error(
    tiny_classifier: Make, tiny_data: MakeData, tiny_trainer: MakeTrainer, classes: int, ranks: list[int]
) -> None:
    """Each picture alone, its ten softmax outputs averaged; the error counts pictures, not classes or batches."""
    model, data = tiny_classifier(classes), tiny_data(classes)
    trainer = tiny_trainer()
    trainer.test(model, datamodule=data, verbose=False)
    images, model = data.images["val"], model.eval()
    prepare = Preprocessing(12, 8)
    prepare.set_mean(data.images["train"].mean)
    wrong = dict.fromkeys(ranks, 0)
    for index in range(len(images)):
        with torch.no_grad():
            logits = model.net(prepare(images.images, torch.full((10,), index), ten_crops(12, 8)))
        order = logits.softmax(1).mean(0).argsort(descending=True).tolist()
        for k in ranks:
            wrong[k] += images.labels[index].item() not in order[:k]
    found = {name: value.item() for name, value in trainer.callback_metrics.items()}
    expected = {f"test/top{k}_error": pytest.approx(count / len(images)) for k, count in wrong.items()}
    assert found == expected
    assert 0 < wrong[1] < len(images)  # so that the comparison says something


def test_validation_is_the_centre_crop_over_all_pictures(
    tiny_classifier: Make, tiny_data: MakeData, tiny_trainer: MakeTrainer
) -> None:
    """Batches of 4 and 3: the mean over pictures, not over batches."""
    model, data, trainer = tiny_classifier(7), tiny_data(7), tiny_trainer()
    trainer.validate(model, datamodule=data, verbose=False)
    images = data.images["val"]
    with torch.no_grad():
        inputs = model.prepare(images.images, torch.arange(7), torch.tensor([[2, 2, 0]]).expand(7, 3))
        logits = model.eval().net(inputs)
    best = logits.topk(5).indices
    found = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert found == {
        "val/loss": pytest.approx(nn.functional.cross_entropy(logits, images.labels).item(), rel=1e-5),
        "val/top1_error": pytest.approx((best[:, 0] != images.labels).float().mean().item()),
        "val/top5_error": pytest.approx((best != images.labels[:, None]).all(1).float().mean().item()),
    }
    assert torch.equal(model.prepare.mean, data.images["train"].mean)


class Rates(Callback):
    """The learning rate of each step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_cosine_falls_to_zero(tiny_classifier: Make, tiny_data: MakeData, tiny_trainer: MakeTrainer) -> None:
    rates = Rates()
    trainer = tiny_trainer(callbacks=[rates], max_epochs=3)
    trainer.fit(tiny_classifier(schedule="cosine", lr=0.2), datamodule=tiny_data())
    steps = torch.arange(9, dtype=torch.float64)
    assert rates.rates == pytest.approx((0.1 * (1 + torch.cos(torch.pi * steps / 9))).tolist(), rel=1e-9)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


class Scripted(nn.Module):
    """Validation errors as written, one an epoch, whatever the net does."""

    def __init__(self, errors: list[float]) -> None:
        super().__init__()
        self.errors = iter(errors)

    def update(self, *_: object) -> None: ...

    def reset(self) -> None: ...

    def compute(self) -> dict[str, torch.Tensor]:
        return {"val/top1_error": 1 - torch.tensor(next(self.errors))}


class Keep(Checkpoint):
    """The state after an epoch, at the moment at which ModelCheckpoint writes."""

    def __init__(self, path: Path, epoch: int) -> None:
        self.path, self.epoch = path, epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("resume", [False, True])
def test_a_plateau_divides_the_rate_by_10(
    tiny_classifier: Make, tiny_data: MakeData, tiny_trainer: MakeTrainer, tmp_path: Path, resume: bool
) -> None:
    """patience=1 bears one epoch that is not lower than the best and lowers after the second: epochs 4 and 7
    (0.6, 0.5 against 0.5; 0.4, 0.45 against 0.4). A run that goes on after epoch 4 has the same rates."""
    errors = [0.9, 0.5, 0.6, 0.5, 0.4, 0.4, 0.45, 0.3]
    expected = [0.2] * 4 + [0.02] * 3 + [0.002]

    def rates_of(errors: list[float], path: Path | None = None) -> list[float]:
        model, rates = tiny_classifier(lr=0.2, patience=1), Rates()
        model.errors["val_errors"] = Scripted(errors)
        options = {"max_epochs": 8, "num_sanity_val_steps": 0, "enable_checkpointing": True}
        trainer = tiny_trainer(callbacks=[rates, Keep(tmp_path / "kept.ckpt", epoch=3)], **options)
        trainer.fit(model, datamodule=tiny_data(), ckpt_path=path, weights_only=True)
        return rates.rates[::3]  # three steps an epoch

    whole = rates_of(errors)
    assert whole == pytest.approx(expected)
    if resume:
        assert rates_of(errors[4:], tmp_path / "kept.ckpt") == pytest.approx(expected[4:])


class Draws(nn.Module):
    """In place of dropout: what the generator holds when it is its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[tuple[float, ...]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.drawn.append(tuple(torch.rand(4).tolist()))
        return x


class Disturb(Callback):
    """Random numbers that others draw in between."""

    def on_train_batch_start(self, *_: object) -> None:
        torch.rand(7)


def test_dropout_depends_on_seed_epoch_and_step_alone(
    tiny_classifier: Make, tiny_data: MakeData, tiny_trainer: MakeTrainer
) -> None:
    def drawn(seed: int, *callbacks: Callback) -> list[tuple[float, ...]]:
        model = tiny_classifier(seed=seed)
        model.net.fc2.dropout = Draws()
        tiny_trainer(callbacks=list(callbacks), max_epochs=2).fit(model, datamodule=tiny_data())
        return model.net.fc2.dropout.drawn

    first, again, other = drawn(1), drawn(1, Disturb()), drawn(2)
    assert len(first) == 6
    assert first == again
    assert len({*first, *other}) == 12  # nothing repeats over steps, epochs and seeds


def test_a_resumed_run_ends_with_the_same_weights(
    tiny_classifier: Make, tiny_data: MakeData, tiny_trainer: MakeTrainer, tmp_path: Path
) -> None:
    def trained(path: Path | None = None) -> dict[str, torch.Tensor]:
        model = tiny_classifier(schedule="cosine", seed=4)
        keep = Keep(tmp_path / "kept.ckpt", epoch=1)
        trainer = tiny_trainer(callbacks=[keep], max_epochs=4, enable_checkpointing=True)
        trainer.fit(model, datamodule=tiny_data(), ckpt_path=path, weights_only=True)
        assert trainer.global_step == 12
        return model.state_dict()

    whole, resumed = trained(), trained(tmp_path / "kept.ckpt")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_weight_decay_and_momentum_reach_the_optimizer(tiny_classifier: Make) -> None:
    optimizer = tiny_classifier(momentum=0.5, weight_decay=1e-3).configure_optimizers()["optimizer"]
    assert isinstance(optimizer, torch.optim.SGD)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == (0.01, 0.5, 1e-3, False)


def test_wrong_schedules_say_what_is_wrong(tiny_classifier: Make) -> None:
    with pytest.raises(InputError, match="schedule='step'.*plateau, cosine"):
        tiny_classifier(schedule="step")
