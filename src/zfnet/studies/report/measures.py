"""A number with its deviation over seeds or folds, how it is said, and how far it is from the paper's.

format_measure(to_measure([0.031, 0.035], scale=100))    # "3.3 ± 0.3"
difference(Measure(3.3), 38.4)               # "−35.1"
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from statistics import fmean, stdev


@dataclass(frozen=True)
class Measure:
    """The mean of `count` values and their sample deviation, None for a single one.

    `values` are those of the runs, none for a published number. `folds` says of each its fold, where other measures
    have values of the same folds.
    """

    mean: float
    deviation: float | None = None
    count: int = 1
    values: tuple[float, ...] = field(default=(), compare=False)
    folds: tuple[Hashable, ...] = field(default=(), compare=False)


def to_measure(
    values: Sequence[float], scale: float = 1, folds: Sequence[Hashable] = (), count: int = 0
) -> Measure | None:
    """The measure of what runs gave.

    Args:
        values: one a run.
        scale: 100 for per cent.
        folds: of each value, where the folds are shared with other measures.
        count: of what the values are of, if not of `values` themselves.

    Returns:
        None where there are no values.

    Raises:
        ValueError: a value is no finite number.
    """
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise ValueError(f"{value!r} is no finite number")
    scaled = tuple(scale * value for value in values)
    if not scaled:
        return None
    deviation = stdev(scaled) if len(scaled) > 1 else None
    return Measure(fmean(scaled), deviation, count or len(scaled), scaled, tuple(folds))


def format_measure(measure: Measure | None, digits: int = 1, sign: bool = False) -> str:
    """Nothing for no measure; `sign` also for what is above 0."""
    if measure is None:
        return ""
    deviation = "" if measure.deviation is None else f" ± {measure.deviation:.{digits}f}"
    mean = format_signed(measure.mean, digits)
    return f"{mean if sign else mean.removeprefix('+')}{deviation}"


def format_signed(value: float, digits: int = 1) -> str:
    """With its sign, a minus as wide as a plus; what rounds to 0 has none."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def difference(ours: Measure | None, paper: float | None, digits: int = 1) -> str:
    """Ours minus the paper's; nothing where either is missing."""
    return "" if ours is None or paper is None else format_signed(ours.mean - paper, digits)


def of_paper(value: float | tuple[float, float | None] | None) -> Measure | None:
    """A number of zfnet.studies.reference_results, alone or with its deviation."""
    if value is None:
        return None
    return Measure(*value) if isinstance(value, tuple) else Measure(value)


def beside_paper(ours: Measure | None, paper: Measure | None, digits: int = 1) -> list[str]:
    """The cells here, paper, difference."""
    return [
        format_measure(ours, digits),
        format_measure(paper, digits),
        difference(ours, paper.mean if paper else None, digits),
    ]
