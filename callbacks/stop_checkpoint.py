"""A run that is asked to stop (SIGTERM) leaves its exact state as `checkpoints/stop.ckpt`.

    Trainer(callbacks=[StopCheckpoint("outputs/run/checkpoints")])

Lightning raises SIGTERMException between two batches. Where gradients are accumulated over several batches, it is
held back until the optimizer has stepped. During validation the errors so far would be lost, and other exceptions
come in the middle of a step: after those a run goes on from its last regular checkpoint, and repeats what came after
it.
"""

from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException


class StopCheckpoint(Callback):
    """Saves on SIGTERM while training, on all processes together."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / "stop.ckpt"
        self._held_back = False

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        signals = trainer._signal_connector
        if trainer.fit_loop._should_accumulate():
            self._held_back |= signals.received_sigterm
            signals.received_sigterm = False
        elif self._held_back:
            signals.received_sigterm = True

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        whole = trainer.training and not trainer.fit_loop._should_accumulate()
        if isinstance(exception, SIGTERMException) and whole:
            trainer.save_checkpoint(self.path, weights_only=False)
