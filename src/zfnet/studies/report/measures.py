"""A number with its deviation over seeds or folds, how it is said, and how far it is from the paper's.

said(measured([0.031, 0.035], scale=100))    # "3.3 ± 0.3"
difference(Measure(3.3), 38.4)               # "−35.1"
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Measure:
    """The mean of `count` values and their sample deviation, None for a single one."""

    mean: float
    deviation: float | None = None
    count: int = 1


def measured(values: Sequence[float], scale: float = 1) -> Measure | None:
    """None where there are no values."""
    scaled = [scale * value for value in values]
    if not scaled:
        return None
    return Measure(fmean(scaled), stdev(scaled) if len(scaled) > 1 else None, len(scaled))


def said(measure: Measure | None, digits: int = 1, sign: bool = False) -> str:
    """Nothing for no measure; `sign` also for what is above 0."""
    if measure is None:
        return ""
    deviation = "" if measure.deviation is None else f" ± {measure.deviation:.{digits}f}"
    mean = signed(measure.mean, digits)
    return f"{mean if sign else mean.removeprefix('+')}{deviation}"


def signed(value: float, digits: int = 1) -> str:
    """With its sign, a minus as wide as a plus; what rounds to 0 has none."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def difference(ours: Measure | None, paper: float | None, digits: int = 1) -> str:
    """Ours minus the paper's; nothing where either is missing."""
    return "" if ours is None or paper is None else signed(ours.mean - paper, digits)


def of_paper(value: float | tuple[float, float | None] | None) -> Measure | None:
    """A number of zfnet.studies.paper, alone or with its deviation."""
    if value is None:
        return None
    return Measure(*value) if isinstance(value, tuple) else Measure(value)


def beside(ours: Measure | None, paper: Measure | None, digits: int = 1) -> list[str]:
    """The cells here, paper, difference."""
    return [said(ours, digits), said(paper, digits), difference(ours, paper.mean if paper else None, digits)]
