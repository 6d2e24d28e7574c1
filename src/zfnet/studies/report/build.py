"""The report: every table and figure found in some runs beside the paper's, and what made them.

    python analyze.py analysis=report runs=outputs                                   # all that was ever run
    python analyze.py analysis=report runs=[outputs/sweeps/table3_zfnet,outputs/train/demo]

Writes `report.html`, one page that needs nothing else, and `report.md` with its pictures beside it. Rows that are
missing say which command makes them; runs that failed or cannot be read are named, and the rest is reported.
"""

import datetime
import logging
from collections.abc import Sequence, Sized
from pathlib import Path

from zfnet.io import save
from zfnet.studies.report import (
    ablations,
    agreement,
    correspondence,
    curves,
    figures,
    imagenet,
    layers,
    provenance,
    transfer,
    voc,
)
from zfnet.studies.report.document import Document, Section, Words
from zfnet.studies.report.pictures import Album
from zfnet.studies.report.render import render
from zfnet.studies.report.runs import Found, find
from zfnet.studies.report.text import Code, joined

log = logging.getLogger(__name__)

PICTURES = "pictures"
TABLES = (correspondence, imagenet, ablations, transfer, voc, layers)
TITLES = {
    "Table 1": "parts of different pictures",
    "Table 2": "single nets and averages of several",
    "Table 3": "what the architecture is worth",
    "Table 4": "Caltech-101",
    "Table 5": "Caltech-256",
    "Tables 4 and 5": "the same on another data set",
    "Table 6": "PASCAL VOC 2012",
    "Table 7": "what each layer tells apart",
}
TITLE = "Visualizing and Understanding Convolutional Networks, again"


def study(runs: Sequence[str], folder: Path) -> None:
    """Reports what lies below the folders `runs`; InputError where that is nothing."""
    found = find(runs)
    document = _document(found, runs, folder)
    save(folder / "report.html", render(document, "report.html").encode())
    save(folder / "report.md", render(document, "report.md", folder=PICTURES).encode())
    log.info(
        "%d runs, %d sweeps; %d that cannot be read", len(found.runs), len(found.sweeps), len(found.problems)
    )


def _document(found: Found, runs: Sequence[str], folder: Path) -> Document:
    album = Album(folder / PICTURES, found)
    tables = [each for part in TABLES for each in part.results(found)]
    titles = sorted({each.title for each in tables}, key=list(TITLES).index)
    sections = [
        Section(f"{title}: {TITLES[title]}", [each.table for each in tables if each.title == title])
        for title in titles
    ]
    drawn = [
        curves.figure_9(found, album),
        *(figures.section(found, name, album) for name in figures.FIGURES),
    ]
    drawn += [curves.learning_curves(found, album), figures.trained_pictures(found, album)]
    sections += sorted((each for each in drawn if each), key=_place)
    there = {name for each in sections for name in provenance.MAKES if each.title.startswith(name)}
    last = [provenance.commands(found), provenance.unfinished(found), provenance.not_run(there)]
    first = Section("What this is", [Words(provenance.data_note(found))])
    subtitle = [
        f"{_count(found.runs, 'run')} and {_count(found.sweeps, 'sweep')} below ",
        joined(map(Code, runs)),
        f", beside the numbers of Zeiler & Fergus (2013). {datetime.date.today():%d %B %Y}.",
    ]
    return Document(
        TITLE, subtitle, [first, agreement.section(tables), *sections, *(each for each in last if each)]
    )


def _count(what: Sized, name: str) -> str:
    """ "1 run", "2 runs"."""
    return f"{len(what)} {name}{'' if len(what) == 1 else 's'}"


def _place(section: Section) -> str:
    """The paper's figures in their order, then what else there is as it came."""
    return section.title if section.title.startswith("Figure") else "~"
