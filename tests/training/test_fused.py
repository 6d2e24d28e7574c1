"""A fused optimizer takes the same steps, clips gradients, and resumes as it was saved."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from zfnet.training.classifier import Classifier
from zfnet.training.fused import use_fused

PLAIN = {"foreach": False}


def weights() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(n, generator=generator)) for n in (1, 7, 64, 1000)]


def steps(optimizer: Optimizer, number: int = 5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    (group,) = optimizer.param_groups
    for _ in range(number):
        for each in group["params"]:
            each.grad = torch.randn(each.shape, generator=generator)
        optimizer.step()
    return [each.detach() for each in group["params"]]


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
        (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        (Adam, {"lr": 0.01}),
        (AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    ],
)
def test_the_steps_are_those_of_the_plain_optimizer(
    make: Callable[..., Optimizer], options: dict[str, Any]
) -> None:
    fused = use_fused(make(weights(), **options))
    assert fused.param_groups[0]["fused"]
    torch.testing.assert_close(
        steps(fused), steps(make(weights(), **options, **PLAIN)), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("given", [{"foreach": True}, {"foreach": False}, {"fused": False}])
def test_what_the_user_chose_stays(given: dict[str, bool]) -> None:
    optimizer = use_fused(SGD(weights(), lr=0.1, **given))
    assert optimizer.param_groups[0]["fused"] == given.get("fused")


def test_other_optimizers_and_devices_are_left_alone() -> None:
    assert "fused" not in use_fused(RMSprop(weights(), lr=0.1)).param_groups[0]
    on_meta = [nn.Parameter(torch.zeros(3, device="meta"))]
    assert use_fused(SGD(on_meta, lr=0.1)).param_groups[0]["fused"] is None


def test_a_state_of_an_earlier_version_goes_on_as_it_was() -> None:
    """Its run was not fused: the same bits as without the interruption."""
    old = SGD(weights(), lr=0.1, momentum=0.9)
    steps(old, 3)
    resumed = use_fused(SGD([p.detach().clone() for p in old.param_groups[0]["params"]], lr=0.1))
    resumed.load_state_dict(deepcopy(old.state_dict()))
    for mine, theirs in zip(steps(resumed), steps(old), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped(
    tiny_classifier: Callable[..., Classifier],
    tiny_data: Callable[..., Any],
    tiny_trainer: Callable[..., Trainer],
    precision: Any,
) -> None:
    """With SGD without momentum, a step moves the weights by lr times the clipped norm."""
    classifier = tiny_classifier(optimizer=partial(SGD, lr=0.5))
    before = [each.detach().clone() for each in classifier.parameters()]
    tiny_trainer(max_steps=1, gradient_clip_val=1e-3, precision=precision).fit(
        classifier, datamodule=tiny_data()
    )
    moved = [(a - b).flatten() for a, b in zip(before, classifier.parameters(), strict=True)]
    assert torch.cat(moved).norm().item() == pytest.approx(0.5e-3, rel=1e-2)
