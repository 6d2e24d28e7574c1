"""What a report consists of; render.py writes it down, everything else only fills it.

    Section("Table 3", [Words(["On ", Code("creatures")]), Table("", "net", [("top-1", "here")], rows)])

A cell is "12.3 ± 0.4", "+1.2", "" where there is nothing, or text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from zfnet.studies.report.pictures import Copy
from zfnet.studies.report.text import Text, plain

HERE, PAPER, DIFFERENCE = "here", "paper", "difference"  # names of columns that are written in their own way
LONGEST_NUMBER = 24  # characters


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    text: Text


@dataclass(frozen=True)
class Commands:
    """Lines for a shell."""

    lines: list[str]


@dataclass(frozen=True)
class Row:
    """A line of a table, a cell a column; `heading` rows have no cells and name those that follow."""

    name: Text
    cells: Sequence[Text] = ()
    heading: bool = False


@dataclass(frozen=True)
class Table:
    """Columns are (group, name); neighbours of one group share a heading. Notes stand beneath."""

    title: Text
    corner: str
    columns: list[tuple[str, str]]
    rows: list[Row]
    notes: Sequence[Text] = ()

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The headings above the columns and how many each spans; empty where there is none."""
        names = [group for group, _ in self.columns]
        return [(name, len(list(same))) for name, same in groupby(names)] if any(names) else []

    @property
    def kinds(self) -> list[str]:
        """Of each column what it holds, whether it opens a group, and whether it holds sentences, no numbers."""
        kinds = []
        for column, (group, name) in enumerate(self.columns):
            words = [name] if name in (HERE, PAPER, DIFFERENCE) else []
            if column == 0 or self.columns[column - 1][0] != group:
                words.append("opens")
            if any(len(plain(row.cells[column])) > LONGEST_NUMBER for row in self.rows if row.cells):
                words.append("words")
            kinds.append(" ".join(words))
        return kinds


@dataclass(frozen=True)
class Picture:
    """A picture of a run, or one drawn for the report, and what is seen on it."""

    print: Copy
    caption: Text


@dataclass(frozen=True)
class Gallery:
    """Pictures that belong together, in as many columns as fit."""

    pictures: list[Picture]


Block = Words | Commands | Table | Picture | Gallery


@dataclass(frozen=True)
class Section:
    """A heading and what stands beneath it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A title, a line beneath it, and sections."""

    title: str
    subtitle: Text
    sections: list[Section]
