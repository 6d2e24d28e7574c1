"""From a config to a trained net: the wiring behind train.py. Beside it, Hydra is known in launch/.

    fit(cfg)            # data → net → classifier → trainer, in the folder that Hydra made for this run

A run writes its checkpoints, pictures and TensorBoard log there, and `result.json` when it is finished.
With `resume=true` it goes on from its newest checkpoint, or says that it has finished already (see resume.py). In a
sweep each job is a process of its own (see launch/sweep.py).
"""

import json
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, ProgressBar
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, ListConfig, MissingMandatoryValue, OmegaConf, read_write
from torch import nn

from zfnet.config import Training, check_config
from zfnet.data import ImageData
from zfnet.data.preprocessing import Preprocessing
from zfnet.errors import InputError, one_line
from zfnet.io import FULL, save, writing
from zfnet.launch import run_dirs
from zfnet.launch.distributed import check_started_once, start_ranks_as_ours
from zfnet.launch.malloc import keep_freed_memory
from zfnet.launch.results import finish, objective, read_result
from zfnet.launch.stopping import StopTogether
from zfnet.launch.sweep import run_job
from zfnet.model_on_data import ModelOnData
from zfnet.models.pretrained import input_of, with_transforms
from zfnet.probing.transfer import TransferConfig, transfer, whole_data_set
from zfnet.training.checkpoint import (
    Card,
    build,
    build_net,
    check_image_size,
    check_target,
    fresh_model,
    listed,
    load,
    read_checkpoint,
)
from zfnet.training.checkpoint_io import AtomicCheckpointIO
from zfnet.training.classifier import Classifier
from zfnet.training.data_config import describe_data
from zfnet.training.event_log import EventLogger, cut_back
from zfnet.training.resume import (
    ResumePoint,
    check_callbacks,
    check_same_run,
    is_longer,
    newest_checkpoint,
    run_fingerprint,
)
from zfnet.training.trainer_options import check_trainer_options

CLASSES = 1000  # of a net that comes without a checkpoint of train.py
log = logging.getLogger(__name__)


def fast_precision() -> str:
    """bf16 autocast where the processor multiplies bfloat16 natively, else float32."""
    native = (
        torch.cuda.is_available()
        or torch.cpu._is_avx512_bf16_supported()
        or torch.cpu._is_amx_tile_supported()
    )
    return "bf16-mixed" if native else "32-true"


def register_resolvers() -> None:
    """What conf/ may call: ${root:}, ${run_folder:parent,words,name,resume}, ${sweep_folder:words,name},
    ${job_name:words,shared keys} and ${fast_precision:}; and the choice data=checkpoint of analyze.py."""
    outputs = run_dirs.project_root() / "outputs"

    def plain(words: ListConfig) -> list[str]:
        return OmegaConf.to_container(words, resolve=False)  # type: ignore[return-value]

    def run_folder(parent: str, words: ListConfig, name: object, resume: object) -> str:
        called = run_dirs.run_name(plain(words), name)
        return str(run_dirs.run_folder(outputs / parent, called, run_dirs.wants_resume(resume)))

    def sweep_folder(words: ListConfig, name: object) -> str:
        return str(outputs / "sweeps" / run_dirs.run_name(plain(words), name))

    def job_name(words: ListConfig, shared: ListConfig) -> str:
        return run_dirs.job_name(plain(words), plain(shared))

    OmegaConf.register_new_resolver("root", lambda: str(run_dirs.project_root()), replace=True)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, replace=True)
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)
    OmegaConf.register_new_resolver("fast_precision", fast_precision, replace=True)
    any_keys = OmegaConf.create(
        {}, flags={"struct": False}
    )  # those that the command line gives, and no others
    ConfigStore.instance().store(group="data", name="checkpoint", node=any_keys)


def fit(cfg: DictConfig) -> float:
    """Trains, tests, and returns the last validation top-1 error (a fraction).

    Raises InputError for what the user can mend; Stopped or SIGTERMException when it was asked to stop.
    """
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    if hydra.mode == RunMode.MULTIRUN:
        return run_job(cfg, folder)
    check_started_once(cfg)
    run_dirs.hold(folder)
    check_config(cfg, Training)
    with translate_hydra_errors():
        check_trainer_options(OmegaConf.to_container(cfg.trainer, resolve=True))  # type: ignore[arg-type]
        if cfg.trainer.get("fast_dev_run"):
            return _rehearse(cfg)
        return train(cfg, folder)


def _rehearse(cfg: DictConfig) -> float:
    """trainer.fast_dev_run: a few batches of everything, in a folder that is gone afterwards."""
    runtime: Any = HydraConfig.get().runtime
    before = runtime.output_dir
    with TemporaryDirectory() as folder, read_write(runtime):
        try:
            runtime.output_dir = folder
            return train(cfg, Path(folder))
        finally:
            runtime.output_dir = before
            log.info("trainer.fast_dev_run: nothing is kept")


