"""Which steps a scheduler covers and when it steps, against the definitions."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

from zfnet.training.schedules import (
    covers_run,
    lr_scheduler_config,
    total_steps_argument,
    warmup_cosine,
)


def optimizer(lr: float = 1.0) -> SGD:
    return SGD([nn.Parameter(torch.zeros(1))], lr=lr)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (CosineAnnealingLR, "T_max"),
        (partial(CosineAnnealingLR, T_max=50), None),
        (partial(OneCycleLR, max_lr=0.1), "total_steps"),
        (partial(OneCycleLR, max_lr=0.1, epochs=3, steps_per_epoch=4), None),
        (warmup_cosine, "total_steps"),
        (partial(warmup_cosine, warmup=0.1), "total_steps"),
        (partial(StepLR, step_size=2), None),
        (ReduceLROnPlateau, None),
    ],
)
def test_the_argument_that_covers_the_run(make: Any, argument: str | None) -> None:
    assert total_steps_argument(make) == argument
    assert covers_run(make) == (argument is not None)


def test_when_each_kind_steps() -> None:
    by_step = lr_scheduler_config(CosineAnnealingLR, optimizer(), 20, 1)
    assert (by_step["interval"], by_step["scheduler"].T_max) == ("step", 20)
    by_epoch = lr_scheduler_config(partial(ExponentialLR, gamma=0.5), optimizer(), None, 1)
    assert by_epoch["interval"] == "epoch"
    plateau = lr_scheduler_config(partial(ReduceLROnPlateau, patience=5), optimizer(), None, 2)
    assert (plateau["monitor"], plateau["frequency"]) == ("val/top1_error", 2)
    assert plateau["scheduler"].patience == 2  # validations in 5 epochs


@pytest.mark.parametrize(("total", "warmup", "rising"), [(100, 0.05, 5), (40, 0.0, 0), (7, 0.3, 3)])
def test_a_warmup_rises_linearly_and_falls_as_a_cosine(
    total: int, warmup: float, rising: int
) -> None:
    made = optimizer(0.5)
    scheduler = warmup_cosine(made, total, warmup)
    rates = []
    for _ in range(total + 1):
        rates.append(made.param_groups[0]["lr"])
        made.step()
        scheduler.step()
    up = [0.5 * (step + 1) / (rising + 1) for step in range(rising)]
    down = [
        0.25 * (1 + math.cos(math.pi * step / (total - rising)))
        for step in range(total - rising + 1)
    ]
    assert rates == pytest.approx(up + down)
    assert rates[-1] == pytest.approx(0, abs=1e-12)
