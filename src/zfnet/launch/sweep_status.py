"""Prints how far the jobs of a sweep are: `python train.py sweep=status`, at any time.

    read_status(Path("outputs/sweeps/table3"), time.time()).lines()

It only reads: sweep.json (manifest.py), and `progress.json` and `result.json` of each job. It takes
no lock. Whether a job that was started still runs is known from its process on the same machine. On
another machine it is judged by the age of its files.
"""

import heapq
import os
import platform
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zfnet.errors import InputError, one_line, printable
from zfnet.launch.manifest import read_manifest
from zfnet.launch.results import read_result, summary
from zfnet.launch.run_dirs import NOT_IN_NAME, fixed_words, own_words
from zfnet.launch.run_progress import read_progress

SILENT = 600.0  # seconds without a sign of life, after which a job elsewhere counts as silent
STATES = ("finished", "running", "silent", "died", "stopped", "failed", "waiting")
HEAD = ("job", "overrides", "state", "epoch", "images/s", "s/epoch", "ends", "result")


@dataclass(frozen=True)
class JobStatus:
    """One job of a sweep.

    Attributes:
        overrides: those that the jobs do not share.
        state: one of `STATES`.
        progress: see `read_progress`; None before the first step.
        seconds: how long it took, if it is finished.
        ends: when it is expected to end, in seconds since 1970, if it is running.
        outcome: the result or the error.
    """

    overrides: str
    state: str
    progress: dict[str, float] | None = None
    seconds: float | None = None
    ends: float | None = None
    outcome: str = ""

    def cells(self, number: int, now: float) -> tuple[str, ...]:
        """Returns the texts of its line in the table."""
        epoch = rate = seconds = ""
        if self.progress:
            epoch = f"{self.progress['epoch']:.4g}/{self.progress['epochs']:.4g}"
            rate = f"{self.progress['images_per_second']:.0f}"
            seconds = f"{self.progress['seconds_per_epoch']:.3g}"
        ends = "" if self.ends is None else clock_time(self.ends, now)
        return str(number), self.overrides, self.state, epoch, rate, seconds, ends, self.outcome


@dataclass(frozen=True)
class SweepStatus:
    """A sweep at one moment.

    Attributes:
        folder: its directory.
        jobs: its jobs, also those that have not started.
        now: the moment, in seconds since 1970.
        active: whether the sweep's own process exists; True if it is on another machine.
    """

    folder: Path
    jobs: Sequence[JobStatus]
    now: float
    active: bool = True

    def lines(self) -> list[str]:
        """Returns the table, and a line that sums it up."""
        rows = [HEAD, *(job.cells(i, self.now) for i, job in enumerate(self.jobs, start=1))]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = [
            "  ".join(map(str.ljust, row, widths)).rstrip()
            for row in rows  # by column
        ]
        counts = Counter(job.state for job in self.jobs)
        found = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
        return [f"{self.folder}", *table, f"{len(self.jobs)} jobs: {found or 'none'}{self._end()}"]

    def _end(self) -> str:
        states = {job.state for job in self.jobs}
        if "running" not in states and not self.active and states - {"finished"}:
            return "; the sweep is not running: the same command goes on"
        end = self.expected_end()
        return "" if end is None else f"; expected to end {clock_time(end, self.now)}"

    def expected_end(self) -> float | None:
        """Returns when all jobs are expected to be done, in seconds since 1970.

        As many jobs run at a time as now. A job of which nothing is known takes as long as the mean
        of the others. None if nothing is known of any, or none is running.
        """
        running = [job for job in self.jobs if job.state == "running"]
        lengths = [length for job in self.jobs if (length := _whole_length(job)) is not None]
        if not running or not lengths:
            return None
        mean = sum(lengths) / len(lengths)
        slots = [self.now + mean if job.ends is None else job.ends for job in running]
        heapq.heapify(slots)
        for _ in range(sum(job.state == "waiting" for job in self.jobs)):
            heapq.heapreplace(slots, slots[0] + mean)  # the slot that is free first
        return max(slots)


def _whole_length(job: JobStatus) -> float | None:
    """Returns how long a job takes in all, in seconds."""
    if job.seconds is not None:
        return job.seconds
    if job.state == "running" and job.progress:
        return job.progress["seconds_per_epoch"] * job.progress["epochs"]
    return None


