"""A callback for tests: sends a signal to its own process after a given optimizer step."""

import os
import signal
from typing import Any

from lightning import Callback, LightningModule, Trainer


class Stopper(Callback):
    """`number` is SIGKILL's or SIGTERM's; sent once, when `step` steps are done."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, signal.Signals(number)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)
