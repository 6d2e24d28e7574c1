"""Trains a network from a config; the function behind train.py.

    fit(cfg)    # data → network → classifier → trainer, in the run directory of Hydra

A run writes its checkpoints, images and TensorBoard log to its run directory, and `result.json`
when it finishes. With `resume=true` it continues from its newest checkpoint, or reports that it has
finished (see resume.py). In a sweep, each job is a separate process (see launch/sweep_job.py).
"""

import json
import logging
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning import Trainer, seed_everything
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf, read_write

from zfnet.config import Training, check_config
from zfnet.data import ImageData
from zfnet.errors import InputError
from zfnet.io import save, writing
from zfnet.launch import run_dirs
from zfnet.launch.command_line import parse
from zfnet.launch.distributed import check_started_once, start_ranks_as_ours
from zfnet.launch.error_messages import translate_hydra_errors
from zfnet.launch.malloc import keep_freed_memory
from zfnet.launch.results import finish, objective, read_result
from zfnet.launch.sweep_job import run_job
from zfnet.models.pretrained import with_transforms
from zfnet.training.checkpoint import (
    check_image_size,
    load,
    load_net_weights,
    read_checkpoint,
)
from zfnet.training.classifier import Classifier
from zfnet.training.compilation import compile_for_training
from zfnet.training.data_config import describe_data
from zfnet.training.event_log import cut_back
from zfnet.training.frozen_transfer import transfer_frozen
from zfnet.training.networks import (
    ModelConfig,
    build,
    channels_of,
    check_channels,
    check_target,
    fresh_model,
    listed,
)
from zfnet.training.resume import (
    ResumePoint,
    check_same_run,
    is_longer,
    newest_checkpoint,
    run_fingerprint,
)
from zfnet.training.schedules import covers_run
from zfnet.training.trainer import build_callbacks, build_trainer, quiet_lightning
from zfnet.training.trainer_options import check_trainer_options

log = logging.getLogger(__name__)


def fit(cfg: DictConfig) -> float:
    """Trains and tests a network.

    Args:
        cfg: the composed config.

    Returns:
        The value that a sweep minimizes (see `objective`): by default the last validation top-1
        error, a fraction.

    Raises:
        InputError: for an error that the user can fix.
        Stopped: if a signal stopped the run.
        SIGTERMException: if a signal stopped the run during training.
    """
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    if hydra.mode == RunMode.MULTIRUN:
        return run_job(cfg, folder)
    check_started_once(cfg)
    run_dirs.hold(folder)
    check_config(cfg, Training)
    if cfg.ckpt is not None and cfg.transfer is None:
        _check_no_model(hydra.overrides.task)
    with translate_hydra_errors():
        check_trainer_options(OmegaConf.to_container(cfg.trainer, resolve=True))  # type: ignore[arg-type]
        if cfg.trainer.get("fast_dev_run"):
            return _rehearse(cfg)
        return train(cfg, folder)


def _check_no_model(overrides: list[str]) -> None:
    """Rejects overrides of the network beside a checkpoint, which has its own."""
    for override in parse(overrides):
        if override.key_or_group.partition(".")[0] in ("ablation", "model"):
            raise InputError(
                f"{override.input_line}: the network is that of ckpt=; leave one of them out"
            )


def _rehearse(cfg: DictConfig) -> float:
    """Runs a few batches (trainer.fast_dev_run) in a temporary directory."""
    runtime: Any = HydraConfig.get().runtime
    before = runtime.output_dir
    with TemporaryDirectory() as folder, read_write(runtime):
        try:
            runtime.output_dir = folder
            return train(cfg, Path(folder))
        finally:
            runtime.output_dir = before
            log.info("trainer.fast_dev_run: nothing is kept")


