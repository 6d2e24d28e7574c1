"""Which runs lie below some folders, and what they say of themselves: config, command, results, state.

    found = find(["outputs/sweeps/table3_zfnet"])
    found.runs[0].word("recipe.lr"), found.runs[0].results["result"]["val/top1_error"]

A run is a folder with Hydra's `.hydra/config.yaml`; a sweep one with train.py's `sweep.json`. What cannot be read
is a problem with one line, and the rest is reported all the same.
"""

import json
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml

from zfnet.errors import InputError

PASSED_OVER = {"stores", "features", "checkpoints", ".hydra"}  # folders without runs, and large
OWN = ("seed=", "name=", "resume=", "hydra.", "hydra/")  # words of a command that belong to one run only
UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError)
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
    choices: dict[str, str | None]
    config: dict[str, Any]
    results: dict[str, Any]
    versions: dict[str, str] = field(default_factory=dict)

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

    def word(self, key: str, default: Any = None) -> Any:
        """`word("data.root")`: what the config says there, not resolved."""
        value: Any = self.config
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                return default
            value = value[part]
        return value


@dataclass(frozen=True)
class Sweep:
    """A sweep's manifest, as train.py writes it."""

    folder: Path
    command: str
    versions: dict[str, str]
    machine: dict[str, Any]
    jobs: list[dict[str, Any]]


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


def find(folders: Sequence[str]) -> Found:
    """Looks through all that lies below `folders`. InputError where there is no folder, or no run in any."""
    found = Found()
    for folder in _visited(folders):
        if (folder / "sweep.json").exists():
            _add(found.sweeps, found.problems, folder / "sweep.json", _sweep)
        if (folder / ".hydra" / "config.yaml").exists():
            _add(found.runs, found.problems, folder / ".hydra", partial(_run, problems=found.problems))
    if not found.runs and not found.sweeps and not found.problems:
        raise InputError(
            f"runs={','.join(map(str, folders))}: no run of train.py or analyze.py lies there; "
            "make one, as with python train.py experiment=demo"
        )
    return found


def run_in(folder: Path) -> Run | None:
    """The run of one folder; None where there is none that can be read."""
    try:
        return _run(folder / ".hydra", [])
    except UNREADABLE:
        return None


def shown(path: Path) -> Path:
    """As one types it: from the working directory where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def readable(found: Found, run: Run, read: Callable[[Run], T]) -> T | None:
    """What `read` makes of the run's numbers; a JSON of another shape is a problem and None."""
    try:
        return read(run)
    except UNREADABLE as error:
        name = f"{run.analysis or 'result'}.json"
        found.problems.append(Problem(run.folder / name, f"has other contents than expected ({error!r})"))
        return None


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


def _add(into: list[Any], problems: list[Problem], path: Path, read: Callable[[Path], Any]) -> None:
    try:
        item = read(path)
    except UNREADABLE as error:
        problems.append(
            Problem(path, f"is damaged ({_first_line(error)}); the command that made it mends it")
        )
    else:
        if item is not None:
            into.append(item)


def _run(hydra: Path, problems: list[Problem]) -> Run | None:
    """What lies in a run's folder; None for an earlier report."""
    folder = hydra.parent
    about = _yaml(hydra / "hydra.yaml")["hydra"]
    choices = about["runtime"]["choices"]
    if choices.get("analysis") == "report":
        return None
    results: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json")):
        if path.name != "sweep.json":
            _add([], problems, path, partial(_keep, results))
    overrides = [str(each) for each in about["overrides"]["task"]]
    config = _yaml(hydra / "config.yaml")
    return Run(folder, about["job"]["name"], overrides, choices, config, results)


def _keep(results: dict[str, Any], path: Path) -> None:
    content = json.loads(path.read_text())
    if path.stem == "result" and not isinstance(content, dict):
        raise TypeError(f"a {type(content).__name__} is no result")
    results[path.stem] = content


def _sweep(path: Path) -> Sweep:
    about = json.loads(path.read_text())
    python, script, *words = shlex.split(about["command"])
    command = shlex.join([python, Path(script).name, *words])
    return Sweep(path.parent, command, about["versions"], about["machine"], about["jobs"])


def _yaml(path: Path) -> dict[str, Any]:
    """As it stands: interpolations stay words."""
    return yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
