"""What a finished run leaves: `result.json`, and the lines that say where everything is.

    finish({"val/top1_error": 0.075, "seconds": 250.0}, folder)
    read_result(folder)                                   # the same numbers, or None

A run is finished when this file is there. Errors and accuracies are fractions: `val/` is the centre
crop, `test/` the mean of the paper's ten, `train_eval/` the finished net on its own training
images."""

import logging
import os
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from zfnet.errors import InputError
from zfnet.io import read_json, save_json

OBJECTIVES = ("val/top1_error", "val/mean_average_precision")
log = logging.getLogger(__name__)


def read_result(folder: Path) -> dict[str, Any] | None:
    """A finished run's numbers; None when it is not finished."""
    path = folder / "result.json"
    return read_json(path, "delete it to train again", _checked) if os.path.lexists(path) else None


def _checked(content: Any) -> dict[str, Any]:
    """The content of result.json; ValueError where it is none of a finished run."""
    if not isinstance(content, dict):
        raise ValueError("it holds no numbers by name")
    if not any(isinstance(content.get(key), int | float) for key in OBJECTIVES):
        raise ValueError(f"it has neither {' nor '.join(OBJECTIVES)}")
    for key, value in content.items():
        if key.startswith(("val/", "test/", "train_eval/", "trained/")) and not _are_numbers(value):
            raise ValueError(f"{key} is {value!r}")
    # Version 0.1 wrote "trained/".
    return {key.replace("trained/", "train_eval/", 1): value for key, value in content.items()}


def _are_numbers(value: Any) -> bool:
    """Whether a value is a number, or numbers by name: average precisions of classes."""
    if isinstance(value, dict):
        return all(map(_are_numbers, value.values()))
    return isinstance(value, int | float) and not isinstance(value, bool)


def objective(result: dict[str, Any], metric: str | None = None) -> float:
    """What a sweep minimizes: the validation top-1 error, or what the mean average precision lacks
    of 1.

    Args:
        result: of a finished run.
        metric: another key of it.

    Raises:
        InputError: `metric` is none of its numbers.
    """
    if metric is not None:
        if not isinstance(value := result.get(metric), int | float):
            names = ", ".join(key for key, each in result.items() if isinstance(each, int | float))
            raise InputError(f"optimized_metric={metric}: a result has {names}")
        return float(value)
    if "val/top1_error" in result:
        return float(result["val/top1_error"])
    return 1 - float(result["val/mean_average_precision"])


def summary(result: dict[str, Any]) -> str:
    """The errors in a line."""
    words = {
        "val/top1_error": "validation top-1 error",
        "val/top5_error": "top-5",
        "val/class_accuracy": "mean accuracy per class",
        "val/mean_average_precision": "validation mean average precision",
        "test/top1_error": "ten crops: top-1",
        "train_eval/top1_error": "training images: top-1",
    }
    found = [f"{name} {result[key]:.1%}" for key, name in words.items() if key in result]
    return "; ".join(found).replace("; top-5", ", top-5")


@rank_zero_only
def finish(result: dict[str, Any], folder: Path) -> None:
    """Writes the numbers and logs the errors and what lies in `folder`."""
    save_json(folder / "result.json", result)
    lines = [summary(result)]
    if any(folder.glob("events.*")):
        lines.append(f"TensorBoard: tensorboard --logdir {folder} --samples_per_plugin images=1000")
    written = sorted(
        path for path in folder.rglob("*") if path.suffix in (".ckpt", ".png", ".json")
    )
    lines.append(f"in {folder}: {', '.join(str(path.relative_to(folder)) for path in written)}")
    log.info("\n".join(lines))
