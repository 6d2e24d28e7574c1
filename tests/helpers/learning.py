"""How a test's classifier learns, in a few words."""

from functools import partial
from typing import Any

from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

SCHEDULERS = {"cosine": CosineAnnealingLR, "plateau": partial(ReduceLROnPlateau, factor=0.1)}


def learning(
    lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    schedule: str = "plateau",
    patience: int = 3,
) -> dict[str, Any]:
    """Classifier's `optimizer` and `scheduler`: SGD, and "cosine" or "plateau"."""
    optimizer = partial(SGD, lr=lr, momentum=momentum, weight_decay=weight_decay)
    given = {"patience": patience} if schedule == "plateau" else {}
    return {"optimizer": optimizer, "scheduler": partial(SCHEDULERS[schedule], **given)}
