"""Which runs lie below some folders, and what they say of themselves: config, command, results, state.

    found = find(["outputs/sweeps/table3_zfnet"])
    found.runs[0].word("recipe.lr"), found.runs[0].result["val/top1_error"]

A run is a folder with Hydra's `.hydra/config.yaml`; a sweep one with train.py's `sweep.json`. What cannot be read, or
may not enter a table, is a problem with one line, and the rest is reported all the same.
"""

import json
import math
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import AliasPath, BaseModel, Field, FiniteFloat, TypeAdapter

from zfnet.errors import InputError
from zfnet.fingerprint import flat
from zfnet.io import read_back, read_json
from zfnet.studies.report.measures import to_measure
from zfnet.studies.report.text import Code
from zfnet.versions import translate

PASSED_OVER = {"stores", "features", "checkpoints", ".hydra"}  # folders without runs, and large
OWN = ("seed=", "name=", "resume=", "hydra.", "hydra/")  # words of a command that belong to one run only
HARMLESS = (  # words that change no number; every other word does, for all that is known
    *("name", "resume", "test", "data.store", "data.store_dir", "data.max_bad"),
    *("trainer.default_root_dir", "trainer.logger", "trainer.profiler", "trainer.log_every_n_steps"),
    *("trainer.enable_checkpointing", "trainer.enable_model_summary", "trainer.enable_progress_bar"),
    *("callbacks.best", "callbacks.last", "callbacks.recent", "callbacks.stop_checkpoint"),
    *("callbacks.deconvnet_dump", "callbacks.feature_evolution", "callbacks.filter_images"),
    *("callbacks.learning_curves", "callbacks.learning_rate", "callbacks.progress", "callbacks.throughput"),
)
MEASURED = ("val/", "test/", "trained/")  # of a result; fractions, but for losses
REMEDY = "the command that made it mends it"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # builds plain values only
T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """One line on a file or folder: what is wrong, and what to do."""

    path: Path
    text: str


@dataclass(frozen=True)
class Run:
    """One run of train.py or analyze.py. `choices` are the files chosen in conf/, `results` its JSON by name."""

    folder: Path
    script: str
    overrides: list[str]
    choices: dict[str, str]
    config: dict[str, Any]
    results: dict[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """The line that made it."""
        return shlex.join(["python", f"{self.script}.py", *self.overrides])

    @property
    def result(self) -> dict[str, Any]:
        """A training run's numbers; empty while it is unfinished."""
        return self.results.get("result", {})

    @property
    def analysis(self) -> str | None:
        return self.choices.get("analysis")

    def signature(self, *without: str) -> str:
        """All of its config that changes its numbers, but for `without`: equal for runs that may be compared."""
        left_out = (*HARMLESS, *without)
        kept = {
            key: None if value == {} else value
            for key, value in flat(self.config).items()
            if not any(f"{key}.".startswith(f"{name}.") for name in left_out)
        }
        return json.dumps(kept, sort_keys=True, default=str)

    def word(self, key: str, default: Any = None) -> Any:
        """`word("data.root")`: what the config says there, not resolved."""
        value: Any = self.config
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                return default
            value = value[part]
        return value


def _at(path: str, default: Any = ...) -> Any:
    """A field that is found at `path`."""
    return Field(default, validation_alias=AliasPath(*path.split(".")))


class Record(BaseModel):
    """What the report reads of hydra.yaml."""

    script: str = _at("hydra.job.name")
    overrides: list[str] = _at("hydra.overrides.task")
    choices: dict[str, Any] = _at("hydra.runtime.choices")


class Config(BaseModel):
    """The types of what the report asks a config for."""

    images_per_class: int | None = _at("data.images_per_class", None)
    root: str | None = _at("data.root", None)
    ckpt: str | list[str] | None = None
    architecture: str | None = _at("model.architecture", None)
    name: str | None = _at("model.name", None)
    weights: str | None = _at("model.weights", None)


class Job(BaseModel):
    """A job of a sweep."""

    folder: str
    state: str
    error: str | None = None


class Machine(BaseModel):
    """What a sweep ran on."""

    cpus: int | None = None
    gpus: list[str] | None = None


class Manifest(BaseModel):
    """What the report reads of sweep.json."""

    command: str
    versions: dict[str, str]
    machine: Machine
    jobs: list[Job]


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder, the command as one types it, and its manifest."""

    folder: Path
    command: str
    manifest: Manifest

    @property
    def jobs(self) -> list[Job]:
        return self.manifest.jobs


@dataclass(frozen=True)
class Found:
    """Everything below some folders."""

    runs: list[Run] = field(default_factory=list)
    sweeps: list[Sweep] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def analyses(self, name: str) -> list[Run]:
        """The runs of analyze.py analysis=NAME that wrote their numbers."""
        return [run for run in self.runs if run.analysis == name and name in run.results]

    def sweep_of(self, run: Run) -> Sweep | None:
        return next((sweep for sweep in self.sweeps if run.folder.parent == sweep.folder), None)

    def attempt(self, path: Path, read: Callable[[], T]) -> T | None:
        """What `read` makes of the file or folder `path`; where it fails, a problem and None."""
        try:
            return read_back(path, lambda _: read(), REMEDY)
        except InputError as error:
            self.problems.append(Problem(path, str(error).removeprefix(f"{path}: ")))
            return None

    def analyzed(self, run: Run, read: Callable[[Run], T]) -> T | None:
        """What `read` makes of an analysis and its numbers; numbers of another shape are a problem and None."""
        return self.attempt(run.folder / f"{run.analysis}.json", lambda: read(run))


def find(folders: Sequence[str]) -> Found:
    """Looks through all that lies below `folders`. InputError where there is no folder, or no run in any."""
    found = Found()
    for folder in _visited(folders):
        manifest, hydra = folder / "sweep.json", folder / ".hydra"
        if os.path.lexists(manifest) and (sweep := found.attempt(manifest, partial(_sweep, manifest))):
            found.sweeps.append(sweep)
        run = found.attempt(hydra, partial(_run, hydra)) if os.path.lexists(hydra / "config.yaml") else None
        if run and run.analysis != "report":
            _add_results(found, run)
            found.runs.append(run)
    if not found.runs and not found.sweeps and not found.problems:
        raise InputError(
            f"runs={','.join(map(str, folders))}: no run of train.py or analyze.py lies there; "
            "make one, as with python train.py experiment=demo"
        )
    _leave_out(found)
    return found


def run_in(folder: Path) -> Run | None:
    """The run of one folder, without results; None where there is none that can be read."""
    return Found().attempt(folder, partial(_run, folder / ".hydra"))


def relative_path(path: Path) -> Code:
    """As one types it: from the working directory where it lies below."""
    return Code(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _visited(folders: Sequence[str]) -> Iterator[Path]:
    """Every folder once, in the order of the names."""
    seen: set[Path] = set()
    for root in folders:
        if not Path(root).is_dir():
            raise InputError(f"runs={root}: there is no such folder")
        for folder, below, _ in os.walk(Path(root).resolve()):
            below[:] = sorted(set(below) - PASSED_OVER)
            if Path(folder) not in seen:
                seen.add(Path(folder))
                yield Path(folder)


def _run(hydra: Path) -> Run:
    """What a run's `.hydra` says."""
    about = Record.model_validate(_yaml(hydra / "hydra.yaml"))
    choices = {group: choice for group, choice in about.choices.items() if isinstance(choice, str)}
    config = translate(_yaml(hydra / "config.yaml"))
    Config.model_validate(config)
    return Run(hydra.parent, about.script, about.overrides, choices, config)


def _yaml(path: Path) -> Any:
    """As it stands: interpolations stay words. Aliases, of which Hydra writes none, can make it endless."""
    text = path.read_text(encoding="utf-8")
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=LOADER)):
        raise ValueError("it holds an alias")
    return yaml.load(text, Loader=LOADER)


