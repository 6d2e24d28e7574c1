"""Stops training that diverges, so that no checkpoint contains values that are not finite."""

from typing import Any

import torch
from torch import Tensor

from zfnet.errors import InputError

EVERY = 50  # steps between checks of the loss on a GPU, since each check synchronizes


def diverged(what: str, epoch: int, step: int) -> InputError:
    """Returns the error for a run that diverged.

    Args:
        what: what is not finite.
        epoch: the epoch, counted from 1.
        step: the optimizer step, counted from 1.
    """
    return InputError(
        f"training diverged: {what} in epoch {epoch}, step {step}; start another run with a "
        "smaller optimizer.lr or "
        "with trainer.gradient_clip_val=1. The checkpoints from before are kept"
    )


def all_finite(values: Any) -> bool:
    """Whether all floating-point tensors in nested containers are finite."""
    if isinstance(values, Tensor):
        return not values.is_floating_point() or bool(torch.isfinite(values).all())
    if isinstance(values, dict):
        return all(all_finite(value) for value in values.values())
    if isinstance(values, list | tuple):
        return all(all_finite(value) for value in values)
    return True
