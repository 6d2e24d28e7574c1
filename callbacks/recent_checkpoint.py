"""A checkpoint every few minutes within long epochs, from which a run goes on exactly.

    Trainer(callbacks=[RecentCheckpoint(dirpath, filename="recent", train_time_interval=timedelta(minutes=10))])

Between two optimizer steps the gradients so far would be lost, and after an epoch's last step its validation: there
Lightning's own ModelCheckpoint writes, too, and this one waits.
"""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class RecentCheckpoint(ModelCheckpoint):
    """ModelCheckpoint, by time or by steps, after whole optimizer steps within an epoch."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loop = trainer.fit_loop.epoch_loop
        if not (loop._should_accumulate() or loop._is_training_done):  # of the epoch, or by trainer.max_steps
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
