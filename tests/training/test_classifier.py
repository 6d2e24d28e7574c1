"""Learning as section 3 has it: ten-crop error, falling rates, steps by their number alone."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from zfnet.data.image_store import ImageStore
from zfnet.data.preprocessing import Preprocessing, ten_crops
from zfnet.errors import InputError
from zfnet.metrics import ClassAccuracy
from zfnet.training import Classifier

Make = Callable[..., Classifier]
MakeData = Callable[..., LightningDataModule]
MakeTrainer = Callable[..., Trainer]


def class_accuracy(right: list[bool], labels: list[int]) -> float:
    """Straight from the definition."""
    within = [
        [r for r, label in zip(right, labels, strict=True) if label == c] for c in set(labels)
    ]
    return sum(sum(each) / len(each) for each in within) / len(within)


def test_a_class_without_pictures_does_not_count() -> None:
    """Class 0: one of two right; class 1: right; class 2 has none, though it is named once."""
    metric = ClassAccuracy(4)
    metric.update(torch.tensor([0, 2, 1]), torch.tensor([0, 0, 1]))
    assert metric.compute() == pytest.approx(0.75) == class_accuracy([True, False, True], [0, 0, 1])


@pytest.mark.parametrize(("classes", "ranks"), [(3, [1]), (5, [1]), (6, [1, 5]), (7, [1, 5])])
def test_ten_crop_error(
    tiny_classifier: Make,
    tiny_data: MakeData,
    tiny_trainer: MakeTrainer,
    memory_images: Callable[..., ImageStore],
    classes: int,
    ranks: list[int],
) -> None:
    """Each picture alone, its ten softmax outputs averaged. All but ten labels are what that says:
    any other rule (the mean of the logits, say) errs more."""
    model, data, trainer = tiny_classifier(classes), tiny_data(classes), tiny_trainer()
    data.images["val"] = images = memory_images(150, classes=classes, seed=1)
    model.net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, classes))
    model.net[1].weight.data *= 10  # crops of one picture disagree, and firmly
    prepare = Preprocessing(12, 8, "unit")
    prepare.set_mean(data.images["train"].mean)
    model.eval()
    ranking, of_logits = [], []  # classes by probability; the first by mean logit
    for index in range(len(images)):
        with torch.no_grad():
            logits = model.net(prepare(images.images, torch.full((10,), index), ten_crops(12, 8)))
        ranking.append(logits.softmax(1).mean(0).argsort(descending=True).tolist())
        of_logits.append(logits.mean(0).argmax().item())
    images.labels = torch.tensor([order[-1 if i < 10 else 0] for i, order in enumerate(ranking)])
    assert of_logits != [order[0] for order in ranking]
    trainer.test(model, datamodule=data, verbose=False)
    found = {name: value.item() for name, value in trainer.callback_metrics.items()}
    errors = {key: value for key, value in found.items() if key.endswith("error")}
    assert errors == {f"test/top{k}_error": pytest.approx(10 / 150) for k in ranks}
    right = [
        order[0] == label for order, label in zip(ranking, images.labels.tolist(), strict=True)
    ]
    assert found["test/class_accuracy"] == pytest.approx(
        class_accuracy(right, images.labels.tolist())
    )


def test_validation_is_the_centre_crop_over_all_pictures(
    tiny_classifier: Make, tiny_data: MakeData, tiny_trainer: MakeTrainer
) -> None:
    """Batches of 4 and 3: the mean over pictures, not over batches."""
    model, data, trainer = tiny_classifier(7), tiny_data(7), tiny_trainer()
    trainer.validate(model, datamodule=data, verbose=False)
    images = data.images["val"]
    with torch.no_grad():
        inputs = model.prepare(
            images.images, torch.arange(7), torch.tensor([[2, 2, 0]]).expand(7, 3)
        )
        logits = model.eval().net(inputs)
    best = logits.topk(5).indices
    found = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert found == {
        "val/loss": pytest.approx(
            nn.functional.cross_entropy(logits, images.labels).item(), rel=1e-5
        ),
        "val/top1_error": pytest.approx((best[:, 0] != images.labels).float().mean().item()),
        "val/top5_error": pytest.approx(
            (best != images.labels[:, None]).all(1).float().mean().item()
        ),
        "val/class_accuracy": pytest.approx(
            class_accuracy((best[:, 0] == images.labels).tolist(), images.labels.tolist())
        ),
    }
    assert torch.equal(model.prepare.mean, data.images["train"].mean)


def test_the_finished_net_on_its_training_pictures(
    tiny_classifier: Make, tiny_data: MakeData, tiny_trainer: MakeTrainer
) -> None:
    """At the centre crop, without dropout, beside the ten-crop test of the others."""
    model, data, trainer = tiny_classifier(), tiny_data(), tiny_trainer()
    data.test_dataloader = lambda: [data.ordered("val"), data.ordered("train")]
    trainer.test(model, datamodule=data, verbose=False)
    images = data.images["train"]
    with torch.no_grad():
        inputs = model.prepare(
            images.images, torch.arange(12), torch.tensor([[2, 2, 0]]).expand(12, 3)
        )
        wrong = model.eval().net(inputs).argmax(1) != images.labels
    found = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert set(found) == {"test/top1_error", "test/class_accuracy", "train_eval/top1_error"}
    assert found["train_eval/top1_error"] == pytest.approx(wrong.float().mean().item())


def test_seconds_add_up_over_the_processes_of_a_run(
    tiny_classifier: Make, tiny_data: MakeData, tiny_trainer: MakeTrainer, tmp_path: Path
) -> None:
    keep = Keep(tmp_path / "kept.ckpt", epoch=0)
    tiny_trainer(callbacks=[keep], enable_checkpointing=True).fit(
        tiny_classifier(), datamodule=tiny_data()
    )
    checkpoint = torch.load(tmp_path / "kept.ckpt", weights_only=True)
    assert checkpoint["seconds"] > 0
    torch.save(checkpoint | {"seconds": 1000.0}, tmp_path / "kept.ckpt")
    model = tiny_classifier()
    tiny_trainer(max_epochs=2).fit(
        model, datamodule=tiny_data(), ckpt_path=tmp_path / "kept.ckpt", weights_only=True
    )
    assert 1000 < model.seconds < 1300


class Rates(Callback):
    """The learning rate of each step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_cosine_falls_to_zero(
    tiny_classifier: Make, tiny_data: MakeData, tiny_trainer: MakeTrainer
) -> None:
    rates = Rates()
    trainer = tiny_trainer(callbacks=[rates], max_epochs=3)
    trainer.fit(tiny_classifier(schedule="cosine", lr=0.2), datamodule=tiny_data())
    steps = torch.arange(9, dtype=torch.float64)
    assert rates.rates == pytest.approx(
        (0.1 * (1 + torch.cos(torch.pi * steps / 9))).tolist(), rel=1e-9
    )
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


