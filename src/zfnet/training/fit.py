"""From a config to a trained net: the wiring behind train.py. Hydra is known here and in jobs.py only.

    fit(cfg)            # data → net → classifier → trainer, in the folder that Hydra made for this run

A run writes its checkpoints, pictures and TensorBoard log there, and `result.json` when it is finished.
With `resume=true` it goes on from its newest checkpoint, or says that it has finished already. In a sweep
each job is a process of its own (see jobs.py).
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, ListConfig, MissingMandatoryValue, OmegaConf

from zfnet.config import Training, check_config
from zfnet.data import ImageData
from zfnet.errors import InputError
from zfnet.models.pretrained import with_transforms
from zfnet.training import folders
from zfnet.training.checkpoint import (
    Card,
    build,
    check_card,
    check_image_size,
    check_target,
    fresh_model,
    listed,
    read_checkpoint,
)
from zfnet.training.data_config import describe_data
from zfnet.training.jobs import run_job
from zfnet.training.memory import keep_freed_memory
from zfnet.training.ranks import check_started_once, start_ranks_as_ours
from zfnet.training.result import finish, objective, read_result
from zfnet.training.stopping import StopTogether
from zfnet.training.transfer import transfer

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
    ${job_name:words,shared keys}, ${fast_precision:}, and ${record_folder:mode}, where Hydra writes a run's
    config; and the choice data=checkpoint of analyze.py."""
    outputs = folders.project_root() / "outputs"

    def plain(words: ListConfig) -> list[str]:
        return OmegaConf.to_container(words, resolve=False)  # type: ignore[return-value]

    def run_folder(parent: str, words: ListConfig, name: object, resume: object) -> str:
        called = folders.run_name(plain(words), name)
        return str(folders.run_folder(outputs / parent, called, folders.wants_resume(resume)))

    def sweep_folder(words: ListConfig, name: object) -> str:
        return str(outputs / "sweeps" / folders.run_name(plain(words), name))

    def job_name(words: ListConfig, shared: ListConfig) -> str:
        return folders.job_name(plain(words), plain(shared))

    def record_folder(mode: RunMode) -> str | None:
        return None if mode == RunMode.MULTIRUN else ".hydra"  # a job's own process writes what it was

    OmegaConf.register_new_resolver("root", lambda: str(folders.project_root()), replace=True)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, replace=True)
    OmegaConf.register_new_resolver("record_folder", record_folder, replace=True)
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
    folders.hold(folder)
    check_config(cfg, Training)
    with own_words():
        return train(cfg, folder)


@contextmanager
def own_words() -> Iterator[None]:
    """An InputError that Hydra wraps comes out as it is, and a key that must be given by its name."""
    try:
        yield
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from error
        raise
    except MissingMandatoryValue as error:
        raise InputError(f"{error.full_key} has no default: give {error.full_key}=...") from error


def train(cfg: DictConfig, folder: Path) -> float:
    """`fit` for one job in `folder`."""
    result = read_result(folder)
    if result:
        if not cfg.resume:
            raise InputError(f"{folder} holds a finished run: give another name= (or resume=true to see it)")
        log.info("%s has finished already:\n%s", folder, json.dumps(result, indent=1))
        return objective(result)
    _quiet_lightning()
    seed_everything(cfg.seed, verbose=False)
    keep_freed_memory()
    if "_target_" not in cfg.data:
        raise InputError(
            "data=checkpoint is a choice of analyze.py: name the data set to train on, data=folder say"
        )
    data: ImageData = instantiate(cfg.data)
    if cfg.transfer is not None and cfg.transfer.method == "frozen":
        return transfer(cfg, data, folder)
    card: Card = {
        "model": model_to_train(cfg),
        "classes": list(data.classes),
        "image_size": data.image_size,
        "store_size": data.store_size,
        "data": describe_data(OmegaConf.to_container(cfg.data, resolve=True)),  # type: ignore[arg-type]
    }
    checkpoint, step = _newest_checkpoint(folder / "checkpoints", card)
    if checkpoint and not cfg.resume:
        raise InputError(
            f"{folder} holds an unfinished run: resume=true goes on with it, name= starts another"
        )
    if cfg.resume:
        log.info("going on from %s", checkpoint or "the beginning: there is no checkpoint yet")
    classifier = build(card, seed=cfg.seed, channels_last=cfg.channels_last, **cfg.recipe)
    trainer: Trainer = instantiate(
        cfg.trainer,
        default_root_dir=str(folder),
        callbacks=[*_callbacks(cfg, folder), StopTogether()],
        logger=TensorBoardLogger(folder, name="", version="", purge_step=None if step is None else step + 1),
    )
    start_ranks_as_ours(trainer)
    trainer.fit(classifier, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    spent = {"seconds": round(classifier.seconds, 1), "epochs": trainer.current_epoch}
    result = _logged(trainer, "val/")
    if not result:  # the last epoch was done already when this process began
        trainer.validate(classifier, datamodule=data, verbose=False)
        result = _logged(trainer, "val/")
    if cfg.test:
        trainer.test(classifier, datamodule=data, verbose=False)
        result |= _logged(trainer, "test/", "trained/")
    finish(result | spent, folder)
    return objective(result)


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


def _callbacks(cfg: DictConfig, folder: Path) -> list[Callback]:
    """Those of `callbacks=`; where none of them writes checkpoints, one that keeps the trained net."""
    chosen = [instantiate(callback) for callback in cfg.callbacks.values() if callback is not None]
    if cfg.trainer.get("enable_checkpointing") is not False and not any(
        isinstance(callback, Checkpoint) for callback in chosen
    ):
        log.info("no callback writes checkpoints: checkpoints/last.ckpt is written after every epoch")
        last = ModelCheckpoint(
            folder / "checkpoints", "last", enable_version_counter=False, save_on_train_epoch_end=True
        )
        chosen.append(last)
    return chosen


def _logged(trainer: Trainer, *prefixes: str) -> dict[str, float]:
    return {key: value.item() for key, value in trainer.callback_metrics.items() if key.startswith(prefixes)}


def _quiet_lightning() -> None:
    """Lightning's lines go to Hydra's log, once; its own use of a deprecated torch name is not our user's."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)


def _newest_checkpoint(folder: Path, card: Card) -> tuple[Path | None, int | None]:
    """The checkpoint that is furthest on and its step; one that does not fit `card` is an error, no fresh start."""
    steps: dict[Path, tuple[int, int]] = {}
    for path in sorted(folder.glob("*.ckpt")):
        checkpoint = read_checkpoint(path)
        check_card(checkpoint["card"], path, card)
        progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
        steps[path] = (checkpoint["global_step"], progress["processed"])
    if not steps:
        return None, None
    newest = max(steps, key=lambda path: steps[path])
    return newest, steps[newest][0]
