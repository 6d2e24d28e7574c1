"""The result of a finished run: `result.json`, and a summary in the log.

    finish({"val/top1_error": 0.075, "seconds": 250.0}, folder)
    read_result(folder)                                   # the same numbers, or None

A run is finished if this file exists. Errors and accuracies are fractions. `val/` is measured on
the center crop, `test/` on the paper's ten crops, and `train_eval/` on the training images with the
final network.
"""

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
    """Reads the result of a run.

    Args:
        folder: the run directory.

    Returns:
        The numbers by name, or None if the run is not finished.

    Raises:
        InputError: if the file is damaged.
    """
    path = folder / "result.json"
    return read_json(path, "delete it to train again", _checked) if os.path.lexists(path) else None


def _checked(content: Any) -> dict[str, Any]:
    """Checks the content of result.json. Raises ValueError if it is not a result."""
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
    """Whether a value is a number or a dict of numbers, such as average precisions by class."""
    if isinstance(value, dict):
        return all(map(_are_numbers, value.values()))
    return isinstance(value, int | float) and not isinstance(value, bool)


def objective(result: dict[str, Any], metric: str | None = None) -> float:
    """Returns the value that a sweep minimizes.

    By default it is the validation top-1 error, or 1 minus the mean average precision.

    Args:
        result: the result of a finished run.
        metric: the key of another number of the result.

    Raises:
        InputError: if the result has no number `metric`.
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
    """Returns the errors of a result in one line.

    Args:
        result: the result of a finished run.
    """
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
    """Writes result.json, and logs the errors and the files of the run.

    Args:
        result: the numbers by name.
        folder: the run directory.
    """
    save_json(folder / "result.json", result)
    lines = [summary(result)]
    if any(folder.glob("events.*")):
        lines.append(f"TensorBoard: tensorboard --logdir {folder} --samples_per_plugin images=1000")
    sites = list(folder.rglob("index.html"))  # of each, only the first page is listed
    inside = {site.parent for site in sites}
    written = sorted(
        sites
        + [
            path
            for path in folder.rglob("*")
            if path.suffix in (".ckpt", ".png", ".json") and inside.isdisjoint(path.parents)
        ]
    )
    lines.append(f"in {folder}: {', '.join(str(path.relative_to(folder)) for path in written)}")
    log.info("\n".join(lines))
