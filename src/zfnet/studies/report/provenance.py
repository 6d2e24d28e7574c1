"""What made the numbers: commands, data, seeds, versions, machine; what failed; and what was not run at all."""

import os
import platform
from collections import Counter
from collections.abc import Collection
from importlib.metadata import version

from zfnet.errors import one_line
from zfnet.studies.report.document import Block, Commands, Row, Section, Table, Words
from zfnet.studies.report.missing_runs import what_became
from zfnet.studies.report.runs import Found, Machine, Run, Sweep, relative_path
from zfnet.studies.report.settings import ORIGINS, data_name, label
from zfnet.studies.report.text import Code, Text, joined

PACKAGES = ("torch", "torchvision", "lightning", "hydra-core", "numpy")
MAKES = {
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


def commands(found: Found) -> Section:
    """Every command, with its data, seed and time; sweeps with their versions and machine."""
    blocks: list[Block] = []
    for sweep in found.sweeps:
        blocks += [Words(_of_sweep(found, sweep)), Commands([sweep.command])]
    alone = [run for run in found.runs if not found.sweep_of(run)]
    if alone:
        here = {"python": platform.python_version()} | {each: version(each) for each in PACKAGES}
        blocks.append(
            Words(
                [
                    "Runs of their own; each folder's ",
                    Code(".hydra/config.yaml"),
                    " has the whole config. This report was made with ",
                    f"{versions(here)} on {machine(Machine(cpus=os.cpu_count()))}.",
                ]
            )
        )
        about = [(one_line(_of_run(run)), run.command) for run in alone]
        blocks.append(Commands([line for what, command in about for line in (f"# {what}", command)]))
    return Section("What made it", blocks)


def unfinished(found: Found) -> Section | None:
    """Jobs that failed, runs without a result, files that cannot be read."""
    rows = []
    for run in found.runs:
        if run.script == "train" and not run.result and not (run.folder / "result.json").exists():
            state, command = what_became(found, run)
            rows.append(Row(relative_path(run.folder), [state, Code(command)]))
        elif run.analysis and not (run.folder / f"{run.analysis}.json").exists():
            rows.append(Row(relative_path(run.folder), ["no results", Code(f"{run.command} resume=true")]))
    known = {run.folder for run in found.runs}
    for sweep in found.sweeps:
        for job in sweep.jobs:
            if job.state != "finished" and sweep.folder / job.folder not in known:
                why = f"{job.state} ({job.error or 'before it began'})"
                rows.append(Row(relative_path(sweep.folder / job.folder), [why, Code(sweep.command)]))
    rows += [Row(relative_path(each.path), [each.text, ""]) for each in dict.fromkeys(found.problems)]
    if not rows:
        return None
    table = Table("", "folder or file", [("", "what is wrong"), ("", "goes on by")], rows)
    return Section("Not finished, failed, left out", [table])


def not_run(there: Collection[str]) -> Section | None:
    """The paper's tables and figures of which nothing was found, with their commands."""
    lines = [f"python {line}  # {name}" for name, line in MAKES.items() if name not in there]
    return Section("Not run yet", [Commands(lines)]) if lines else None


def data_note(found: Found) -> Text:
    """On which data the numbers here are, and that the paper's are on others."""
    here = Counter(data_name(run) for run in found.runs)
    others = [name for name in here if name not in ORIGINS]
    if not others:
        return "The data sets are the paper's; image sizes, epochs and pre-training are as each table says."
    return [
        f"The paper's numbers are of {ORIGINS['imagenet']} (1.3 million images of 224 pixels, 70 epochs) and of "
        "Caltech-101, Caltech-256 and PASCAL VOC 2012 with nets trained on it. Numbers here are of ",
        joined(map(Code, others)),
        ", with fewer classes and images: there the difference is a reading aid, not an error of one or the other.",
    ]


def versions(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in found.items())


def machine(about: Machine) -> str:
    gpus = Counter(about.gpus)
    cards = ", ".join(f"{count} x {name}" for name, count in gpus.items()) or "no GPU"
    return f"{about.cpus} CPU cores, {cards if about.gpus is not None else ''}".rstrip(", ")


def _of_sweep(found: Found, sweep: Sweep) -> Text:
    runs = [run for run in found.runs if found.sweep_of(run) == sweep]
    states = Counter(job.state for job in sweep.jobs)
    labels = ", ".join(dict.fromkeys(label(run) for run in runs)) or "no job"
    seeds = ", ".join(sorted({str(run.config.get("seed")) for run in runs}))
    seconds = sum(run.result.get("seconds", 0) for run in runs)
    took = f"; {seconds / 60:.0f} minutes of jobs" if seconds else ""
    told = ", ".join(f"{count} {state}" for state, count in states.items()) or "no job yet"
    about = f"{versions(sweep.manifest.versions)}; {machine(sweep.manifest.machine)}"
    return [relative_path(sweep.folder), f": {labels}; jobs: {told}; seeds {seeds}{took}; {about}."]


def _of_run(run: Run) -> str:
    seconds = run.result.get("seconds")
    took = [f"{seconds / 60:.1f} minutes"] if seconds else []
    what = label(run) if run.script == "train" else data_name(run)
    return ", ".join([f"{relative_path(run.folder)}: {what}", f"seed {run.config.get('seed')}", *took])
