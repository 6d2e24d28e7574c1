"""Callbacks for tests, by which a training process comes to harm at a given optimizer step."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer


class Stopper(Callback):
    """Sends the signal `number` (SIGKILL's or SIGTERM's) to its own process, once, when `step`
    steps are done."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, signal.Signals(number)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


class RankCrash(Callback):
    """On one process of several, after `step` steps: an exception, or SIGKILL."""

    def __init__(self, rank: int, step: int, killed: bool) -> None:
        self.rank, self.step, self.killed = rank, step, killed

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if (trainer.global_rank, trainer.global_step) == (self.rank, self.step):
            if self.killed:
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("the oven is on fire")


class Mishap(Callback):
    """In a sweep: after step 6 of a job's first life its seed decides. 1 raises, 2 is killed, 3
    waits to be asked to stop, any other goes on. `lives.json` in its folder lists the threads of
    each life."""

    def __init__(self, folder: str, seed: int) -> None:
        self.lives, self.seed = Path(folder) / "lives.json", seed

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        lives = json.loads(self.lives.read_text()) if self.lives.exists() else []
        self.first = not lives
        self.lives.write_text(json.dumps([*lives, torch.get_num_threads()]))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step != 6 or not self.first:
            return
        if self.seed == 1:
            raise RuntimeError("the oven is on fire")
        if self.seed == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.seed == 3:
            (self.lives.parent / "waiting").touch()
            while not trainer.received_sigterm:
                time.sleep(0.05)
