"""Training that diverges stops: nothing is written from values that are not finite."""

from typing import Any

import torch
from torch import Tensor

from zfnet.errors import InputError

EVERY = 50  # steps between two looks at the loss on a GPU, which has to be waited for


def diverged(what: str, epoch: int, step: int) -> InputError:
    """The line that a user gets. Epochs and steps count from 1, as in the log."""
    return InputError(
        f"training diverged: {what} in epoch {epoch}, step {step}; start another run with a "
        "smaller optimizer.lr or "
        "with trainer.gradient_clip_val=1. The checkpoints from before are kept"
    )


def all_finite(values: Any) -> bool:
    """Whether every floating-point tensor in nested containers is finite."""
    if isinstance(values, Tensor):
        return not values.is_floating_point() or bool(torch.isfinite(values).all())
    if isinstance(values, dict):
        return all(all_finite(value) for value in values.values())
    if isinstance(values, list | tuple):
        return all(all_finite(value) for value in values)
    return True
