"""What a report consists of; html.py and markdown.py write it down, everything else only fills it.

    Section("Table 3", [Words("On `creatures`."), Table("", "net", [("top-1", "here")], [Row("whole", ["3.3"])])])

Text between backticks is code. A cell is text: "12.3 ± 0.4", "+1.2", "" where there is nothing.
"""

from dataclasses import dataclass, field

from zfnet.studies.report.pictures import Print

HERE, PAPER, DIFFERENCE = "here", "paper", "difference"  # names of columns that are written in their own way
LONGEST_NUMBER = 24  # characters


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Commands:
    """Lines for a shell."""

    lines: list[str]


@dataclass(frozen=True)
class Row:
    """A line of a table, a cell a column; `heading` rows have no cells and name those that follow."""

    name: str
    cells: list[str] = field(default_factory=list)
    heading: bool = False


@dataclass(frozen=True)
class Table:
    """Columns are (group, name); neighbours of one group share a heading. Notes stand beneath."""

    title: str
    corner: str
    columns: list[tuple[str, str]]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)

    def wordy(self, column: int) -> bool:
        """Whether a column holds sentences, no numbers."""
        return any(len(row.cells[column]) > LONGEST_NUMBER for row in self.rows if row.cells)


@dataclass(frozen=True)
class Picture:
    """A picture of a run, or one drawn for the report, and what is seen on it."""

    print: Print
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Pictures that belong together, in as many columns as fit."""

    pictures: list[Picture]


Block = Words | Commands | Table | Picture | Gallery


@dataclass(frozen=True)
class Section:
    """A heading and what stands beneath it."""

    title: str
    blocks: list[Block]


@dataclass(frozen=True)
class Document:
    """A title, a line beneath it, and sections."""

    title: str
    subtitle: str
    sections: list[Section]
