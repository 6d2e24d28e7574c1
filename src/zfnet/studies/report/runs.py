"""Data models of what the report reads: runs, sweeps, and problems with their files."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from zfnet.errors import InputError
from zfnet.fingerprint import flat
from zfnet.io import read_back

REMEDY = "run the command that made it again"
SINGLE_RUN = ("seed=", "name=", "resume=", "hydra.", "hydra/")  # overrides that only one run has
HARMLESS = (  # keys that change no result; every other key may change one
    *("name", "resume", "test", "data.store", "data.store_dir", "data.max_bad"),
    *("logger", "optimized_metric", "paths", "tags", "train"),
    *("trainer.default_root_dir", "trainer.logger", "trainer.profiler"),
    *("trainer.log_every_n_steps", "trainer.enable_checkpointing"),
    *("trainer.enable_model_summary", "trainer.enable_progress_bar"),
    *("callbacks.best", "callbacks.last", "callbacks.recent", "callbacks.stop_checkpoint"),
    *("callbacks.deconvnet_dump", "callbacks.feature_evolution", "callbacks.filter_images"),
    *("callbacks.learning_curves", "callbacks.learning_rate", "callbacks.progress"),
    "callbacks.throughput",
)
T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file, a run, or a row of a table, and the command that mends it."""

    what: str
    text: str
    command: str = ""


@dataclass(frozen=True)
class Run:
    """One run of train.py or analyze.py.

    Attributes:
        folder: where the run is.
        script: "train" or "analyze".
        overrides: the overrides of its command.
        choices: the chosen option of each config group.
        config: the composed config, not resolved.
        results: the contents of its JSON files by file name.
    """

    folder: Path
    script: str
    overrides: list[str]
    choices: dict[str, str]
    config: dict[str, Any]
    results: dict[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """The command that started the run."""
        return shlex.join(["python", f"{self.script}.py", *self.overrides])

    @property
    def result(self) -> dict[str, Any]:
        """The numbers of a training run. Empty if it is not finished."""
        return self.results.get("result", {})

    @property
    def analysis(self) -> str | None:
        """NAME of analysis=NAME."""
        return self.choices.get("analysis")

    def get(self, key: str, default: Any = None) -> Any:
        """The config's value at a dotted key, not resolved."""
        value: Any = self.config
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                return default
            value = value[part]
        return value

    def signature(self, *without: str) -> str:
        """The part of the config that changes results, without some keys, as text."""
        left_out = (*HARMLESS, *without)
        kept = {
            key: None if value == {} else value
            for key, value in flat(self.config).items()
            if not any(f"{key}.".startswith(f"{name}.") for name in left_out)
        }
        return json.dumps(kept, sort_keys=True, default=str)


class Job(BaseModel):
    """A job of a sweep."""

    folder: str
    state: str
    error: str | None = None


class Machine(BaseModel):
    """The machine that a sweep ran on."""

    cpus: int | None = None
    gpus: list[str] | None = None


class Sweep(BaseModel):
    """What the report reads of sweep.json."""

    folder: Path
    command: str
    versions: dict[str, str]
    machine: Machine
    jobs: list[Job]


@dataclass(frozen=True)
class RunIndex:
    """All runs, sweeps and problems found in some folders."""

    runs: list[Run] = field(default_factory=list)
    sweeps: list[Sweep] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def analyses(self, name: str) -> list[Run]:
        """The runs of analyze.py analysis=NAME that have results."""
        return [run for run in self.runs if run.analysis == name and name in run.results]

    def sweep_of(self, run: Run) -> Sweep | None:
        """The sweep that a run is a job of."""
        return next((sweep for sweep in self.sweeps if run.folder.parent == sweep.folder), None)

    def attempt(self, path: Path, read: Callable[[], T]) -> T | None:
        """What `read` returns. If it fails, None, and `path` is added to the problems."""
        try:
            return read_back(path, lambda _: read(), REMEDY)
        except InputError as error:
            text = str(error).removeprefix(f"{path}: ")
            self.problems.append(Problem(relative_path(path), text))
            return None

    def parse(self, run: Run, read: Callable[[Any], T]) -> T | None:
        """As `attempt`, for what `read` makes of the results of an analysis."""
        path = run.folder / f"{run.analysis}.json"
        return self.attempt(path, lambda: read(run.results[str(run.analysis)]))


def relative_path(path: Path) -> str:
    """The path relative to the working directory if it is below it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
