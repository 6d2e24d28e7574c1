"""A run that is asked to stop (SIGTERM) leaves its exact state as `checkpoints/stop.ckpt`.

    Trainer(callbacks=[StopCheckpoint("outputs/run/checkpoints")])

Lightning raises SIGTERMException between two batches, where the state is whole. During validation the errors
so far would be lost, and other exceptions come in the middle of a step: after those a run goes on from its
last regular checkpoint, and repeats what came after it.
"""

from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException


class StopCheckpoint(Callback):
    """Saves on SIGTERM while training, on all processes together."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / "stop.ckpt"

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, SIGTERMException) and trainer.training:
            trainer.save_checkpoint(self.path, weights_only=False)
