"""Where callbacks write images, texts and histograms: the trainer's TensorBoard logs."""

from typing import Any

from lightning import Trainer
from lightning.pytorch.loggers import TensorBoardLogger


def tensorboard_writers(trainer: Trainer) -> list[Any]:
    """The SummaryWriter of each of the trainer's TensorBoard loggers."""
    return [
        logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)
    ]
