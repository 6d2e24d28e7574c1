"""A table of the runs beside the paper's, and what the paper says of its numbers: what each table's file returns.

Comparison("Table 3", "creatures, 112 pixels, 9 epochs", table, claims, here, paper)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zfnet.studies.report.claims import Claim
from zfnet.studies.report.document import Table
from zfnet.studies.report.measures import Measure
from zfnet.studies.report.text import Text


@dataclass(frozen=True)
class Comparison:
    """`here` and `paper` have the same keys, those that the claims ask for."""

    title: str
    label: Text  # of the data set
    table: Table
    claims: Sequence[Claim] = ()
    here: Mapping[Any, Measure] = field(default_factory=dict)
    paper: Mapping[Any, Measure] = field(default_factory=dict)
