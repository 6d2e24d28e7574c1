"""Checks the arguments of lightning.Trainer before training starts.

    check_trainer_options({"max_epochs": 12, "val_check_interval": 0.5})
    # InputError: trainer.val_check_interval=0.5: ...; leave it out

`OPTIONS` lists every argument of Trainer. `compile`, another key of conf/trainer, is not one.
`trainer_fingerprint` returns those that change the results of a run.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning import Trainer

from zfnet.errors import InputError
from zfnet.training.compilation import check_compiler

PRECISIONS = ("32-true", "32", "64-true", "64", "bf16-mixed", "bf16", "16-mixed", "16")
STRATEGIES = (
    "auto",
    "single_device",
    "ddp",
    "ddp_find_unused_parameters_true",
    "ddp_find_unused_parameters_false",
)
Check = Callable[[Any], str | None]  # returns why a value is rejected, or None


def anything(value: Any) -> None:
    """Accepts any value. Lightning checks it."""


def only(*values: Any, because: str) -> Check:
    """Returns a check that accepts `values` and None only.

    1 and 1.0 are different, because Lightning treats them differently.

    Args:
        values: the accepted values.
        because: the reason, for the error message.
    """

    def check(value: Any) -> str | None:
        same = any(value == each and type(value) is type(each) for each in values)
        return None if same or value is None else f"{because}; leave it out"

    return check


def whole(least: int) -> Check:
    """Returns a check that accepts integers of at least `least`."""

    def check(value: Any) -> str | None:
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= least
        return None if fits else f"give a whole number from {least} on"

    return check


def optional(check: Check) -> Check:
    """Returns a check that accepts None and what `check` accepts."""
    return lambda value: None if value is None else check(value)


def share(zero: bool) -> Check:
    """Returns a check that accepts a number of batches, or a fraction of them up to 1.0.

    Args:
        zero: whether 0 is accepted.
    """

    def check(value: Any) -> str | None:
        number = (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        )
        if (
            number
            and (value > 0 or (zero and value == 0))
            and (isinstance(value, int) or value <= 1)
        ):
            return None
        least = "0 for none" if zero else "above 0"
        return f"give a whole number of batches or a share up to 1.0, {least}"

    return check


def _strategy(value: Any) -> str | None:
    if isinstance(value, Mapping):
        known = str(value.get("_target_", "")).endswith((".DDPStrategy", ".SingleDeviceStrategy"))
    else:
        known = value in STRATEGIES
    return (
        None
        if known
        else f"choose one of {', '.join(STRATEGIES)}; other strategies save other checkpoints"
    )


def _precision(value: Any) -> str | None:
    return None if str(value) in PRECISIONS else f"choose one of {', '.join(PRECISIONS)}"


def _clip(value: Any) -> str | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return None if number and value >= 0 else "give a number from 0 on"


def _fast_dev_run(value: Any) -> str | None:
    return (
        None
        if isinstance(value, bool) or (isinstance(value, int) and value >= 0)
        else "give true or a number"
    )


OPTIONS: dict[str, Check] = {
    "accelerator": anything,
    "strategy": _strategy,
    "devices": anything,
    "num_nodes": whole(1),
    "precision": optional(_precision),
    "logger": only(because="logger=tensorboard, csv, wandb or none chooses where a run logs"),
    "callbacks": only(because="callbacks come from callbacks=[...] and +callbacks.NAME._target_="),
    "fast_dev_run": _fast_dev_run,
    "max_epochs": optional(whole(-1)),
    "min_epochs": optional(whole(0)),
    "max_steps": whole(-1),
    "min_steps": optional(whole(0)),
    "max_time": only(
        because="a schedule needs to know its last step: give max_epochs or max_steps"
    ),
    "limit_train_batches": optional(share(zero=False)),
    "limit_val_batches": optional(share(zero=False)),
    "limit_test_batches": optional(share(zero=True)),
    "limit_predict_batches": only(1.0, because="nothing is predicted"),
    "overfit_batches": share(zero=True),
    "val_check_interval": only(
        1.0,
        because="schedule and curves count one validation an epoch (check_val_every_n_epoch makes "
        "it rarer)",
    ),
    "check_val_every_n_epoch": whole(1),
    "num_sanity_val_steps": optional(whole(-1)),
    "log_every_n_steps": optional(whole(0)),
    "enable_checkpointing": only(True, because="a run keeps its net"),
    "enable_progress_bar": anything,
    "enable_model_summary": anything,
    "accumulate_grad_batches": whole(1),
    "gradient_clip_val": optional(_clip),
    "gradient_clip_algorithm": anything,
    "deterministic": anything,
    "benchmark": anything,
    "inference_mode": anything,
    "use_distributed_sampler": only(
        False, because="the project's own batches are shared between processes"
    ),
    "profiler": anything,
    "detect_anomaly": anything,
    "barebones": only(False, because="a run keeps its net and its curves"),
    "plugins": only(because="a run writes its checkpoints its own way"),
    "sync_batchnorm": anything,
    "reload_dataloaders_every_n_epochs": only(0, because="an epoch's batches follow from the seed"),
    "default_root_dir": only(because="hydra.run.dir= is the run's folder"),
    "enable_autolog_hparams": anything,
    "model_registry": only(because="checkpoints stay in the run's folder"),
}


def check_trainer_options(options: Mapping[str, Any]) -> None:
    """Checks the arguments of Trainer.

    Args:
        options: the arguments, as plain values.

    Raises:
        InputError: if Trainer has no such argument, or a value is rejected.
    """
    for name, value in options.items():
        if name in ("_target_", "compile"):
            continue
        if name not in OPTIONS:
            raise InputError(
                f"trainer.{name}: Lightning's Trainer has no such argument; see conf/trainer"
            )
        if reason := OPTIONS[name](value):
            raise InputError(f"trainer.{name}={value}: {reason}")
    _check_together(options)
    accelerator = options.get("accelerator", "auto")
    if options.get("compile"):
        on_gpu = torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda")
        check_compiler("cuda" if on_gpu else "cpu")
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if not {"gpu": cuda or mps, "cuda": cuda, "mps": mps}.get(accelerator, True):
        raise InputError(
            f"trainer.accelerator={accelerator}: PyTorch finds no such GPU here; give trainer=cpu, "
            "or install a "
            "build of PyTorch for this GPU"
        )


def _check_together(options: Mapping[str, Any]) -> None:
    epochs, steps = options.get("max_epochs"), options.get("max_steps", -1)
    if 0 in (epochs, steps):
        raise InputError(
            "trainer.max_epochs and trainer.max_steps: give at least 1; 0 trains nothing"
        )
    if (epochs is None or epochs < 0) and steps < 0 and not options.get("fast_dev_run"):
        raise InputError(f"trainer.max_epochs={epochs}: training would not end; give a number")
    for unit, most in (("epochs", epochs), ("steps", steps)):
        least = options.get(f"min_{unit}")
        if least is not None and most is not None and 0 < most < least:
            raise InputError(f"trainer.min_{unit}={least} exceeds trainer.max_{unit}={most}")
    if options.get("overfit_batches"):
        for name in ("limit_train_batches", "limit_val_batches"):
            if options.get(name) not in (None, 1.0):
                raise InputError(
                    f"trainer.{name}: trainer.overfit_batches sets it too; give one of them"
                )
    if options.get("accelerator") == "cpu" and str(options.get("precision")) in ("16-mixed", "16"):
        raise InputError("trainer.precision=16-mixed: a CPU has none; use bf16-mixed or 32-true")


def batches_used(count: int, limit: float, name: str) -> int:
    """Returns how many batches of an epoch Lightning uses.

    Args:
        count: the number of batches of the epoch.
        limit: the value of the trainer's argument: a number of batches or a fraction.
        name: the name of that argument, for the error message.

    Raises:
        InputError: if no batch is left.
    """
    used = min(limit, count) if isinstance(limit, int) else int(count * limit)
    if limit and not used:
        raise InputError(f"trainer.{name}={limit}: of {count} batches that leaves none")
    return int(used)


def trainer_fingerprint(trainer: Trainer) -> dict[str, Any]:
    """Returns the settings of the trainer that change the results of a run.

    `max_epochs` is not included, because it may increase.

    Args:
        trainer: the trainer.
    """
    overfit = trainer.overfit_batches  # type: ignore[attr-defined]
    return {
        "accelerator": type(trainer.accelerator).__name__.removesuffix("Accelerator").lower(),
        "processes": trainer.world_size,
        "precision": str(trainer.precision),
        "max_steps": trainer.max_steps,
        "min_epochs": trainer.min_epochs,
        "min_steps": trainer.min_steps,
        "limit_train_batches": 1.0 if overfit else trainer.limit_train_batches,
        "limit_val_batches": 1.0 if overfit else trainer.limit_val_batches,
        "overfit_batches": overfit,
        "check_val_every_n_epoch": trainer.check_val_every_n_epoch,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "gradient_clip_val": trainer.gradient_clip_val,
        "gradient_clip_algorithm": trainer.gradient_clip_algorithm
        and str(trainer.gradient_clip_algorithm.value),
        "sync_batchnorm": trainer._accelerator_connector._layer_sync is not None,
    }