@contextmanager
def translate_hydra_errors() -> Iterator[None]:
    """An InputError that Hydra wraps comes out as it is, a key that must be given by its name, what Lightning says of
    the trainer's settings in one line, and a full disk wherever it was met."""
    try:
        yield
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from error
        if isinstance(error.__cause__, MisconfigurationException):
            raise InputError(f"trainer: {one_line(error.__cause__)}") from error
        raise
    except MisconfigurationException as error:
        raise InputError(f"trainer: {one_line(error)}") from error
    except OSError as error:
        if error.errno in FULL:
            place = error.filename or "a file"
            raise InputError(
                f"{place}: the disk is full; free some space and run the same command again"
            ) from error
        raise
    except MissingMandatoryValue as error:
        raise InputError(f"{error.full_key} has no default: give {error.full_key}=...") from error


def train(cfg: DictConfig, folder: Path) -> float:
    """`fit` for one job in `folder`."""
    result = read_result(folder)
    if result and not cfg.resume:
        raise InputError(f"{folder} holds a finished run: give another name= (or resume=true to see it)")
    frozen = cfg.transfer is not None and cfg.transfer.method == "frozen"
    if result and frozen:
        return _say_finished(result, folder)
    _quiet_lightning()
    seed_everything(cfg.seed, verbose=False)
    keep_freed_memory()
    if "_target_" not in cfg.data:
        raise InputError(
            "data=checkpoint is a choice of analyze.py: name the data set to train on, data=folder say"
        )
    data: ImageData = instantiate(cfg.data)
    if frozen:
        _keep_config(cfg, folder)
        return transfer_frozen(cfg, data, folder)
    card: Card = {
        "model": model_to_train(cfg),
        "classes": list(data.classes),
        "image_size": data.image_size,
        "store_size": data.store_size,
        "data": describe_data(OmegaConf.to_container(cfg.data, resolve=True)),  # type: ignore[arg-type]
    }
    kept = newest_checkpoint(folder / "checkpoints", card)
    if kept and not cfg.resume:
        raise InputError(
            f"{folder} holds an unfinished run: resume=true goes on with it, name= starts another"
        )
    callbacks = _callbacks(cfg, folder)
    trainer = _trainer(cfg, folder, callbacks, kept)
    fingerprint = run_fingerprint(cfg, card, data, trainer, callbacks)
    if kept:
        check_same_run(kept, fingerprint)
    if result and not is_longer(kept, fingerprint, result):
        return _say_finished(result, folder)
    if cfg.resume:
        log.info("going on from %s", kept.path if kept else "the beginning: there is no checkpoint yet")
    classifier = build(card, seed=cfg.seed, channels_last=cfg.channels_last, **cfg.recipe)
    classifier.fingerprint = fingerprint
    _keep_config(cfg, folder)
    _cut_log_back(folder, kept)
    start_ranks_as_ours(trainer)
    result, spent = _run(trainer, classifier, data, kept, folder, cfg.test)
    if not cfg.trainer.get("fast_dev_run"):
        finish(result | spent, folder)
    return objective(result)


def transfer_frozen(cfg: DictConfig, data: ImageData, folder: Path) -> float:
    """transfer=frozen: a new classifier on the features of a net that has learned. Returns its objective.

    Raises:
        InputError: a net that has learned nothing, or as in `transfer`.
    """
    start = time.perf_counter()
    words = {key: value for key, value in cfg.transfer.items() if key != "method"}
    config = TransferConfig(**words)
    net, prepare = _pretrained(cfg, data)
    images = {split: data.open(split) for split in ("train", "val")}
    if cfg.ckpt is None:
        prepare.set_mean(whole_data_set(images["train"])[0].mean)
    train, val = (
        ModelOnData(net, prepare, each, data.sources[split], list(data.classes), data.batch_size)
        for split, each in images.items()
    )
    kept = data.folder.parents[1] / "features" / data.folder.name
    result = transfer(train, val, config, kept, cfg.seed) | {"seconds": round(time.perf_counter() - start, 1)}
    finish(result, folder)
    return objective(result)


