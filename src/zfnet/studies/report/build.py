"""Builds the report: every table and figure found in some runs, beside the paper's.

    python analyze.py analysis=report runs=outputs
    python analyze.py analysis=report runs=[outputs/sweeps/table3_zfnet,outputs/train/demo]

Writes `report.html`, a page without other files, and `report.md` with its images in a folder.
Missing rows say which command produces them. Runs that failed or cannot be read are listed, and the
others are reported.
"""

import datetime
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from zfnet.io import save
from zfnet.studies import Analysis
from zfnet.studies.report import ablations, correspondence, imagenet, layers, transfer, voc
from zfnet.studies.report.comparison import Comparison
from zfnet.studies.report.discovery import find_runs
from zfnet.studies.report.figures import make_figures
from zfnet.studies.report.format import render
from zfnet.studies.report.images import Album
from zfnet.studies.report.provenance import (
    list_commands,
    list_not_run,
    list_unfinished,
    other_data_sets,
)
from zfnet.studies.report.runs import RunIndex

log = logging.getLogger(__name__)

IMAGES = "images"  # folder beside report.md
TITLES = {
    "Table 1": "corresponding parts of different images",
    "Table 2": "single networks and averages of several",
    "Table 3": "ablations of the architecture",
    "Table 4": "Caltech-101",
    "Table 5": "Caltech-256",
    "Tables 4 and 5": "other data sets",
    "Table 6": "PASCAL VOC 2012",
    "Table 7": "linear classifiers on each layer",
}


@dataclass(frozen=True)
class Section:
    """A heading, and what is below it: the model that the template sections/KIND shows."""

    title: str
    kind: str
    content: Any


@dataclass(frozen=True)
class Document:
    """What the report says. The templates decide how."""

    folders: Sequence[str]
    runs: int
    sweeps: int
    date: datetime.date
    sections: Sequence[Section]


@dataclass
class Report(Analysis):
    """Writes report.html, report.md and their images."""

    takes = "runs"

    def run(self, runs: Sequence[str], folder: Path) -> None:
        """Reports everything below the folders `runs`.

        Raises:
            InputError: a folder does not exist, or there is no run below any of them.
        """
        index = find_runs(runs)
        document = build_document(index, runs, folder)
        for name in ("report.html", "report.md"):
            save(folder / name, render(document, name, images=IMAGES).encode())
        counts = len(index.runs), len(index.sweeps), len(index.problems)
        log.info("%d runs, %d sweeps; %d that cannot be read", *counts)


def build_document(index: RunIndex, folders: Sequence[str], folder: Path) -> Document:
    """Builds the report's model, and writes its images to `folder`."""
    order = list(TITLES)
    tables: list[Comparison] = [
        table
        for module in (correspondence, imagenet, ablations, transfer, voc, layers)
        for table in module.make_tables(index)
    ]
    tables.sort(key=lambda table: order.index(table.table))
    sections = [
        Section(f"{name}: {TITLES[name]}", "tables", list(group))
        for name, group in groupby(tables, key=lambda table: table.table)
    ]
    figures = make_figures(index, Album(folder / IMAGES, index))
    sections += [Section(figure.title, "figure", figure) for figure in figures]
    return Document(
        list(map(str, folders)),
        len(index.runs),
        len(index.sweeps),
        datetime.date.today(),
        [
            Section("About this report", "about", other_data_sets(index)),
            Section("Agreement with the paper", "agreement", tables),
            *sections,
            Section("Commands", "commands", list_commands(index)),
            *_section("Not finished, failed, left out", "unfinished", list_unfinished(index)),
            *_section("Not run yet", "not_run", list_not_run([each.title for each in sections])),
        ],
    )


def _section(title: str, kind: str, content: Sequence[Any]) -> list[Section]:
    """A section if there is anything to list."""
    return [Section(title, kind, content)] if content else []
