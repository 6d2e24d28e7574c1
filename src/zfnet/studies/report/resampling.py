"""Resamples the numbers of a table: what other runs might have given.

    draws = draw({"a": Measure(9, 3, 5), "b": Measure(2, 4, 5)})
    (draws["a"] - draws["b"])[1:].std()     # 5.0

Each run's deviation from the mean of its row gets a random weight. Rows that were measured on the
same folds get the same weights, so that the effect of a fold on both rows cancels in their
difference."""

from collections.abc import Hashable, Mapping
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zfnet.studies.report.measures import Measure

REPETITIONS = 10_000


def draw(measures: Mapping[Any, Measure]) -> dict[Any, NDArray[np.float64]]:
    """Resamples the numbers of a table.

    The weights are seeded. Their sample moments are exact: a sum of measures has its exact
    deviation.

    Args:
        measures: the numbers of one table.

    Returns:
        For each, an array of its mean and REPETITIONS random draws with its deviation.
    """
    deviations = {key: _deviations(key, measure) for key, measure in measures.items()}
    sources = list(dict.fromkeys(source for each in deviations.values() for source in each))
    normal = np.random.default_rng(0).standard_normal((REPETITIONS, len(sources)))
    weights = np.linalg.qr(normal - normal.mean(0))[0] * sqrt(REPETITIONS)
    by_source = dict(zip(sources, weights.T, strict=True))
    draws = {}
    for key, measure in measures.items():
        draws[key] = np.full(REPETITIONS + 1, measure.mean, dtype=np.float64)
        for source, deviation in deviations[key].items():
            draws[key][1:] += deviation * by_source[source]
    return draws


def _deviations(key: Any, measure: Measure) -> dict[Hashable, float]:
    """The deviations of a measure by their source: its folds, or the measure itself."""
    if measure.deviation is None:
        return {}
    if not measure.folds:
        return {("measure", key): measure.deviation}
    scale = sqrt(len(measure.values) - 1)
    values = zip(measure.folds, measure.values, strict=True)
    return {("fold", fold): (value - measure.mean) / scale for fold, value in values}
