"""Which rows of a table have no result, and the commands that produce them."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from zfnet.studies.report.runs import SINGLE_RUN, Problem, Run, RunIndex

K = TypeVar("K")


def find_missing(
    index: RunIndex,
    runs: Sequence[Run],
    absent: Mapping[K, str],
    row_of: Callable[[Run], K],
    command: Callable[[K], str],
) -> list[Problem]:
    """Lists rows without a result, one entry per command.

    Args:
        index: all runs and sweeps.
        runs: the runs of the table.
        absent: the names of the rows without a result.
        row_of: the table row of a run.
        command: the command for a row that was not started.
    """
    rows: dict[tuple[str, str], list[str]] = {}
    for row, name in absent.items():
        started = [run for run in runs if row_of(run) == row and not run.result]
        state = state_of(index, started[0]) if started else ("not run yet", command(row))
        rows.setdefault(state, []).append(name)
    return [Problem("; ".join(names), state, line) for (state, line), names in rows.items()]


def state_of(index: RunIndex, run: Run) -> tuple[str, str]:
    """The state of a run without a result, and the command that continues or repeats it."""
    if (run.folder / "result.json").exists():
        return "its result is invalid", run.command
    sweep = index.sweep_of(run)
    if sweep is None:
        return "not finished", f"{run.command} resume=true"
    jobs = [job for job in sweep.jobs if job.folder == run.folder.name]
    failed = [job for job in jobs if job.state == "failed"]
    return (
        f"failed ({failed[0].error or 'no reason given'})" if failed else "not finished",
        sweep.command,
    )


def change_command(run: Run, changes: Mapping[str, str | None]) -> str:
    """The command of a run without seed and name, some overrides replaced, or removed by None."""
    removed = (*SINGLE_RUN, *(f"{key}=" for key in changes))
    kept = [override for override in run.overrides if not override.startswith(removed)]
    new = [f"{key}={value}" for key, value in changes.items() if value is not None]
    return shlex.join(["python", f"{run.script}.py", *kept, *new])