class OneClass(nn.Module):
    """A net that learns nothing of use: in validation it calls everything the class `says`."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.says = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            return self.linear(x.mean((2, 3)))
        return 2.0 * nn.functional.one_hot(torch.full((len(x),), self.says), 4)


class Say(Callback):
    """What OneClass calls everything, by epoch."""

    def __init__(self, classes: list[int]) -> None:
        self.classes = classes

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.net.says = self.classes[trainer.current_epoch]


class Keep(Checkpoint):
    """The state after an epoch, at the moment at which ModelCheckpoint writes."""

    def __init__(self, path: Path, epoch: int) -> None:
        self.path, self.epoch = path, epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("resume", [False, True])
def test_a_plateau_divides_the_rate_by_10(
    tiny_classifier: Make,
    tiny_data: MakeData,
    tiny_trainer: MakeTrainer,
    memory_images: Callable[..., ImageStore],
    tmp_path: Path,
    resume: bool,
) -> None:
    """patience=1 bears one epoch that is not lower than the best; the second lowers the rate:
    epochs 3 and 6 (0.8, 0.7 after 0.7; 0.6, 0.7 after 0.6). A run that goes on after epoch 3 has
    the same rates."""
    errors = [0.9, 0.7, 0.8, 0.7, 0.6, 0.6, 0.7, 0.6]
    expected = [0.2] * 4 + [0.02] * 3 + [0.002]
    share = {0.9: 0, 0.8: 1, 0.7: 2, 0.6: 3}  # of ten pictures 1, 2, 3 and 4 are of these classes

    def rates_of(path: Path | None = None) -> list[float]:
        model, data, rates = (
            tiny_classifier(classes=4, lr=0.2, patience=1),
            tiny_data(classes=4),
            Rates(),
        )
        model.net = OneClass()
        data.images["val"] = memory_images(10, classes=4)
        data.images["val"].labels = torch.tensor([0, 1, 1, 2, 2, 2, 3, 3, 3, 3])
        callbacks = [
            rates,
            Say([share[error] for error in errors]),
            Keep(tmp_path / "kept.ckpt", epoch=3),
        ]
        trainer = tiny_trainer(callbacks=callbacks, max_epochs=8, enable_checkpointing=True)
        trainer.fit(model, datamodule=data, ckpt_path=path, weights_only=True)
        return rates.rates[::3]  # three steps an epoch

    assert rates_of() == pytest.approx(expected)
    if resume:
        assert rates_of(tmp_path / "kept.ckpt") == pytest.approx(expected[4:])


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
    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == (
        0.01,
        0.5,
        1e-3,
        False,
    )


@pytest.mark.parametrize(
    "given", [{"optimizer": partial(SGD, lr=-1)}, {"scheduler": partial(StepLR, steps=3)}]
)
def test_what_torch_refuses_is_one_line(tiny_classifier: Make, given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"optimizer or scheduler: .*(learning rate|steps)"):
        tiny_classifier(**given).configure_optimizers()


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (nn.Softmax(1), "ends in a softmax, and training applies it to the logits itself"),
        (nn.Sigmoid(), "ends in a sigmoid"),
        (nn.Linear(4, 3), "has 3 outputs for 4 classes"),
        (
            nn.Unflatten(1, (4, 1)),
            r"gives no \(B, classes\), but \(1, 4, 1\): a classifier is needed",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_net_without_logits_of_these_classes_is_not_trained(
    tiny_classifier: Make, tiny_data: MakeData, tiny_trainer: MakeTrainer, end: nn.Module, says: str
) -> None:
    model = tiny_classifier(classes=4)
    model.net = nn.Sequential(model.net, end)
    with pytest.raises(InputError, match=says):
        tiny_trainer(max_epochs=1).fit(model, datamodule=tiny_data(classes=4))


def test_log_probabilities_are_logits(
    tiny_classifier: Make, tiny_data: MakeData, tiny_trainer: MakeTrainer
) -> None:
    """Their softmax are the probabilities, so that training is the same."""

    def weights(*ends: nn.Module) -> torch.Tensor:
        model = tiny_classifier(classes=4)
        model.net = nn.Sequential(model.net, *ends)
        tiny_trainer(max_epochs=1).fit(model, datamodule=tiny_data(classes=4))
        return torch.cat([weight.detach().flatten() for weight in model.net.parameters()])

    torch.testing.assert_close(weights(nn.LogSoftmax(1)), weights())
