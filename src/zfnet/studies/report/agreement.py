"""Which of the paper's claims the runs bear out, computed: a claim's margin here beside its margin in the paper.

section(tables)     # a line a claim and data set
"""

from collections import Counter
from collections.abc import Sequence

from zfnet.studies.report.claims import (
    AGREES,
    DIFFERS,
    NO_EFFECT,
    NOISE,
    ONE_RUN,
    UNKNOWN,
    Verdict,
    judge,
)
from zfnet.studies.report.comparison import Comparison
from zfnet.studies.report.document import HERE, PAPER, Row, Section, Table, Words
from zfnet.studies.report.measures import Measure, format_measure

TITLE = "Agreement with the paper"
PLAN = (
    "Each line is an inequality between numbers of a table. The margin is how far it is from failing, in points "
    "of the table; above 0 it holds. The paper's margin is the same sum over the paper's numbers. A claim agrees "
    "only if the effect that it names exists: where removing layers does not hurt, nothing hurts more or less than "
    f"it, and the verdict is “{NO_EFFECT}”. The ± is the margin's deviation over resampled runs or folds. A margin "
    f"or an effect is “{NOISE}” if it is smaller than its deviation, or if its sign changes in more than 16 % of the "
    f"resampled runs. Where a number is of a single run, the verdict is “{ONE_RUN}”, whatever the margin's sign."
)
DIGITS = {"Table 1": 3}
COUNTED = {AGREES: "agree", DIFFERS: "do not agree"} | {
    word: word for word in (NO_EFFECT, NOISE, ONE_RUN, UNKNOWN)
}


def section(tables: Sequence[Comparison]) -> Section:
    """What agrees, what does not, and what no run speaks of."""
    rows: list[Row] = []
    verdicts: list[Verdict] = []
    for each in (table for table in tables if table.claims):
        rows.append(Row([each.title, " on ", each.label], heading=True))
        here, paper = (judge(each.claims, numbers) for numbers in (each.here, each.paper))
        digits = DIGITS.get(each.title, 1)
        rows += [_row(verdict, theirs, digits) for verdict, theirs in zip(here, paper, strict=True)]
        verdicts += here
    if not verdicts:
        return Section(TITLE, [Words("No run speaks of a claim of the paper.")])
    counts = Counter(verdict.word for verdict in verdicts)
    told = ", ".join(f"{text}: {counts[word]}" for word, text in COUNTED.items() if counts[word])
    columns = [("", "verdict"), ("margin", HERE), ("margin", PAPER)]
    absent = dict.fromkeys(text for verdict in verdicts for text in verdict.absent)
    table = Table("", "claim", columns, rows, [f"{NO_EFFECT}: {text}" for text in absent])
    return Section(
        TITLE, [Words(f"{len(verdicts)} claims about these tables. {told.capitalize()}."), Words(PLAN), table]
    )


def _row(verdict: Verdict, papers: Verdict, digits: int) -> Row:
    """A claim with both margins, signed."""
    here = (
        ""
        if verdict.margin is None
        else format_measure(Measure(verdict.margin, verdict.noise), digits, sign=True)
    )
    paper = "" if papers.margin is None else format_measure(Measure(papers.margin), digits, sign=True)
    return Row(verdict.claim.text, [verdict.word, here, paper])