def _pretrained(cfg: DictConfig, data: ImageData) -> tuple[nn.Module, Preprocessing]:
    """The net of `ckpt=`, or of a `model=` with weights, on its device; and how its input is prepared."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if cfg.ckpt is not None:
        classifier = load(cfg.ckpt, cfg.trust)
        check_image_size(classifier.prepare.crop, cfg.ckpt, data.image_size)
        return classifier.net.to(device), classifier.prepare
    model: dict[str, Any] = OmegaConf.to_container(cfg.model, resolve=True)  # type: ignore[assignment]
    if model.get("weights") is None:
        raise InputError(
            "transfer=frozen needs a net that has learned: ckpt=CHECKPOINT of train.py, or model=torchvision "
            "with model.name= and model.weights="
        )
    torch.manual_seed(cfg.seed)  # for what the weights leave out
    net = build_net(model, CLASSES, data.image_size).to(memory_format=torch.channels_last).to(device)
    expected = input_of(model)
    if expected and (expected.crop, expected.size) != (data.image_size, data.store_size):
        log.info(
            "%s expects %s; here it is %d of %d pixels, bilinear",
            *(model["name"], expected, data.image_size, data.store_size),
        )
    channels = (expected.mean, expected.std) if expected else ()
    return net, Preprocessing(data.store_size, data.image_size, model["pixels"], *channels)


def _run(
    trainer: Trainer,
    classifier: Classifier,
    data: ImageData,
    kept: ResumePoint | None,
    folder: Path,
    test: bool,
) -> tuple[dict[str, float], dict[str, float]]:
    """Trains, and measures the net that came out, which is in a checkpoint by then."""
    trainer.fit(classifier, datamodule=data, ckpt_path=kept.path if kept else None, weights_only=True)
    spent = {"seconds": round(classifier.seconds, 1), "epochs": trainer.current_epoch}
    step = trainer.global_step
    if classifier.saved_step != step and not trainer.fast_dev_run:  # type: ignore[attr-defined]
        trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt", weights_only=False)
    if classifier.validated.get("step") != step:  # training did not end with a validation
        trainer.validate(classifier, datamodule=data, verbose=False)
    result = {key: value for key, value in classifier.validated.items() if key.startswith("val/")}
    if test:
        trainer.test(classifier, datamodule=data, verbose=False)
        result |= _logged(trainer, "test/", "trained/")
    return result, spent


def _say_finished(result: dict[str, Any], folder: Path) -> float:
    log.info("%s has finished already:\n%s", folder, json.dumps(result, indent=1))
    return objective(result)


def _trainer(
    cfg: DictConfig, folder: Path, callbacks: dict[str, Callback], kept: ResumePoint | None
) -> Trainer:
    """The trainer of conf/trainer, with what a run has of its own."""
    purge_step = kept.step + 1 if kept and kept.log_lengths is None else None
    return instantiate(
        cfg.trainer,
        default_root_dir=str(folder),
        callbacks=[*callbacks.values(), StopTogether()],
        logger=EventLogger(folder, purge_step),
        plugins=[AtomicCheckpointIO()],
    )


@rank_zero_only
def _cut_log_back(folder: Path, kept: ResumePoint | None) -> None:
    """The TensorBoard log as it was at the checkpoint; without one nothing of it is left."""
    if kept is None or kept.log_lengths is not None:
        cut_back(folder, kept.log_lengths if kept and kept.log_lengths else {})


@rank_zero_only
def _keep_config(cfg: DictConfig, folder: Path) -> None:
    """What Hydra writes of a run, once it is certain that these values are used."""
    record = folder / ".hydra"
    hydra = HydraConfig.get()
    with writing(record):
        record.mkdir(exist_ok=True)
    save(record / "config.yaml", OmegaConf.to_yaml(cfg).encode(errors="surrogateescape"))
    save(
        record / "hydra.yaml",
        OmegaConf.to_yaml(OmegaConf.create({"hydra": hydra})).encode(errors="surrogateescape"),
    )
    save(record / "overrides.yaml", OmegaConf.to_yaml(hydra.overrides.task).encode(errors="surrogateescape"))


def model_to_train(cfg: DictConfig) -> dict[str, Any]:
    """The words of the net to train; with transfer=scratch that of ckpt=, if there is one, from random weights."""
    model: dict[str, Any] = OmegaConf.to_container(cfg.model, resolve=True)  # type: ignore[assignment]
    if cfg.transfer is None:
        if cfg.ckpt is not None:
            raise InputError(
                f"ckpt={cfg.ckpt}: what for? transfer=frozen, or resume=true for a run that stopped"
            )
        return with_transforms(model)
    if cfg.ckpt is not None:
        card = read_checkpoint(Path(cfg.ckpt))["card"]
        check_target(card["model"], cfg.ckpt, listed(cfg.trust))
        check_image_size(card["image_size"], cfg.ckpt, cfg.data.image_size)
        model = card["model"]
    return fresh_model(with_transforms(model))


def _callbacks(cfg: DictConfig, folder: Path) -> dict[str, Callback]:
    """Those of `callbacks=`, by name; where none of them writes checkpoints, one that keeps the trained net."""
    callbacks = {
        str(name): instantiate(callback) for name, callback in cfg.callbacks.items() if callback is not None
    }
    check_callbacks(callbacks)
    if cfg.trainer.get("enable_progress_bar") is False:
        callbacks = {name: each for name, each in callbacks.items() if not isinstance(each, ProgressBar)}
    if not any(isinstance(callback, Checkpoint) for callback in callbacks.values()):
        log.info("no callback writes checkpoints: checkpoints/last.ckpt is written after every epoch")
        callbacks["last"] = ModelCheckpoint(
            folder / "checkpoints", "last", enable_version_counter=False, save_on_train_epoch_end=True
        )
    return callbacks


def _logged(trainer: Trainer, *prefixes: str) -> dict[str, float]:
    return {key: value.item() for key, value in trainer.callback_metrics.items() if key.startswith(prefixes)}


def _quiet_lightning() -> None:
    """Lightning's lines go to Hydra's log, once; its own use of a deprecated torch name is not our user's."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
    logging.raiseExceptions = False  # a log on a full disk: the run says so itself
    warnings.filterwarnings("ignore", message="You requested to overfit")  # Batches itself keeps the order
