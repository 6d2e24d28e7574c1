"""Finds runs and sweeps in folders and reads their files.

    index = find_runs(["outputs/sweeps/table3_zfnet"])
    index.runs[0].get("optimizer.lr"), index.runs[0].result["val/top1_error"]

A run is a folder with Hydra's `.hydra/config.yaml`, a sweep is one with train.py's `sweep.json`. A
file that cannot be read, or a run that must not enter a table, becomes a problem with one line.
"""

import math
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import AliasPath, BaseModel, Field, FiniteFloat, TypeAdapter

from zfnet.errors import InputError
from zfnet.io import read_json
from zfnet.studies.report.measures import check_finite
from zfnet.studies.report.runs import REMEDY, Problem, Run, RunIndex, Sweep, relative_path
from zfnet.versions.config_names import modern_config, rename_word

SKIPPED = {"stores", "features", "checkpoints", ".hydra"}  # large folders without runs
FRACTIONS = ("val/", "test/", "train_eval/")  # prefixes of a result's errors, accuracies and losses
HISTORY = TypeAdapter(list[dict[str, FiniteFloat]])
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # builds plain values only


def _at(path: str, default: Any = ...) -> Any:
    """A field that is found at a dotted path."""
    return Field(default, validation_alias=AliasPath(*path.split(".")))


class HydraRecord(BaseModel):
    """What the report reads of hydra.yaml."""

    script: str = _at("hydra.job.name")
    overrides: list[str] = _at("hydra.overrides.task")
    choices: dict[str, Any] = _at("hydra.runtime.choices")


class ConfigTypes(BaseModel):
    """The types of the config values that the report uses."""

    images_per_class: int | None = _at("data.images_per_class", None)
    root: str | list[str] | None = _at("data.root", None)
    ckpt: str | list[str] | None = None
    architecture: str | None = _at("model.architecture", None)
    name: str | None = _at("model.name", None)
    weights: str | None = _at("model.weights", None)


def find_runs(folders: Sequence[str]) -> RunIndex:
    """Reads all runs and sweeps below some folders.

    Args:
        folders: paths. A run that is below two of them is read once.

    Raises:
        InputError: a folder does not exist, or there is no run below any of them.
    """
    index = RunIndex()
    for folder in _walk(folders):
        manifest, hydra = folder / "sweep.json", folder / ".hydra"
        if os.path.lexists(manifest):
            sweep = index.attempt(manifest, partial(_read_sweep, manifest))
            index.sweeps.extend([sweep] if sweep else [])
        run = _read_run(index, folder) if os.path.lexists(hydra / "config.yaml") else None
        if run and run.analysis != "report":
            _read_results(index, run)
            index.runs.append(run)
    if not index.runs and not index.sweeps and not index.problems:
        raise InputError(
            f"runs={','.join(map(str, folders))}: no run of train.py or analyze.py is there; "
            "start one, for example python train.py experiment=demo"
        )
    _leave_out(index)
    return index


def read_run(folder: Path) -> Run | None:
    """The run of one folder, without its results. None if it cannot be read."""
    return _read_run(RunIndex(), folder)


def _walk(folders: Sequence[str]) -> Iterator[Path]:
    """Every folder once, sorted by name."""
    seen: set[Path] = set()
    for root in folders:
        if not Path(root).is_dir():
            raise InputError(f"runs={root}: there is no such folder")
        for folder, below, _ in os.walk(Path(root).resolve()):
            below[:] = sorted(set(below) - SKIPPED)
            if Path(folder) not in seen:
                seen.add(Path(folder))
                yield Path(folder)


def _read_run(index: RunIndex, folder: Path) -> Run | None:
    """What `.hydra` says of a run."""
    hydra = folder / ".hydra"

    def read() -> Run:
        record = HydraRecord.model_validate(_read_yaml(hydra / "hydra.yaml"))
        choices = {group: name for group, name in record.choices.items() if isinstance(name, str)}
        config = modern_config(_read_yaml(hydra / "config.yaml"))
        ConfigTypes.model_validate(config)
        overrides = [rename_word(word)[0] for word in record.overrides]
        return Run(folder, record.script, overrides, choices, config)

    return index.attempt(hydra, read)


def _read_yaml(path: Path) -> Any:
    """Plain values, interpolations not resolved. Refuses aliases, which can expand without end."""
    text = path.read_text(encoding="utf-8")
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=LOADER)):
        raise ValueError("it holds an alias")
    return yaml.load(text, Loader=LOADER)


def _read_sweep(path: Path) -> Sweep:
    """The manifest, with the script's name only in its command."""
    content = read_json(path, REMEDY, lambda content: {**content, "folder": path.parent})
    sweep = Sweep.model_validate(content)
    python, script, *overrides = shlex.split(sweep.command)
    sweep.command = shlex.join([python, Path(script).name, *overrides])
    return sweep


def _read_results(index: RunIndex, run: Run) -> None:
    """Reads the JSON files that the report uses into `run.results`."""
    parsers: dict[str, Callable[[Any], Any]] = {
        "result": _check_result,
        "history": HISTORY.validate_python,
    }
    if run.analysis:
        parsers = {run.analysis: lambda content: content}
    for name, parse in parsers.items():
        path = run.folder / f"{name}.json"
        if os.path.lexists(path):
            content = index.attempt(path, partial(read_json, path, REMEDY, parse))
            run.results.update({} if content is None else {name: content})


def _check_result(content: Any) -> dict[str, Any]:
    """A training run's numbers, with today's keys. ValueError if one is not finite."""
    result = {re.sub("^trained/", "train_eval/", key): value for key, value in content.items()}
    for name, value in result.items():
        if name == "val/average_precision":
            for precision in value.values():
                if precision is not None:  # a class without images has no precision
                    _check_fraction(name, precision)
        elif name.startswith(FRACTIONS):
            _check_fraction(name, value)
    check_finite(result.get("seconds", 0))
    return result


def _check_fraction(name: str, value: Any) -> None:
    """ValueError unless the value is a fraction, or a loss that is at least 0."""
    if value is None or value != value or abs(value) == math.inf:
        raise ValueError(f"{name} is {value}: the training diverged")
    check_finite(value)
    loss = name.endswith("/loss")
    if value < 0 or (value > 1 and not loss):
        raise ValueError(f"{name} is {value}, not a {'loss' if loss else 'fraction'}")


def _leave_out(index: RunIndex) -> None:
    """Removes trial runs and repeated runs: the same settings and seed count once."""
    seen: dict[str, Run] = {}
    for run in sorted(index.runs, key=lambda run: not run.result):  # finished runs first
        if run.script != "train":
            continue
        first = seen.setdefault(run.signature(), run)
        if run.get("trainer.fast_dev_run"):
            text = "is a trial (fast_dev_run) and is in no table"
        elif first is not run:
            same = relative_path(first.folder)
            text = f"has the settings and the seed of {same} and is not counted again"
        else:
            continue
        index.runs.remove(run)
        index.problems.append(Problem(relative_path(run.folder), text))
