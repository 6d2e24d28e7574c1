"""What produced the numbers, what failed, and what was not run."""

import os
import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from zfnet.errors import one_line
from zfnet.studies.report.missing_runs import state_of
from zfnet.studies.report.runs import Machine, Problem, Run, RunIndex, Sweep, relative_path
from zfnet.studies.report.settings import PAPER_DATA, data_name, describe

PACKAGES = ("torch", "torchvision", "lightning", "hydra-core", "numpy")
COMMANDS = {  # of each table and figure the command that produces it
    "Table 1": "analyze.py analysis=correspondence ckpt=CKPT classes=[dog]",
    "Table 2": "analyze.py analysis=ensemble ckpt=[CKPT,CKPT,...]",
    "Table 3": "train.py experiment=table3_alexnet; python train.py experiment=table3_zfnet",
    "Table 4": "train.py experiment=table4 ckpt=CKPT",
    "Table 5": "train.py experiment=table5 ckpt=CKPT",
    "Table 6": "train.py experiment=table6 ckpt=CKPT",
    "Table 7": "analyze.py analysis=layer_probe ckpt=CKPT data=caltech101",
    "Figure 2": "analyze.py analysis=top_activations ckpt=CKPT",
    "Figure 5": "analyze.py analysis=invariance ckpt=CKPT",
    "Figure 6": "analyze.py analysis=filters ckpt=[ALEXNET,ZFNET]",
    "Figure 7": "analyze.py analysis=occlusion ckpt=CKPT",
    "Figure 8": "analyze.py analysis=correspondence ckpt=CKPT classes=[dog]",
    "Figure 9": "train.py experiment=table5 ckpt=CKPT",
    "Overlap": "analyze.py analysis=overlap data=DATA",
}


@dataclass(frozen=True)
class Commands:
    """All sweeps with their runs, a script of the other runs, and where the report was made."""

    sweeps: Sequence[tuple[Sweep, Sequence[Run]]]
    script: Sequence[str]
    versions: Mapping[str, str]
    machine: Machine


def list_commands(index: RunIndex) -> Commands:
    """Every command, sweeps first, then the runs that are not jobs of a sweep."""
    lines = []
    for run in index.runs:
        if not index.sweep_of(run):
            lines += [f"# {one_line(_describe_run(run))}", run.command]
    sweeps = [
        (sweep, [run for run in index.runs if index.sweep_of(run) == sweep])
        for sweep in index.sweeps
    ]
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    return Commands(sweeps, lines, versions, Machine(cpus=os.cpu_count()))


def list_unfinished(index: RunIndex) -> list[Problem]:
    """Failed jobs, runs without a result, files that cannot be read."""
    rows = []
    for run in index.runs:
        path = relative_path(run.folder)
        if run.script == "train" and not run.result and not (run.folder / "result.json").exists():
            rows.append(Problem(path, *state_of(index, run)))
        elif run.analysis and not (run.folder / f"{run.analysis}.json").exists():
            rows.append(Problem(path, "no results", f"{run.command} resume=true"))
    known = {run.folder for run in index.runs}
    for sweep in index.sweeps:
        for job in sweep.jobs:
            if job.state != "finished" and sweep.folder / job.folder not in known:
                state = f"{job.state} ({job.error or 'it did not start'})"
                rows.append(Problem(relative_path(sweep.folder / job.folder), state, sweep.command))
    return [*rows, *dict.fromkeys(index.problems)]


def list_not_run(titles: Collection[str]) -> list[str]:
    """The commands of the paper's tables and figures that no title starts with."""
    return [
        f"python {command}  # {name}"
        for name, command in COMMANDS.items()
        if not any(title.startswith(name) for title in titles)
    ]


def other_data_sets(index: RunIndex) -> list[str]:
    """The data sets of the runs that the paper does not use."""
    return [name for name in dict.fromkeys(map(data_name, index.runs)) if name not in PAPER_DATA]


def _describe_run(run: Run) -> str:
    """Folder, setting, seed and minutes."""
    seconds = run.result.get("seconds")
    minutes = [f"{seconds / 60:.1f} minutes"] if seconds else []
    what = describe(run) if run.script == "train" else data_name(run)
    return ", ".join(
        [f"{relative_path(run.folder)}: {what}", f"seed {run.config.get('seed')}", *minutes]
    )