def clock_time(moment: float, now: float) -> str:
    """Returns a time of day, with the date if it is not of today, and how far away it is.

    >>> clock_time(now + 4000, now)  # doctest: +SKIP
    '14:06 (in 1 h 6 min)'

    Args:
        moment: in seconds since 1970.
        now: the same, now.
    """
    then, today = time.localtime(moment), time.localtime(now)
    form = "%H:%M" if then[:3] == today[:3] else "%Y-%m-%d %H:%M"
    return f"{time.strftime(form, then)} (in {duration(max(0.0, moment - now))})"


def duration(seconds: float) -> str:
    """Returns a duration in words.

    >>> duration(50), duration(4000), duration(200_000)
    ('50 s', '1 h 6 min', '2 d 7 h')
    """
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    hours, days = minutes // 60, minutes // 1440
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def find_sweep(folder: Path, named: bool) -> Path:
    """Returns the directory of the sweep to show.

    Args:
        folder: the directory that the overrides of the command line give.
        named: whether they name a sweep. If not, the sweep whose state changed last is taken.

    Raises:
        InputError: if there is no such sweep.
    """
    if named and (folder / "sweep.json").exists():
        return folder
    others = sorted(
        folder.parent.glob("*/sweep.json"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    if others and not named:
        return others[0].parent
    names = ", ".join(path.parent.name for path in others[:5])
    remedy = f"name= one of {names}" if names else "there are no sweeps yet"
    raise InputError(f"{folder}: no sweep has been started here; {remedy}")


def read_status(folder: Path, now: float) -> SweepStatus:
    """Reads how far the jobs of a sweep are.

    Args:
        folder: the directory of the sweep.
        now: the time, in seconds since 1970.

    Raises:
        InputError: if sweep.json is damaged.
    """
    sweep = read_manifest(folder)
    shared = {*fixed_words(sweep.get("overrides", [])), *NOT_IN_NAME}
    machine = sweep.get("machine", {})
    entries: dict[Any, Any] = {
        _key(job["overrides"]) if "overrides" in job else job["folder"]: job
        for job in sweep["jobs"]
    }
    planned: dict[Any, Any] = {
        _key(words): {"overrides": words} for words in sweep.get("planned", [])
    }
    trials = max(0, sweep.get("trials", 0) - len(entries))
    started = [
        _job_status(folder, job, shared, machine, now) for job in (planned | entries).values()
    ]
    active = machine.get("host") != platform.node() or _exists(machine.get("pid"))
    return SweepStatus(folder, [*started, *[JobStatus("", "waiting")] * trials], now, active)


def _key(words: Iterable[str]) -> frozenset[tuple[str, str]]:
    return frozenset(fixed_words(list(words)).items())


def _job_status(
    sweep: Path, job: dict[str, Any], shared: Iterable[str], machine: dict[str, Any], now: float
) -> JobStatus:
    words = own_words(job.get("overrides", []), shared)
    overrides = printable(" ".join(word.removeprefix("++") for word in words))
    if "folder" not in job:
        return JobStatus(overrides, "waiting")
    folder = sweep / job["folder"]
    try:
        result, progress = read_result(folder), read_progress(folder)
    except InputError as damage:
        return JobStatus(overrides, "failed", outcome=one_line(damage))
    if result:  # "seconds" counts the training of all processes of a resumed job
        last = (job.get("ended") or 0.0) - (job.get("started") or 0.0)
        seconds = max(last, result.get("seconds", 0.0))
        outcome = summary(result).partition(";")[0]
        return JobStatus(overrides, "finished", progress, seconds, outcome=outcome)
    error = printable(job.get("error") or "")
    if job["state"] != "running":
        state = "stopped" if error.startswith(("stopped by", "not started")) else "failed"
        return JobStatus(overrides, state, progress, outcome=error)
    age = now - _last_sign(folder)
    quiet = f"no sign of life for {duration(age)}" if age > SILENT else ""
    if job.get("host", machine.get("host")) != platform.node():
        state = "silent" if quiet else "running"
    else:
        state = "running" if _exists(job.get("pid", machine.get("pid"))) else "died"
    ends = None
    if state == "running" and progress:
        left = (progress["epochs"] - progress["epoch"]) * progress["seconds_per_epoch"]
        ends = max(now, progress["written"] + left)
    return JobStatus(overrides, state, progress, ends=ends, outcome=quiet)


def _last_sign(folder: Path) -> float:
    """Returns when a file of a job was changed last, in seconds since 1970."""
    files = [folder, *folder.glob("*.log"), *folder.glob("*.json"), *folder.glob("events.*")]
    return max((path.stat().st_mtime for path in files if path.exists()), default=0.0)


def _exists(pid: object) -> bool:
    """Whether a process of this machine exists."""
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True
