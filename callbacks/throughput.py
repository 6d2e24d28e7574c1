"""Images per second, beside the progress bar and in the log.

Trainer(callbacks=[Throughput()])
"""

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer


class Throughput(Callback):
    """Logs `images_per_second`: the images of all processes since the first batch of the epoch.

    Validation and checkpoints do not count. On a GPU the queue is not waited for, which evens out
    over an epoch."""

    def __init__(self) -> None:
        self._start = 0.0
        self._images = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run may resume in the middle of an epoch."""
        self._start = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._images = 0
        self._start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._images += len(batch) * trainer.world_size
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (every and batch_idx % every == 0) or trainer.is_last_batch:
            rate = self._images / (time.perf_counter() - self._start)
            pl_module.log("images_per_second", rate, prog_bar=True, on_step=True, on_epoch=False)