def train(cfg: DictConfig, folder: Path) -> float:
    """Runs one job of `fit`.

    Args:
        cfg: the composed config.
        folder: the run directory.

    Returns:
        The value that a sweep minimizes.

    Raises:
        InputError: as in `fit`.
    """
    result = read_result(folder)
    if result and not cfg.resume:
        raise InputError(
            f"{folder} holds a finished run: give another name= (or resume=true to see it)"
        )
    frozen = cfg.transfer is not None and cfg.transfer.method == "frozen"
    if cfg.trainer.get("compile") and (frozen or not cfg.train):
        raise InputError("trainer.compile=true: this run trains no network; leave it out")
    if result and (frozen or not cfg.train):
        return _say_finished(result, folder, cfg.optimized_metric)
    quiet_lightning()
    seed_everything(cfg.seed, verbose=False)
    keep_freed_memory()
    if "_target_" not in cfg.data:
        raise InputError(
            "data=checkpoint is a choice of analyze.py: name the data set to train on, data=folder "
            "say"
        )
    data: ImageData = instantiate(cfg.data)
    if not frozen and cfg.train:
        return _train_net(cfg, data, folder, result)
    keep_config(cfg, folder)
    return _finish(
        cfg, transfer_frozen(cfg, data) if frozen else evaluate(cfg, data, folder), folder
    )


def _train_net(
    cfg: DictConfig, data: ImageData, folder: Path, result: dict[str, Any] | None
) -> float:
    """Trains all layers of a network. `result` is that of a finished run in `folder`, or None."""
    config: ModelConfig = {
        "model": model_to_train(cfg),
        "classes": list(data.classes),
        **image_entries(data),
        "data": describe_data(OmegaConf.to_container(cfg.data, resolve=True)),  # type: ignore[arg-type]
    }
    kept = newest_checkpoint(folder / "checkpoints", config)
    if kept and not cfg.resume:
        raise InputError(
            f"{folder} holds an unfinished run: resume=true goes on with it, name= starts another"
        )
    learning = {"optimizer": instantiate(cfg.optimizer), "scheduler": instantiate(cfg.scheduler)}
    callbacks = build_callbacks(cfg, folder)
    trainer = build_trainer(cfg, folder, callbacks, kept)
    fingerprint = run_fingerprint(cfg, config, data, trainer, callbacks)
    if kept:
        check_same_run(kept, fingerprint, covers_run(learning["scheduler"]))
    if result and not is_longer(kept, fingerprint, result):
        return _say_finished(result, folder, cfg.optimized_metric)
    if cfg.resume:
        log.info(
            "going on from %s", kept.path if kept else "the beginning: there is no checkpoint yet"
        )
    classifier = build(config, seed=cfg.seed, channels_last=cfg.channels_last, **learning)
    classifier.fingerprint = fingerprint
    if cfg.trainer.get("compile"):
        device = trainer.strategy.root_device.type
        compile_for_training(classifier.net, classifier.prepare, device)
    if cfg.ckpt is not None and cfg.transfer is None and not kept:
        load_net_weights(classifier, cfg.ckpt)
    keep_config(cfg, folder)
    _cut_log_back(folder, kept)
    start_ranks_as_ours(trainer.strategy)
    return _finish(cfg, _run(trainer, classifier, data, kept, folder, cfg.test), folder)


def image_entries(data: ImageData) -> dict[str, Any]:
    """Returns the entries of a model config that describe the images.

    Args:
        data: the data module.
    """
    sizes = {"image_size": data.image_size, "store_size": data.store_size}
    entries: dict[str, Any] = {
        key: size if isinstance(size, int) else list(size) for key, size in sizes.items()
    }
    channels = data.pixel_format.channels
    return entries if channels == 3 else {**entries, "channels": channels}


def _finish(cfg: DictConfig, result: dict[str, Any], folder: Path) -> float:
    """Writes result.json, except with fast_dev_run. Returns the value that a sweep minimizes."""
    if not cfg.trainer.get("fast_dev_run"):
        finish(result | ({"tags": list(cfg.tags)} if cfg.tags else {}), folder)
    return objective(result, cfg.optimized_metric)


