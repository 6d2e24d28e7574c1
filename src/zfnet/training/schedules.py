"""Learning-rate schedulers as in a config: partial functions without the optimizer.

    make = partial(CosineAnnealingLR)               # scheduler=cosine
    total_steps_argument(make)                      # "T_max"
    lr_scheduler_config(make, optimizer, total_steps=900, every_n_epochs=1)   # for Lightning

If a scheduler has an argument for the number of steps, and the config does not set it, the
scheduler covers the whole run and steps after each optimizer step. ReduceLROnPlateau steps after
each validation, with the top-1 error. All others step after each epoch.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

MakeScheduler = Callable[..., LRScheduler]
MONITOR = "val/top1_error"
TOTAL_STEPS = ("total_steps", "T_max")  # torch's names for the number of steps
ENDS_OTHERWISE = ("epochs", "steps_per_epoch")  # alternatives of OneCycleLR


def total_steps_argument(make: MakeScheduler) -> str | None:
    """Returns the name of the argument for the number of steps of the run.

    Args:
        make: the partial scheduler.

    Returns:
        The name, or None if the scheduler has no such argument or the config sets it.
    """
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
    """Builds a scheduler and defines when it steps.

    Args:
        make: the partial scheduler.
        optimizer: the optimizer.
        total_steps: the number of optimizer steps of the run. Used only if `total_steps_argument`
            returns a name.
        every_n_epochs: the number of epochs between validations.

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
    """Increases the rate linearly, then decreases it to 0 along half a cosine.

    See Goyal et al. (2017) and Loshchilov and Hutter (2017).

    Args:
        optimizer: the optimizer.
        total_steps: the number of optimizer steps of the run.
        warmup: the fraction of the steps in which the rate increases, in [0, 1).
    """
    rising = math.ceil(warmup * total_steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        return (1 + math.cos(math.pi * (step - rising) / max(1, total_steps - rising))) / 2

    return LambdaLR(optimizer, factor)