def _sweep(path: Path) -> Sweep:
    manifest = read_json(path, REMEDY, Manifest.model_validate)
    python, script, *words = shlex.split(manifest.command)
    return Sweep(path.parent, shlex.join([python, Path(script).name, *words]), manifest)


def _add_results(found: Found, run: Run) -> None:
    """Those that the report reads."""
    parsers = (
        {run.analysis: lambda content: content} if run.analysis else {"result": _result, "history": _history}
    )
    for name, parse in parsers.items():
        path = run.folder / f"{name}.json"
        content = (
            found.attempt(path, partial(read_json, path, REMEDY, parse)) if os.path.lexists(path) else None
        )
        if content is not None:
            run.results[name] = content


def _result(content: Any) -> dict[str, Any]:
    """A training run's numbers, all finite."""
    for name, value in content.items():
        for each in value.values() if name == "val/average_precision" else [value]:
            absent = each is None and each is not value  # a class without pictures has no precision
            if name.startswith(MEASURED) and not absent:
                _check_measured(name, each)
    to_measure([content.get("seconds", 0)])
    return dict(content)


def _check_measured(name: str, value: Any) -> None:
    """ValueError unless `value` is a loss from 0 up or a fraction, as the name says."""
    if value is None or value != value or abs(value) == math.inf:
        raise ValueError(f"{name} is {value}: the training diverged")
    to_measure([value])
    loss = name.endswith("/loss")
    if value < 0 or (value > 1 and not loss):
        raise ValueError(f"{name} is {value}, and no {'loss' if loss else 'fraction'}")


def _history(content: Any) -> list[dict[str, float]]:
    return TypeAdapter(list[dict[str, FiniteFloat]]).validate_python(content)


def _leave_out(found: Found) -> None:
    """Takes away runs that are no evidence, and repetitions: the same seed in the same setting counts once."""
    seen: dict[str, Run] = {}
    for run in sorted(found.runs, key=lambda run: not run.result):  # of two the one that is finished
        if run.script != "train":
            continue
        first = seen.setdefault(run.signature(), run)
        if run.word("trainer.fast_dev_run"):
            text = "is a trial (fast_dev_run) and in no table"
        elif first is not run:
            text = f"has the settings and the seed of {relative_path(first.folder)}, and counts once"
        else:
            continue
        found.runs.remove(run)
        found.problems.append(Problem(run.folder, text))
