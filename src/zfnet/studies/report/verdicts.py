"""Decides whether the numbers of a table agree with a claim of the paper.

    judge(TABLE_3, numbers)     # [Verdict(claim, "agrees", margin=21.6, noise=None), ...]

A margin is how far an inequality is from failing, in points of the table. The claim holds if it is
above 0. A claim agrees if it holds beyond its noise, and if every effect that it presupposes exists
beyond its noise: nothing hurts more than something else unless it hurts. No threshold is in points,
so that the same claim can be tested for networks with errors of 4 % and of 40 %.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zfnet.studies.report.measures import Measure
from zfnet.studies.report.resampling import draw

AGREES, DIFFERS, NO_EFFECT = "agrees", "does not agree", "no such effect"
NOISE, ONE_RUN, UNKNOWN = "within the noise", "noise unknown", "not measured"
STABLE = 0.84  # share of draws with the margin's sign: that of a normal margin of one deviation
ROUNDING = 1e-9  # points
Numbers = Mapping[Any, Any]  # floats, or arrays of draws
Margin = Callable[[Numbers], Any]


@dataclass(frozen=True)
class Claim:
    """A sentence about a table.

    Attributes:
        text: the sentence.
        margin: its margin, computed from the table's numbers. KeyError if a number is missing.
        effects: the margins of the effects that the sentence presupposes, by their descriptions.
    """

    text: str
    margin: Margin
    effects: Mapping[str, Margin] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim, its margin with its deviation, and the effects that do not exist."""

    claim: Claim
    word: str
    margin: float | None = None
    noise: float | None = None
    absent: Sequence[str] = ()

    @property
    def measure(self) -> Measure | None:
        """The margin with its deviation."""
        return None if self.margin is None else Measure(self.margin, self.noise)


def judge(claims: Sequence[Claim], numbers: Mapping[Any, Measure]) -> list[Verdict]:
    """Judges claims about one table.

    Args:
        claims: the claims.
        numbers: the table's numbers. The noise is unknown if a number is of a single run. A
            published number without a deviation has no noise.
    """
    draws = draw(numbers)
    return [_judge(claim, numbers, draws) for claim in claims]


class _Recorded(dict[Any, NDArray[np.float64]]):
    """A dict that records which keys are looked up."""

    def __init__(self, values: Mapping[Any, NDArray[np.float64]]) -> None:
        super().__init__(values)
        self.read: set[Any] = set()

    def __getitem__(self, key: Any) -> NDArray[np.float64]:
        self.read.add(key)
        return super().__getitem__(key)


def _judge(
    claim: Claim, numbers: Mapping[Any, Measure], all_draws: Mapping[Any, NDArray[np.float64]]
) -> Verdict:
    draws = _Recorded(all_draws)
    try:
        margin = claim.margin(draws)
        effects = {text: _sign(effect(draws)) for text, effect in claim.effects.items()}
    except KeyError:
        return Verdict(claim, UNKNOWN)
    measures = [numbers[key] for key in draws.read]
    noisy = any(measure.deviation is not None for measure in measures)
    absent = [text for text, sign in effects.items() if sign < 0]
    if _sign(margin) < 0:
        word = DIFFERS
    elif absent:
        word = NO_EFFECT
    else:
        word = AGREES if all((_sign(margin), *effects.values())) else NOISE
    if word != NOISE and any(len(measure.values) == 1 for measure in measures):
        word = ONE_RUN
    noise = float(margin[1:].std()) if noisy else None
    return Verdict(claim, word, float(margin[0]), noise, absent if word == NO_EFFECT else ())


def _sign(margin: NDArray[np.float64]) -> int:
    """1 or -1 for a margin beyond its noise, 0 within it."""
    mean, drawn = margin[0], margin[1:]
    sign = 1 if mean > ROUNDING else -1
    noise = drawn.std()
    stable = np.mean(drawn > 0 if sign > 0 else drawn <= 0) >= STABLE
    return sign if noise < ROUNDING or (abs(mean) > noise and stable) else 0
