"""Learning-rate schedulers as a config names them: partial functions that lack the optimizer.

    make = partial(CosineAnnealingLR)               # scheduler=cosine
    total_steps_argument(make)                      # "T_max"
    lr_scheduler_config(make, optimizer, total_steps=900, every_n_epochs=1)   # what Lightning takes

A scheduler that takes the number of steps and was not given it covers the whole run and steps after
each optimizer step. ReduceLROnPlateau steps after each validation, on the top-1 error. Every other
one steps after each epoch."""

import inspect
import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

MakeScheduler = Callable[..., LRScheduler]
MONITOR = "val/top1_error"
TOTAL_STEPS = ("total_steps", "T_max")  # torch's names of it
ENDS_OTHERWISE = ("epochs", "steps_per_epoch")  # of OneCycleLR


def total_steps_argument(make: MakeScheduler) -> str | None:
    """The argument of a partial scheduler that is to be the number of steps of the run; None where
    it needs none."""
    given = getattr(make, "keywords", {})
    if any(name in given for name in (*TOTAL_STEPS, *ENDS_OTHERWISE)):
        return None
    parameters = inspect.signature(make).parameters
    return next((name for name in TOTAL_STEPS if name in parameters), None)


def covers_run(make: MakeScheduler) -> bool:
    """Whether the rates of a partial scheduler depend on the number of steps of the run."""
    return total_steps_argument(make) is not None


def lr_scheduler_config(
    make: MakeScheduler, optimizer: Optimizer, total_steps: int | None, every_n_epochs: int
) -> dict[str, Any]:
    """Makes a scheduler, and says when it steps.

    Args:
        make: the partial scheduler.
        optimizer: whose rate it sets.
        total_steps: optimizer steps of the whole run, where `total_steps_argument` names an
            argument.
        every_n_epochs: epochs from one validation to the next.

    Returns:
        Lightning's `lr_scheduler` dictionary.
    """
    if (name := total_steps_argument(make)) is not None:
        return {"scheduler": make(optimizer, **{name: total_steps}), "interval": "step"}
    scheduler = make(optimizer)
    if isinstance(scheduler, ReduceLROnPlateau):
        scheduler.patience //= every_n_epochs  # epochs in the config, validations in torch
        return {"scheduler": scheduler, "monitor": MONITOR, "frequency": every_n_epochs}
    return {"scheduler": scheduler, "interval": "epoch"}


def warmup_cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.05) -> LambdaLR:
    """A rate that rises linearly, then falls to 0 as half a cosine (Goyal et al. 2017, Loshchilov
    and Hutter 2017).

    Args:
        optimizer: whose rate it sets.
        total_steps: steps of the run.
        warmup: the share of them in which the rate rises, in [0, 1).
    """
    rising = math.ceil(warmup * total_steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        return (1 + math.cos(math.pi * (step - rising) / max(1, total_steps - rising))) / 2

    return LambdaLR(optimizer, factor)
