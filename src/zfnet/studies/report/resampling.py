"""What other runs might have given: each number of a table drawn anew many times, together.

    draws = Draws({"a": Measure(9, 3, 5), "b": Measure(2, 4, 5)})
    (draws["a"] - draws["b"])[1:].std()     # 5.0

Every run's departure from its row's mean is taken with a random weight. Rows that were measured on the same folds
take the same weights, so that what a fold does to both cancels in their difference.
"""

from collections.abc import Hashable, Iterator, Mapping
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zfnet.studies.report.measures import Measure

REPETITIONS = 10_000


class Draws(Mapping[Any, NDArray[np.float64]]):
    """Of each measure its mean, then REPETITIONS draws with its deviation; `read` notes which were asked for.

    The weights are seeded, and their sample moments exact: sums of measures have exactly their deviation.
    """

    def __init__(self, measures: Mapping[Any, Measure]) -> None:
        self.measures = measures
        self.read: set[Any] = set()
        sources = list(dict.fromkeys(each for key in measures for each in self._departures(key)))
        normal = np.random.default_rng(0).standard_normal((REPETITIONS, len(sources)))
        weights = np.linalg.qr(normal - normal.mean(0))[0] * sqrt(REPETITIONS)
        self.weights = dict(zip(sources, weights.T, strict=True))

    def _departures(self, key: Any) -> dict[Hashable, float]:
        """By what they are drawn with, the folds or the measure itself."""
        each = self.measures[key]
        if each.deviation is None:
            return {}
        if not each.folds:
            return {("measure", key): each.deviation}
        scale = sqrt(len(each.values) - 1)
        return {
            ("fold", fold): (value - each.mean) / scale
            for fold, value in zip(each.folds, each.values, strict=True)
        }

    def __getitem__(self, key: Any) -> NDArray[np.float64]:
        drawn = np.full(REPETITIONS + 1, self.measures[key].mean, dtype=np.float64)
        self.read.add(key)
        for source, departure in self._departures(key).items():
            drawn[1:] += departure * self.weights[source]
        return drawn

    def __contains__(self, key: object) -> bool:
        return key in self.measures  # Mapping's own asks for the item, which counts as read

    def __iter__(self) -> Iterator[Any]:
        return iter(self.measures)

    def __len__(self) -> int:
        return len(self.measures)
