"""The model of a table: the numbers of the runs beside the paper's.

A cell is a Measure, a float (the difference, shown with its sign), text, or None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zfnet.studies.report.measures import Measure
from zfnet.studies.report.runs import Problem
from zfnet.studies.report.verdicts import Claim, Verdict, judge

HERE, PAPER, DIFFERENCE = "here", "paper", "difference"
Key = tuple[Any, Any]  # (row, column)
Numbers = Mapping[Key, Measure]


@dataclass(frozen=True)
class Label:
    """What was measured: networks, and the data set with its setting."""

    text: str
    nets: Sequence[str] = ()


@dataclass(frozen=True)
class Comparison:
    """One table of the paper, measured in one setting.

    Attributes:
        table: the paper's table, such as "Table 3".
        label: what was measured.
        quantity: what the numbers are, with the unit.
        columns: the names of the columns.
        rows: the names of the rows.
        here: the numbers of the runs.
        paper: the paper's numbers.
        verdicts: for each claim the verdict here, and that on the paper's numbers.
        shows: for columns that do not show all of here, paper and difference, which they show.
        headings: text above some rows.
        counted: the heading of a column with the number of values of each row. "" for none.
        digits: decimals of the numbers.
        notes: text below the table.
        nets: the pre-trained networks, and the layer that is read.
        missing: rows without a result.
    """

    table: str
    label: Label
    quantity: str
    columns: Mapping[Any, str]
    rows: Mapping[Any, str]
    here: Numbers
    paper: Numbers
    verdicts: Sequence[tuple[Verdict, Verdict]]
    shows: Mapping[Any, Sequence[str]] = field(default_factory=dict)
    headings: Mapping[Any, str] = field(default_factory=dict)
    counted: str = ""
    digits: int = 1
    notes: Sequence[str] = ()
    nets: tuple[Sequence[str], str] | None = None
    missing: Sequence[Problem] = ()

    @property
    def grid(self) -> list[tuple[str, str]]:
        """(group, name) of each column of cells."""
        columns = [(self.columns[key], shown) for key, shown in self._shown()]
        return [*columns, ("", self.counted)] if self.counted else columns

    def cells(self, row: Any) -> list[Measure | float | str | None]:
        """The cells of a row, one for each column of `grid`."""
        cells: list[Measure | float | str | None] = []
        for column, shown in self._shown():
            here, paper = self.here.get((row, column)), self.paper.get((row, column))
            difference = here.mean - paper.mean if here and paper else None
            cells.append({HERE: here, PAPER: paper, DIFFERENCE: difference}[shown])
        if self.counted:
            counts = [measure.count for (key, _), measure in self.here.items() if key == row]
            cells.append(str(min(counts)) if counts else None)
        return cells

    def _shown(self) -> list[tuple[Any, str]]:
        every = (HERE, PAPER, DIFFERENCE)
        return [(key, shown) for key in self.columns for shown in self.shows.get(key, every)]


def judge_both(
    claims: Sequence[Claim], here: Mapping[Any, Measure], paper: Mapping[Any, Measure]
) -> list[tuple[Verdict, Verdict]]:
    """Judges each claim by the numbers here, and by the paper's."""
    return list(zip(judge(claims, here), judge(claims, paper), strict=True))