def evaluate(cfg: DictConfig, data: ImageData, folder: Path) -> dict[str, Any]:
    """Validates and tests the network of ckpt= without training (train=false).

    Args:
        cfg: the composed config.
        data: the data module.
        folder: the run directory.

    Returns:
        The content of result.json.

    Raises:
        InputError: if ckpt= is missing, or its network has other classes or another image size.
    """
    if cfg.ckpt is None:
        raise InputError(
            "train=false measures a net that has learned: give ckpt=CHECKPOINT of train.py"
        )
    start = time.perf_counter()
    classifier = load(cfg.ckpt, cfg.trust)
    check_image_size(classifier.prepare.crop, cfg.ckpt, data.image_size)
    check_channels(classifier.prepare.channels, data.pixel_format.channels)
    if classifier.classes != list(data.classes):
        raise InputError(
            f"{cfg.ckpt}: the net has other classes than the data; data= names the data set"
        )
    trainer = build_trainer(cfg, folder, build_callbacks(cfg, folder), None)
    start_ranks_as_ours(trainer.strategy)
    trainer.validate(classifier, datamodule=data, verbose=False)
    result = _measured(trainer, classifier, data, cfg.test)
    return result | {"seconds": round(time.perf_counter() - start, 1), "epochs": 0}


def _run(
    trainer: Trainer,
    classifier: Classifier,
    data: ImageData,
    kept: ResumePoint | None,
    folder: Path,
    test: bool,
) -> dict[str, Any]:
    """Trains the network and saves it, then measures it."""
    trainer.fit(
        classifier, datamodule=data, ckpt_path=kept.path if kept else None, weights_only=True
    )
    spent = {"seconds": round(classifier.seconds, 1), "epochs": trainer.current_epoch}
    step = trainer.global_step
    if classifier.saved_step != step and not trainer.fast_dev_run:  # type: ignore[attr-defined]
        trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt", weights_only=False)
    if classifier.validated.get("step") != step:  # training did not end with a validation
        trainer.validate(classifier, datamodule=data, verbose=False)
    return _measured(trainer, classifier, data, test) | spent


def _measured(
    trainer: Trainer, classifier: Classifier, data: ImageData, test: bool
) -> dict[str, Any]:
    """Returns the numbers of the latest validation, and of a test if there is to be one."""
    result = {key: value for key, value in classifier.validated.items() if key.startswith("val/")}
    if test:
        trainer.test(classifier, datamodule=data, verbose=False)
        tested = trainer.callback_metrics.items()
        result |= {k: v.item() for k, v in tested if k.startswith(("test/", "train_eval/"))}
    return result


def _say_finished(result: dict[str, Any], folder: Path, metric: str | None) -> float:
    log.info("%s has finished already:\n%s", folder, json.dumps(result, indent=1))
    return objective(result, metric)


@rank_zero_only
def _cut_log_back(folder: Path, kept: ResumePoint | None) -> None:
    """Removes the TensorBoard log after the checkpoint, or all of it without a checkpoint."""
    if kept is None or kept.log_lengths is not None:
        cut_back(folder, kept.log_lengths if kept and kept.log_lengths else {})


@rank_zero_only
def keep_config(cfg: DictConfig, folder: Path) -> None:
    """Writes the files of `.hydra`, once the config has passed all checks.

    Args:
        cfg: the composed config.
        folder: the run directory.

    Raises:
        InputError: if the files cannot be written.
    """
    record = folder / ".hydra"
    hydra = HydraConfig.get()
    with writing(record):
        record.mkdir(exist_ok=True)
    save(record / "config.yaml", OmegaConf.to_yaml(cfg).encode(errors="surrogateescape"))
    save(
        record / "hydra.yaml",
        OmegaConf.to_yaml(OmegaConf.create({"hydra": hydra})).encode(errors="surrogateescape"),
    )
    save(
        record / "overrides.yaml",
        OmegaConf.to_yaml(hydra.overrides.task).encode(errors="surrogateescape"),
    )


def model_to_train(cfg: DictConfig) -> dict[str, Any]:
    """Returns the config of the network to train: from ckpt= if it is given, else from model=.

    Args:
        cfg: the composed config.

    Raises:
        InputError: if the checkpoint cannot be used.
    """
    if cfg.ckpt is None:
        model: dict[str, Any] = OmegaConf.to_container(cfg.model, resolve=True)  # type: ignore[assignment]
        return with_transforms(model if cfg.transfer is None else fresh_model(model))
    config = read_checkpoint(Path(cfg.ckpt))["model_config"]
    check_target(config["model"], cfg.ckpt, listed(cfg.trust))
    check_image_size(config["image_size"], cfg.ckpt, cfg.data.image_size)
    check_channels(channels_of(config), cfg.data.channels)
    return fresh_model(with_transforms(config["model"]))
