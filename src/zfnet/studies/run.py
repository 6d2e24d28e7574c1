"""`python analyze.py`: from a config to the files of an analysis.

analyze(cfg)    # builds the class that `_target_` names, loads what it takes, calls its run()
"""

import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from zfnet import config, ranks
from zfnet.errors import InputError
from zfnet.io import save
from zfnet.launch.error_messages import translate_hydra_errors
from zfnet.launch.fabric import start_processes
from zfnet.launch.malloc import keep_freed_memory
from zfnet.launch.project import config_folder
from zfnet.launch.run_dirs import RESULTS, hold
from zfnet.model_on_data import ModelOnData
from zfnet.studies import Analysis
from zfnet.studies.inputs import complete_data, load_data, load_model, load_models, run_folders

log = logging.getLogger(__name__)

LOADERS: dict[str, Callable[[DictConfig], Any]] = {
    "model": load_model,
    "models": load_models,
    "data": load_data,
    "runs": run_folders,
}


def analyze(cfg: DictConfig) -> None:
    """Runs the analysis of a composed config.

    With `devices=`, every process runs this function. Those after the first return when they have
    done their share.

    Raises:
        InputError: The user can correct something.
    """
    if "study" in cfg:
        raise InputError(
            "the key `study` is of version 0.1: an analysis is a class with `takes` and `run` now, "
            "named by "
            "_target_ at the top of its yaml file, beside its keys: see docs/extend.md"
        )
    if "_target_" not in cfg:
        known = sorted(path.stem for path in (config_folder() / "analysis").glob("*.yaml"))
        raise InputError(f"which analysis? analysis={' or analysis='.join(known)}")
    completed = complete_data(cfg)
    config.check_config(cfg, config.Analysis)
    folder = Path(HydraConfig.get().runtime.output_dir)
    hold(folder)
    keep_freed_memory()
    with translate_hydra_errors():
        analysis = build_analysis(cfg)
        devices = list(cfg.devices) if OmegaConf.is_list(cfg.devices) else cfg.devices
        fabric = start_processes(cfg.accelerator, devices, cfg.num_nodes)
        record = folder / ".hydra" / "config.yaml"  # each process of torchrun has written it
        if completed and fabric.global_rank == 0 and record.parent.is_dir():
            save(record, OmegaConf.to_yaml(cfg).encode(errors="surrogateescape"))
        if fabric.world_size > 1 and not getattr(analysis, "shares", False):
            if fabric.global_rank > 0:
                return
            log.info("%s runs in one process", type(analysis).__name__)
        given = LOADERS[analysis.takes](cfg)
        models = [
            each
            for each in (given if isinstance(given, list) else [given])
            if isinstance(each, ModelOnData)
        ]
        for model in models:
            model.to(fabric.device)
        try:
            with ranks.together(fabric.global_rank, fabric.world_size):
                analysis.run(given, folder)
        except (RuntimeError, AssertionError):
            for model in models:
                model.check_takes_images()
            raise
    if fabric.global_rank == 0:
        _tell_outputs(folder)


def _tell_outputs(folder: Path) -> None:
    log.info(
        "in %s: %s",
        folder,
        ", ".join(sorted(p.name for p in folder.iterdir() if p.suffix in RESULTS)),
    )


def build_analysis(cfg: DictConfig) -> Analysis:
    """The analysis that `_target_` names, with the values that the config has for its arguments.

    Raises:
        InputError: It does not say what it takes, or a value does not fit.
    """
    kind: Any = get_class(cfg._target_)
    if kind.takes not in LOADERS:
        raise InputError(f"{cfg._target_}.takes={kind.takes!r}: choose one of {', '.join(LOADERS)}")
    values: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    return kind(
        **{name: values[name] for name in inspect.signature(kind).parameters if name in values}
    )
