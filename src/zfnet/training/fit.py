"""From a config to a trained net: the wiring behind train.py. Hydra is known here and in jobs.py only.

    fit(cfg)            # data → net → classifier → trainer, in the folder that Hydra made for this run

A run writes its checkpoints, pictures and TensorBoard log there, and `result.json` when it is finished.
With `resume=true` it goes on from its newest checkpoint, or says that it has finished already. In a sweep
each job is a process of its own (see jobs.py).
"""

import json
import logging
import sys
import warnings
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, OmegaConf

from zfnet.data import ImageData
from zfnet.errors import InputError
from zfnet.training import folders
from zfnet.training.checkpoint import Card, build, check_card, read_checkpoint
from zfnet.training.jobs import run_job
from zfnet.training.memory import keep_freed_memory
from zfnet.training.result import finish, read_result

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
    """What conf/ may call: ${root:}, ${run_folder:parent}, ${job_name:overrides}, ${fast_precision:}."""
    arguments = sys.argv[1:]

    def run_folder(parent: str) -> str:
        name, resume = folders.run_name(arguments), folders.wants_resume(arguments)
        return str(folders.run_folder(folders.project_root() / "outputs" / parent, name, resume))

    def job_name(overrides: list[str]) -> str:
        given = OverridesParser.create().parse_overrides([a for a in arguments if "=" in a])
        fixed = {override.key_or_group for override in given if not override.is_sweep_override()}
        return folders.run_name([o for o in overrides if o.partition("=")[0].lstrip("+") not in fixed])

    OmegaConf.register_new_resolver("root", lambda: str(folders.project_root()), replace=True)
    OmegaConf.register_new_resolver("run_folder", run_folder, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)
    OmegaConf.register_new_resolver("fast_precision", fast_precision, replace=True)


def fit(cfg: DictConfig) -> float:
    """Trains, tests, and returns the last validation top-1 error (a fraction).

    Raises InputError for what the user can mend; SystemExit 143 when it was asked to stop by SIGTERM.
    """
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    if hydra.mode == RunMode.MULTIRUN:
        return run_job(list(hydra.overrides.task), folder)
    try:
        return train(cfg, folder)
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from error
        raise


def train(cfg: DictConfig, folder: Path) -> float:
    """`fit` for one job in `folder`."""
    result = read_result(folder)
    if result:
        if not cfg.resume:
            raise InputError(f"{folder} holds a finished run: give another name= (or resume=true to see it)")
        log.info("%s has finished already:\n%s", folder, json.dumps(result, indent=1))
        return float(result["val/top1_error"])
    _quiet_lightning()
    seed_everything(cfg.seed, verbose=False)
    keep_freed_memory()
    if cfg.transfer is not None:
        from zfnet.training.transfer import transfer

        return transfer(cfg, folder)
    data: ImageData = instantiate(cfg.data)
    card: Card = {
        "model": OmegaConf.to_container(cfg.model, resolve=True),
        "classes": list(data.classes),
        "image_size": data.image_size,
        "store_size": data.store_size,
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
        callbacks=_callbacks(cfg),
        logger=TensorBoardLogger(folder, name="", version="", purge_step=None if step is None else step + 1),
    )
    try:
        trainer.fit(classifier, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SIGTERMException:
        log.warning("stopped by SIGTERM; the same command with resume=true goes on in %s", folder)
        sys.exit(143)
    errors = _logged(trainer, "val/")
    if not errors:  # the last epoch was done already when this process began
        trainer.validate(classifier, datamodule=data, verbose=False)
        errors = _logged(trainer, "val/")
    if cfg.test:
        trainer.test(classifier, datamodule=data, verbose=False)
        errors |= _logged(trainer, "test/")
    finish(errors, folder)
    return errors["val/top1_error"]


def _callbacks(cfg: DictConfig) -> list[Callback]:
    return [instantiate(callback) for callback in cfg.callbacks.values() if callback is not None]


def _logged(trainer: Trainer, prefix: str) -> dict[str, float]:
    return {key: value.item() for key, value in trainer.callback_metrics.items() if key.startswith(prefix)}


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
