"""Filters are renormalized once after each optimizer step, as in a training loop by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn

from callbacks import FilterRenormalization
from zfnet.errors import InputError
from zfnet.training import Classifier


def slowly(weight: Tensor, radius: float) -> tuple[Tensor, int]:
    """Section 3, filter by filter: an RMS over (in, kh, kw) that exceeds the radius is set to
    it."""
    result, clipped = weight.clone(), 0
    for filter in result:
        rms = sum(value**2 for value in filter.double().flatten().tolist()) / filter.numel()
        rms = rms**0.5
        if rms > radius:
            filter *= radius / rms
            clipped += 1
    return result, clipped


@pytest.mark.parametrize("radius", [0, -0.1, float("nan")])
def test_impossible_radii(radius: float) -> None:
    with pytest.raises(InputError, match="radius"):
        FilterRenormalization(radius)


class Watch(Callback):
    """The first layer's filters before and after each batch, and what was logged."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, Tensor, Tensor]] = []
        self.logged: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.before = pl_module.net.conv1.conv.weight.detach().clone()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.seen.append(
            (trainer.global_step, self.before, pl_module.net.conv1.conv.weight.detach().clone())
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.logged.append(trainer.callback_metrics["clipped_filters/conv1"].item())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_acts_once_after_each_optimizer_step(
    tiny_classifier: Callable[..., Classifier],
    tiny_data: Callable[..., LightningDataModule],
    tiny_trainer: Callable[..., Trainer],
    accumulate: int,
) -> None:
    """Against the same training written as a loop; radius so small that every step clips."""
    radius, watch = 0.05, Watch()
    model, data = tiny_classifier(lr=0.3, seed=3, schedule="cosine"), tiny_data(batch_size=2)
    model.net.fc2.dropout.p = 0.0
    by_hand = tiny_classifier(lr=0.3)
    by_hand.net.fc2.dropout.p = 0.0
    trainer = tiny_trainer(
        accumulate_grad_batches=accumulate, callbacks=[FilterRenormalization(radius), watch]
    )
    trainer.fit(model, datamodule=data)

    by_hand.prepare.set_mean(data.images["train"].mean)
    optimizer = torch.optim.SGD(by_hand.net.parameters(), 0.3, 0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6 // accumulate)
    conv, counts = by_hand.net.conv1.conv, []
    for number, batch in enumerate(data.train_dataloader(), 1):
        start = conv.weight.detach().clone()
        logits = by_hand.net(by_hand.prepare(batch.images, batch.rows, batch.crops))
        (nn.functional.cross_entropy(logits, batch.labels) / accumulate).backward()
        if number % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            renewed, clipped = slowly(conv.weight.detach(), radius)
            conv.weight.data.copy_(renewed)
            counts.append(clipped)
        step, before, after = watch.seen[number - 1]
        assert step == number // accumulate
        torch.testing.assert_close(
            (before, after), (start, conv.weight.detach()), rtol=1e-4, atol=1e-6
        )
        assert torch.equal(before, after) == bool(number % accumulate)
    assert watch.logged == [pytest.approx(sum(counts) / len(counts))]
    assert 0 < sum(counts) <= 4 * len(counts)


def test_a_net_without_convolutions_is_left_alone(
    tiny_classifier: Callable[..., Classifier],
    tiny_data: Callable[..., LightningDataModule],
    tiny_trainer: Callable[..., Trainer],
) -> None:
    model = tiny_classifier()
    model.net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
    tiny_trainer(callbacks=[FilterRenormalization()], max_steps=1).fit(
        model, datamodule=tiny_data()
    )
