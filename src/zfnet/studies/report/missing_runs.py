"""What a table lacks, and which command makes it.

find_missing(found, runs, [("alexnet", "remove_7")], ablation, str, command)     # [["not run yet: ...: ", Code(...)]]
"""

import shlex
from collections.abc import Callable, Sequence
from typing import TypeVar

from zfnet.studies.report.runs import OWN, Found, Run
from zfnet.studies.report.text import Code, Text

K = TypeVar("K")


def find_missing(
    found: Found,
    runs: Sequence[Run],
    absent: Sequence[K],
    key_of: Callable[[Run], K],
    name_of: Callable[[K], str],
    command: Callable[[K], str],
) -> list[Text]:
    """A line for each command; rows that were started and have no result say what became of them."""
    lines: dict[tuple[str, str], list[str]] = {}
    for key in absent:
        started = [run for run in runs if key_of(run) == key and not run.result]
        state = what_became(found, started[0]) if started else ("not run yet", command(key))
        lines.setdefault(state, []).append(name_of(key))
    return [told(state, "; ".join(names), line) for (state, line), names in lines.items()]


def told(state: str, name: str, command: str) -> Text:
    """A row's state, and the command that makes it."""
    return [f"{state}: {name}: ", Code(command)]


def what_became(found: Found, run: Run) -> tuple[str, str]:
    """Of a run without a result: its state, and the command that goes on with it."""
    if (run.folder / "result.json").exists():
        return "its result is of no use", run.command
    sweep = found.sweep_of(run)
    if sweep is None:
        return "not finished", f"{run.command} resume=true"
    failed = [job for job in sweep.jobs if job.folder == run.folder.name and job.state == "failed"]
    return f"failed ({failed[0].error or 'no word why'})" if failed else "not finished", sweep.command


def complete(run: Run, words: dict[str, str | None]) -> str:
    """The command of `run` with other `words`, None for none at all, and without its seed and name."""
    kept = [each for each in run.overrides if not each.startswith((*OWN, *(f"{word}=" for word in words)))]
    others = [f"{word}={value}" for word, value in words.items() if value is not None]
    return shlex.join(["python", f"{run.script}.py", *kept, *others])
