"""Filters stay within the radius: as a loop does it, bit for bit where nothing is clipped, once a step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn

from callbacks import FilterRenormalization
from callbacks.filter_renormalization import renormalize
from zfnet.errors import InputError
from zfnet.training import Classifier


def slowly(weight: Tensor, radius: float) -> tuple[Tensor, int]:
    """Section 3, filter by filter: an RMS over (in, kh, kw) that exceeds the radius is set to it."""
    result, clipped = weight.clone(), 0
    for filter in result:
        rms = sum(value**2 for value in filter.double().flatten().tolist()) / filter.numel()
        rms = rms**0.5
        if rms > radius:
            filter *= radius / rms
            clipped += 1
    return result, clipped


def rms(weight: Tensor) -> Tensor:
    return weight.double().pow(2).mean((1, 2, 3)).sqrt()


@given(
    shapes=st.lists(st.tuples(*[st.integers(1, 5)] * 4), min_size=1, max_size=3),
    scale=st.sampled_from([1e-3, 0.05, 0.1, 0.15, 1.0, 1e4]),
    radius=st.floats(1e-3, 1.0),
    seed=st.integers(0, 99),
)
def test_against_a_loop(shapes: list[tuple[int, ...]], scale: float, radius: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = [scale * torch.randn(shape, generator=generator) for shape in shapes]
    before = [weight.clone() for weight in weights]
    counts = renormalize(weights, radius)
    for weight, old, count in zip(weights, before, counts, strict=True):
        expected, clipped = slowly(old, radius)
        # norm, quotient and product round once each; the sum of squares of up to 125 values a little more
        torch.testing.assert_close(weight, expected, rtol=1e-6, atol=0)
        assert (rms(weight) <= radius * (1 + 1e-6)).all()
        near = (rms(old) / radius - 1).abs() < 1e-6
        assert abs(int(count) - clipped) <= int(near.sum())
        inside = (rms(old) <= radius) & ~near
        assert torch.equal(weight[inside], old[inside])


def test_by_hand() -> None:
    """Filters (3, 4) have rms √12.5; at radius ½ they become (3, 4) / (2 √12.5); (0.3, 0.4) is within it."""
    weights = torch.tensor([[3.0, 4.0], [0.3, 0.4]]).view(2, 1, 1, 2)
    (count,) = renormalize([weights], 0.5)
    assert count == 1
    assert weights[0].flatten().tolist() == pytest.approx([3 / 50**0.5, 4 / 50**0.5], rel=1e-6)
    assert torch.equal(weights[1].flatten(), torch.tensor([0.3, 0.4]))


def test_zero_filters_stay_zero() -> None:
    weight = torch.zeros(2, 3, 2, 2)
    weight[1] = 1
    (count,) = renormalize([weight], 0.1)
    assert count == 1
    assert not weight[0].any()
    assert torch.isfinite(weight).all()


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
        self.seen.append((trainer.global_step, self.before, pl_module.net.conv1.conv.weight.detach().clone()))

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
        torch.testing.assert_close((before, after), (start, conv.weight.detach()), rtol=1e-4, atol=1e-6)
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
    tiny_trainer(callbacks=[FilterRenormalization()], max_steps=1).fit(model, datamodule=tiny_data())
