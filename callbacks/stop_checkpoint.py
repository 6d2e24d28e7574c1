"""A checkpoint of a run that is asked to stop (SIGTERM).

Trainer(callbacks=[StopCheckpoint("outputs/run/checkpoints")])
"""

from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException


class StopCheckpoint(Callback):
    """Saves `stop.ckpt` on SIGTERM while training, on all processes together.

    Lightning raises SIGTERMException between two batches. Where gradients are accumulated over
    several batches, it is delayed until the optimizer has stepped. During validation, and on other
    exceptions, nothing is saved: the run resumes from its last regular checkpoint.

    Args:
        folder: of the checkpoints.
    """

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / "stop.ckpt"
        self._delayed = False

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        signals = trainer._signal_connector
        if trainer.fit_loop._should_accumulate():
            self._delayed |= signals.received_sigterm
            signals.received_sigterm = False
        elif self._delayed:
            signals.received_sigterm = True

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        whole = trainer.training and not trainer.fit_loop._should_accumulate()
        if isinstance(exception, SIGTERMException) and whole:
            trainer.save_checkpoint(self.path, weights_only=False)
