"""A number with its standard deviation over seeds or folds.

>>> to_measure([0.02, 0.04, 0.06], scale=100)
Measure(mean=4.0, deviation=2.0, count=3, values=(2.0, 4.0, 6.0), folds=())
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from statistics import fmean, stdev
from typing import Any


@dataclass(frozen=True)
class Measure:
    """A mean and its sample standard deviation.

    Attributes:
        mean: the mean.
        deviation: the sample standard deviation. None for a single value.
        count: how many values there are.
        values: one value per run. Empty for a published number.
        folds: the fold of each value, if other measures have values of the same folds.
    """

    mean: float
    deviation: float | None = None
    count: int = 1
    values: tuple[float, ...] = field(default=(), compare=False)
    folds: tuple[Hashable, ...] = field(default=(), compare=False)


def to_measure(
    values: Sequence[float], scale: float = 1, folds: Sequence[Hashable] = ()
) -> Measure | None:
    """Mean and deviation of the values of some runs.

    Args:
        values: one value per run.
        scale: multiplies each value. 100 gives per cent.
        folds: the fold of each value, if other measures have values of the same folds.

    Returns:
        The measure. None if there are no values.

    Raises:
        ValueError: a value is not a finite number.
    """
    scaled = tuple(scale * check_finite(value) for value in values)
    if not scaled:
        return None
    deviation = stdev(scaled) if len(scaled) > 1 else None
    return Measure(fmean(scaled), deviation, len(scaled), scaled, tuple(folds))


def check_finite(value: Any) -> float:
    """The value itself. ValueError unless it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return value
