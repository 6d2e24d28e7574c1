"""Builds the trainer of a run, with its callbacks and loggers.

quiet_lightning()
callbacks = build_callbacks(cfg, folder)
trainer = build_trainer(cfg, folder, callbacks, kept=None)
"""

import logging
import warnings
from pathlib import Path

from hydra.utils import instantiate
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import (
    Checkpoint,
    LearningRateMonitor,
    ModelCheckpoint,
    ProgressBar,
)
from omegaconf import DictConfig

from zfnet.launch.run_progress import RunProgress
from zfnet.launch.stopping import StopTogether
from zfnet.training.checkpoint_io import AtomicCheckpointIO
from zfnet.training.event_log import EventLogger
from zfnet.training.resume import ResumePoint, check_callbacks

log = logging.getLogger(__name__)


def quiet_lightning() -> None:
    """Sends Lightning's messages to Hydra's log. Ignores warnings that need no action."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
    logging.raiseExceptions = False  # on a full disk, the run reports the error itself
    # The warning is about shuffling. The data module already keeps one order of batches.
    warnings.filterwarnings("ignore", message="You requested to overfit")


def build_callbacks(cfg: DictConfig, folder: Path) -> dict[str, Callback]:
    """Builds the callbacks by name. Adds a ModelCheckpoint if none of them writes checkpoints.

    Args:
        cfg: the composed config.
        folder: the run directory.

    Raises:
        InputError: if a callback averages weights.
    """
    callbacks = {
        str(name): instantiate(callback)
        for name, callback in cfg.callbacks.items()
        if callback is not None
    }
    check_callbacks(callbacks)
    if cfg.trainer.get("enable_progress_bar") is False:
        callbacks = {
            name: each for name, each in callbacks.items() if not isinstance(each, ProgressBar)
        }
    if not any(isinstance(callback, Checkpoint) for callback in callbacks.values()):
        log.info(
            "no callback writes checkpoints: checkpoints/last.ckpt is written after every epoch"
        )
        callbacks["last"] = ModelCheckpoint(
            folder / "checkpoints",
            "last",
            enable_version_counter=False,
            save_on_train_epoch_end=True,
        )
    return callbacks


def build_trainer(
    cfg: DictConfig, folder: Path, callbacks: dict[str, Callback], kept: ResumePoint | None
) -> Trainer:
    """Builds the trainer of conf/trainer with the callbacks and loggers of the run.

    Args:
        cfg: the composed config.
        folder: the run directory.
        callbacks: by name, see `build_callbacks`.
        kept: where the run continues; None at the beginning.
    """
    loggers = [instantiate(logger) for logger in cfg.logger.values() if logger is not None]
    for logger in loggers:
        if isinstance(logger, EventLogger) and kept and kept.log_lengths is None:
            logger.purge_step = kept.step + 1
    if not loggers:
        callbacks = {
            name: each
            for name, each in callbacks.items()
            if not isinstance(each, LearningRateMonitor)
        }
    options = {key: value for key, value in cfg.trainer.items() if key != "compile"}
    return instantiate(
        options,
        default_root_dir=str(folder),
        callbacks=[*callbacks.values(), RunProgress(folder), StopTogether()],
        logger=loggers or False,
        plugins=[AtomicCheckpointIO()],
    )
