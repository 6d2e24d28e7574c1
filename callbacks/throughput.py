"""Images per second, beside the progress bar and in the log.

Trainer(callbacks=[Throughput()])
"""

import logging
import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from zfnet.errors import one_line
from zfnet.sizes import sides
from zfnet.training.peak import operations_per_image, peak_rate

log = logging.getLogger(__name__)


class Throughput(Callback):
    """Logs `images_per_second`: the images of all processes since the first batch of the epoch.

    On a GPU whose peak rate is published, `pct_of_peak` is the share of it that convolutions and
    matrix products take, in percent (zfnet.training.peak). Validation and checkpoints do not count.
    On a GPU the queue is not waited for, which evens out over an epoch."""

    def __init__(self) -> None:
        self._start = 0.0
        self._images = 0
        self._percent: float | None = None  # of the peak, at one image per second

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run may resume in the middle of an epoch."""
        if pl_module.device.type == "cuda":
            name = torch.cuda.get_device_name(pl_module.device)
            self._percent = percent_per_image(pl_module, name, trainer)
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
            values = {"images_per_second": rate}
            if self._percent is not None:
                values["pct_of_peak"] = rate * self._percent
            pl_module.log_dict(values, prog_bar=True, on_step=True, on_epoch=False)


def percent_per_image(module: LightningModule, device: str, trainer: Trainer) -> float | None:
    """Returns what one image a second is of the peak rate of all GPUs of a run, in percent.

    Args:
        module: the classifier.
        device: the name of a GPU.
        trainer: its trainer.

    Returns:
        The percentage, or None if the peak is not known or the operations cannot be counted.
    """
    peak = peak_rate(device, str(trainer.precision), torch.backends.cudnn.allow_tf32)
    if peak is None:
        return None
    prepare: Any = module.prepare
    try:
        each = operations_per_image(module.net, (prepare.channels, *sides(prepare.crop)))  # type: ignore[arg-type]
    except Exception as error:  # a net of the user's may not run on fake tensors
        log.info("pct_of_peak is not logged: operations cannot be counted (%s)", one_line(error))
        return None
    return 100 * each / (peak * trainer.world_size)
