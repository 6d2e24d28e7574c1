"""How far a run has come: `progress.json` in its directory, rewritten every few seconds.

    Trainer(callbacks=[RunProgress(folder)])
    read_progress(folder)       # {"epoch": 3.25, "epochs": 12.0, "seconds_per_epoch": 24.1, ...}

`sweep=status` shows it (sweep_status.py). The run itself does not depend on it.
"""

import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from zfnet.io import read_json, save_json

NAME = "progress.json"
EVERY = 10.0  # seconds between two writes
KEYS = ("epoch", "epochs", "written", "seconds_per_epoch", "images_per_second")


def read_progress(folder: Path) -> dict[str, float] | None:
    """Reads the progress of a run.

    Args:
        folder: the run directory.

    Returns:
        `epoch`, the epochs that are done, with a fraction; `epochs`, those of the whole run;
        `written`, when this was written, in seconds since 1970; `seconds_per_epoch`, with
        validation; `images_per_second`, in the latest epoch. None if there is no file.

    Raises:
        InputError: if the file is damaged.
    """
    path = folder / NAME
    return read_json(path, "the run writes it again", _checked) if path.exists() else None


def _checked(content: Any) -> dict[str, float]:
    return {key: float(content[key]) for key in KEYS}


class RunProgress(Callback):
    """Writes the progress of a run to its directory.

    Args:
        folder: the run directory.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._start: float | None = None  # when this process began its first step
        self._written = self._epoch_start = 0.0
        self._first = self._done = 0.0  # epochs before the first step, and now
        self._images, self._rate = 0, 0.0  # of this epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_start, self._images = time.monotonic(), 0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._start is None:
            self._start = self._epoch_start = time.monotonic()
            self._first = trainer.current_epoch + batch_idx / trainer.num_training_batches

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._done = trainer.current_epoch + (batch_idx + 1) / trainer.num_training_batches
        self._images += len(batch) * trainer.world_size
        self._rate = self._images / (time.monotonic() - self._epoch_start)
        self._write_if_due(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self._write_if_due(trainer)

    def on_test_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self._write_if_due(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def _write_if_due(self, trainer: Trainer) -> None:
        if time.monotonic() - self._written > EVERY:
            self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        if self._start is None or not trainer.is_global_zero:
            return
        self._written = time.monotonic()
        seconds = (self._written - self._start) / (self._done - self._first)
        values = self._done, _epochs(trainer), time.time(), seconds, self._rate
        save_json(self.path, dict(zip(KEYS, values, strict=True)))


def _epochs(trainer: Trainer) -> float:
    """Returns the length of a run in epochs; with trainer.max_steps it may have a fraction."""
    ends = [] if trainer.max_epochs in (None, -1) else [float(trainer.max_epochs)]
    if trainer.max_steps >= 0:
        batches = trainer.max_steps * trainer.accumulate_grad_batches
        ends.append(batches / trainer.num_training_batches)
    return min(ends)
