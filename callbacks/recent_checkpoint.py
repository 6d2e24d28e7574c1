"""A checkpoint every few minutes within long epochs, from which a run resumes exactly.

every_ten_minutes = timedelta(minutes=10)
recent = RecentCheckpoint(dirpath, filename="recent", train_time_interval=every_ten_minutes)
Trainer(callbacks=[recent])
"""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class RecentCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that saves only between whole optimizer steps within an epoch.

    Lightning's own also saves between two accumulated batches, where gradients would be lost, and
    after the last step of an epoch, where its validation would be lost."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loop = trainer.fit_loop.epoch_loop
        # The training may be done at the end of the epoch, or by trainer.max_steps.
        if not (loop._should_accumulate() or loop._is_training_done):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
