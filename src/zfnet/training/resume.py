"""Finds the checkpoint from which a run continues, and checks that its settings are the same.

    asked = run_fingerprint(cfg, config, data, trainer, callbacks)
    kept = newest_checkpoint(folder / "checkpoints", config)
    if kept:
        check_same_run(kept, asked, False)  # InputError names the difference

`trainer.max_epochs` may increase if the learning rate does not depend on it. With a cosine schedule
it may not, because the first 12 epochs of 24 have other rates than a run of 12 epochs.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.callbacks import (
    Checkpoint,
    DeviceStatsMonitor,
    LearningRateMonitor,
    ModelSummary,
    ProgressBar,
    StochasticWeightAveraging,
    WeightAveraging,
)
from omegaconf import DictConfig, OmegaConf

from zfnet.data import ImageData
from zfnet.errors import InputError
from zfnet.fingerprint import check_fingerprint, digest
from zfnet.training.checkpoint import check_model_config, read_checkpoint
from zfnet.training.data_config import without_defaults
from zfnet.training.networks import ModelConfig
from zfnet.training.trainer_options import trainer_fingerprint

OBSERVERS = (Checkpoint, ProgressBar, LearningRateMonitor, DeviceStatsMonitor, ModelSummary)
# Keys of data= for the location of the images and how they are read, not for their content.
PLACES = ("root", "store", "store_dir", "store_format", "max_bad")
REMEDY = "give the same settings, or another name= for a new run"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResumePoint:
    """A checkpoint from which a run can continue."""

    path: Path
    step: int  # completed optimizer steps
    epochs: int  # completed epochs
    fingerprint: dict[str, Any] | None  # None before version 0.2
    log_lengths: dict[str, int] | None  # of the event files, in bytes; None before version 0.2


def run_fingerprint(
    cfg: DictConfig,
    config: ModelConfig,
    data: ImageData,
    trainer: Trainer,
    callbacks: Mapping[str, Callback],
) -> dict[str, Any]:
    """Returns all settings that change the results of a run, in plain containers.

    Args:
        cfg: the composed config.
        config: the model config.
        data: the data module, before `setup`.
        trainer: the trainer.
        callbacks: callbacks by their name in the config.
    """
    words = without_defaults(OmegaConf.to_container(cfg.data, resolve=True))  # type: ignore[arg-type]
    skipped = {*PLACES, "channels_shown"}  # which changes no number
    source = words.get("source")
    if isinstance(source, dict):
        words["source"] = {key: value for key, value in source.items() if key not in PLACES}
    images = {
        f"{split}_images": digest(list(own.ids), list(own.labels))
        for split, own in data.sources.items()
    }
    acting = {
        name: found
        for name, callback in callbacks.items()
        if (found := _callback_fingerprint(callback, cfg.callbacks.get(name))) is not None
    }
    return {
        "model": config["model"],
        "data": {key: value for key, value in words.items() if key not in skipped} | images,
        "optimizer": OmegaConf.to_container(cfg.optimizer, resolve=True),
        "scheduler": OmegaConf.to_container(cfg.scheduler, resolve=True),
        **({"ckpt": str(cfg.ckpt)} if cfg.ckpt is not None and cfg.transfer is None else {}),
        "seed": cfg.seed,
        "channels_last": cfg.channels_last,
        "trainer": {
            **trainer_fingerprint(trainer),
            "max_epochs": trainer.max_epochs,
            **({"compile": True} if cfg.trainer.get("compile") else {}),
        },
        **({"callbacks": acting} if acting else {}),
    }


def _callback_fingerprint(callback: Callback, config: DictConfig) -> dict[str, Any] | None:
    """Returns the settings of a callback that change the results.

    They are its `fingerprint`, or the config of a callback of Lightning that is not an observer.
    """
    if (own := getattr(callback, "fingerprint", None)) is not None:
        return own
    if type(callback).__module__.startswith("lightning.") and not isinstance(callback, OBSERVERS):
        return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]
    return None


def check_callbacks(callbacks: Mapping[str, Callback]) -> None:
    """Checks that no callback changes the network after its last checkpoint.

    Args:
        callbacks: callbacks by their name in the config.

    Raises:
        InputError: if a callback averages weights.
    """
    for name, callback in callbacks.items():
        if isinstance(callback, StochasticWeightAveraging | WeightAveraging):
            raise InputError(
                f"callbacks.{name}: {type(callback).__name__} changes the net after its last "
                "checkpoint, so that no "
                "file would hold the net that is tested; leave it out"
            )


def newest_checkpoint(folder: Path, config: ModelConfig) -> ResumePoint | None:
    """Finds the checkpoint with the most steps. Damaged ones are logged and skipped.

    Args:
        folder: the directory of the checkpoints.
        config: the model config of this run.

    Returns:
        The checkpoint, or None if there is none.

    Raises:
        InputError: if a checkpoint does not fit `config`, or all are damaged.
    """
    found: list[tuple[tuple[int, int], ResumePoint]] = []
    problems: list[str] = []
    for path in sorted(folder.glob("*.ckpt")):
        try:
            checkpoint = read_checkpoint(path)
        except InputError as error:
            problems.append(str(error))
            continue
        check_model_config(checkpoint["model_config"], path, config)
        try:
            if (problem := _inexact(checkpoint)) is not None:
                log.warning("%s: %s; going on from another", path, problem)
                continue
            kept = _kept(path, checkpoint)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            problems.append(f"{path}: is damaged ({type(error).__name__}: {error})")
            continue
        found.append(((kept.step, kept.epochs), kept))
    if problems and not found:
        raise InputError(f"{folder}: no checkpoint can be read: {problems[0]}")
    for problem in problems:
        log.warning("a checkpoint is passed over: %s", problem)
    return max(found, key=lambda each: each[0])[1] if found else None


def _kept(path: Path, checkpoint: dict[str, Any]) -> ResumePoint:
    fingerprint, lengths = checkpoint.get("fingerprint"), checkpoint.get("log", {}).get("lengths")
    if fingerprint is not None:
        int(fingerprint["trainer"]["max_epochs"])
    if lengths is not None:
        lengths = {str(name): int(length) for name, length in lengths.items()}
    epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    return ResumePoint(path, int(checkpoint["global_step"]), int(epochs), fingerprint, lengths)


def _inexact(checkpoint: dict[str, Any]) -> str | None:
    """Returns why a checkpoint cannot continue the run exactly, or None."""
    if "optimizer_states" not in checkpoint:
        return "holds a net, and no state of its training"
    loop = checkpoint["loops"]["fit_loop"]
    epoch, batch = loop["epoch_progress"]["current"], loop["epoch_loop.batch_progress"]
    if epoch["processed"] == epoch["ready"]:
        return None
    trainer = checkpoint.get("fingerprint", {}).get("trainer", {})
    if batch["is_last_batch"] or checkpoint["global_step"] == trainer.get("max_steps"):
        return "was written between an epoch's last step and its end"
    if batch["current"]["processed"] % trainer.get("accumulate_grad_batches", 1):
        return "was written between two optimizer steps"
    return None


def check_same_run(kept: ResumePoint, asked: Mapping[str, Any], covers_run: bool = False) -> None:
    """Checks that a run continues with the settings of its checkpoint.

    Args:
        kept: the checkpoint.
        asked: the fingerprint of this run.
        covers_run: whether the scheduler depends on the length of the run.

    Raises:
        InputError: if a setting differs, if fewer epochs are requested than are completed, or if
            the number of epochs changes although the scheduler depends on it.
    """
    epochs = asked["trainer"]["max_epochs"]
    if 0 <= epochs < kept.epochs:
        raise InputError(
            f"{kept.path}: {kept.epochs} epochs are done, more than trainer.max_epochs={epochs}; "
            f"{REMEDY}"
        )
    if kept.fingerprint is None:
        log.warning(
            "%s is of an earlier version: its settings are not compared with these", kept.path
        )
        return
    old, new = _without_epochs(kept.fingerprint), _without_epochs(asked)
    check_fingerprint(kept.path, old, new, REMEDY)
    before = kept.fingerprint["trainer"]["max_epochs"]
    if before != epochs and covers_run:
        name = str(asked["scheduler"]["_target_"]).rpartition(".")[2]
        raise InputError(
            f"{kept.path}: the rates of {name} are for trainer.max_epochs={before}, and a run of "
            f"{epochs} epochs has "
            "other rates from its first step on; give another name= for that run"
        )


def is_longer(
    kept: ResumePoint | None, asked: Mapping[str, Any], result: Mapping[str, Any]
) -> bool:
    """Whether more epochs are requested than a finished run has.

    Args:
        kept: the checkpoint of the run, or None.
        asked: the fingerprint of this run.
        result: the result of the finished run.
    """
    if kept is None:
        return False
    before = kept.fingerprint["trainer"]["max_epochs"] if kept.fingerprint else result["epochs"]
    epochs: int = asked["trainer"]["max_epochs"]
    return epochs > before


def _without_epochs(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    trainer = {key: value for key, value in fingerprint["trainer"].items() if key != "max_epochs"}
    return {**fingerprint, "trainer": trainer}
