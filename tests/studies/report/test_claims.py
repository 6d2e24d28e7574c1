"""The claims hold for the paper's numbers, fall when these are turned, and know noise."""

import re
from typing import Any

import numpy as np
import pytest

from zfnet.studies import reference_results as paper
from zfnet.studies.report import claims
from zfnet.studies.report.measures import Measure, to_measure
from zfnet.studies.report.verdicts import (
    AGREES,
    DIFFERS,
    NO_EFFECT,
    NOISE,
    ONE_RUN,
    UNKNOWN,
    Claim,
    Verdict,
    judge,
)

Numbers = dict[Any, Measure]


def pairs(rows: dict[str, dict[int, paper.Pair]]) -> Numbers:
    return {
        (how, k): Measure(*pair) for how in ("frozen", "scratch") for k, pair in rows[how].items()
    }


def layers(data: int) -> Numbers:
    return {(layer, head): Measure(*row[data]) for (head, layer), row in paper.LAYERS.items()}


TABLE_3: Numbers = {
    (row, column): Measure(value)
    for row, each in paper.ABLATIONS.items()
    for column, value in zip(("train top-1", "val top-1", "val top-5"), each[1:], strict=True)
}
PAPER: list[tuple[list[Claim], Numbers]] = [
    (
        claims.TABLE_2,
        {(kind, "val top-1"): Measure(each.val_top1) for kind, each in paper.IMAGENET.items()},
    ),
    (claims.TABLE_3, TABLE_3),
    (claims.TABLES_4_AND_5, pairs(paper.CALTECH_101)),
    (claims.TABLES_4_AND_5, pairs(paper.CALTECH_256)),
    (claims.TABLE_7, layers(0)),
    (claims.TABLE_7, layers(1)),
    (
        claims.TABLE_1,
        {
            (part, layer): Measure(mean)
            for part, row in paper.CORRESPONDENCE.items()
            for layer, (mean, _) in row.items()
        },
    ),
    (
        claims.TABLE_6,
        {name: Measure(mean) for name, mean in paper.VOC_2012_MEANS.items()},
    ),
]


@pytest.mark.parametrize(("asked", "numbers"), PAPER)
def test_every_claim_holds_for_the_paper_and_fails_for_its_opposite(
    asked: list[Claim], numbers: Numbers
) -> None:
    for verdict in judge(asked, numbers):
        assert verdict.word == AGREES, verdict.claim.text
    turned = {key: Measure(-each.mean) for key, each in numbers.items()}
    for verdict in judge(asked, turned):
        assert verdict.word == DIFFERS, verdict.claim.text


@pytest.mark.parametrize(("asked", "numbers"), PAPER)
def test_without_numbers_nothing_is_claimed(asked: list[Claim], numbers: Numbers) -> None:
    assert {verdict.word for verdict in judge(asked, {})} == {UNKNOWN}
    for key in numbers:
        partial = {other: each for other, each in numbers.items() if other != key}
        assert {verdict.word for verdict in judge(asked, partial)} <= {UNKNOWN, AGREES}


def test_margins_by_hand() -> None:
    margins = [verdict.margin for verdict in judge(claims.TABLE_3, TABLE_3)]
    expected = [
        30.8 - 4.9 - 4.3,
        30.8 / 3 - 4.3,
        30.8 / 3 - 4.9,
        4.05 - 1.2,
        3.84 - 1.8,
        0.9,
        0.8,
        2.1,
    ]
    assert margins == pytest.approx(expected)


ABOVE = Claim("a is above b", lambda e: e["a"] - e["b"])


def verdict(claim: Claim, **numbers: Measure) -> Verdict:
    (found,) = judge([claim], numbers)
    return found


def of_runs(*values: float, folds: tuple[int, ...] = ()) -> Measure:
    found = to_measure(values, 100, folds)
    assert found is not None
    return found


def test_noise_adds_in_quadrature_and_decides_nothing() -> None:
    clear = verdict(ABOVE, a=Measure(9, 3, 3), b=Measure(2, 4, 3), c=Measure(0, 99, 3))
    assert (clear.margin, clear.noise, clear.word) == (7, pytest.approx(5), AGREES)
    assert verdict(ABOVE, a=Measure(6, 3, 3), b=Measure(2, 4, 3)).word == NOISE
    assert verdict(ABOVE, a=Measure(2, 3, 3), b=Measure(6, 4, 3)).word == NOISE
    exact = verdict(ABOVE, a=Measure(2), b=Measure(2))
    assert (exact.noise, exact.word) == (None, DIFFERS)


def test_noise_of_minima_maxima_and_sizes_is_their_own() -> None:
    """Against a plain Monte Carlo of a million repetitions."""
    rng = np.random.default_rng(1)
    a, b, c = (
        rng.normal(mean, deviation, 1_000_000)
        for mean, deviation in ((50, 10), (60, 10), (55, 0.1))
    )
    numbers = {"a": Measure(50, 10, 5), "b": Measure(60, 10, 5), "c": Measure(55, 0.1, 5)}
    for margin, drawn in (
        (lambda e: np.minimum(e["a"] - 49, e["b"] - 59), np.minimum(a - 49, b - 59)),
        (lambda e: e["c"] - np.maximum(e["a"], e["b"]), c - np.maximum(a, b)),
        (lambda e: 5 - abs(e["a"] - e["c"]), 5 - abs(a - c)),
    ):
        assert verdict(Claim("", margin), **numbers).noise == pytest.approx(drawn.std(), rel=0.02)


def test_a_coin_toss_does_not_agree() -> None:
    """The least of two gaps of one point, each drawn with ten points: it fails in most
    repetitions."""
    numbers = {("frozen", 15): Measure(50, 10, 5), ("frozen", 30): Measure(60, 10, 5)}
    numbers |= {("scratch", 15): Measure(49, 0.1, 5), ("scratch", 30): Measure(58.9, 0.1, 5)}
    first = judge(claims.TABLES_4_AND_5, numbers)[0]
    assert (first.word, first.margin) == (NOISE, 1)
    assert first.noise == pytest.approx(8.28, rel=0.02)
    many = {("frozen", k): Measure(60, 9, 5) for k in range(20)} | {
        ("scratch", k): Measure(50) for k in range(20)
    }
    lucky = judge(claims.TABLES_4_AND_5, many)[0]
    assert lucky.noise is not None
    assert lucky.margin is not None
    # And yet one of the twenty is below 0 in nearly every repetition.
    assert lucky.margin > lucky.noise
    assert lucky.word == NOISE


def test_shared_folds_are_drawn_together() -> None:
    easy = of_runs(0.5, 0.7, 0.9, folds=(0, 1, 2))
    same = of_runs(0.4, 0.6, 0.8, folds=(0, 1, 2))
    other = of_runs(0.4, 0.6, 0.8, folds=(3, 4, 5))
    turned = of_runs(0.8, 0.6, 0.4, folds=(0, 1, 2))
    assert verdict(ABOVE, a=easy, b=same).noise == pytest.approx(0, abs=1e-9)
    assert verdict(ABOVE, a=easy, b=same).word == AGREES
    assert verdict(ABOVE, a=easy, b=other).noise == pytest.approx(20 * 2**0.5)
    assert verdict(ABOVE, a=easy, b=turned).noise == pytest.approx(40)
    assert verdict(ABOVE, a=easy, b=turned).word == NOISE


def test_a_single_run_decides_nothing() -> None:
    once, seeds = of_runs(0.9), of_runs(0.1, 0.12, 0.14)
    for numbers in ({"a": once, "b": seeds}, {"a": seeds, "b": once}, {"a": once, "b": Measure(2)}):
        assert verdict(ABOVE, **numbers).word == ONE_RUN
    assert verdict(ABOVE, a=seeds, b=Measure(2), c=once).word == AGREES  # c is not asked for


def test_the_same_numbers_give_the_same_verdicts() -> None:
    numbers = {key: Measure(each.mean, 1.5, 3) for key, each in TABLE_3.items()}
    assert judge(claims.TABLE_3, numbers) == judge(claims.TABLE_3, numbers)


def edited(changes: dict[str, float], net: str = "alexnet", deviation: float = 0.2) -> list[str]:
    """The verdicts on Table 3 where edits change the validation error of 40 % so."""
    rows = {row: 0.0 for name, row in paper.ABLATIONS if name == net} | changes
    numbers: Numbers = {
        ((net, row), column): Measure(40 + change, deviation, 3)
        for row, change in rows.items()
        for column in ("train top-1", "val top-1")
    }
    return [each.word for each in judge(claims.TABLE_3, numbers)]


def test_nothing_hurts_more_unless_it_hurts() -> None:
    """As found on creatures: all removals lower the error, the sum of two more than both
    together."""
    words = edited({"remove_3_4": -4.0, "remove_6_7": -5.0, "remove_3_4_6_7": -6.0})
    assert words[:3] == [NO_EFFECT] * 3
    words = edited({"remove_3_4": -4.0, "remove_6_7": -5.0, "remove_3_4_6_7": 0.1})
    assert words[:3] == [NOISE] * 3
    words = edited({"remove_3_4": 4.0, "remove_6_7": 5.0, "remove_3_4_6_7": -6.0})
    assert words[:3] == [DIFFERS] * 3
    words = edited({"remove_3_4": 4.0, "remove_6_7": 5.0, "remove_3_4_6_7": 30.0})
    assert words[:3] == [AGREES] * 3


def test_effects_that_do_not_exist() -> None:
    averages: Numbers = {
        (kind, "val top-1"): Measure(error, 0.1, 3)
        for kind, error in (("zfnet", 10), ("zfnets", 12), ("zfnets and wide", 9))
    }
    assert [each.word for each in judge(claims.TABLE_2, averages)] == [DIFFERS, NO_EFFECT]
    fades: Numbers = {("frozen", 5): Measure(40, 0.5, 3), ("frozen", 30): Measure(40, 0.5, 3)}
    fades |= {("scratch", 5): Measure(50, 0.5, 3), ("scratch", 30): Measure(80, 0.5, 3)}
    (every, most, fewest) = judge(claims.TABLES_4_AND_5, fades)
    assert (every.word, most.word, fewest.word) == (DIFFERS, NO_EFFECT, DIFFERS)
    assert list(most.absent) == ["pre-trained features add to the accuracy where images are fewest"]


def test_most_and_best_are_of_all() -> None:
    """The gain is greatest in the middle; layer 5 is the best and layer 7 is not."""
    ks = {5: (60, 50), 15: (80, 50), 30: (85, 80)}
    numbers: Numbers = {("frozen", k): Measure(ours) for k, (ours, _) in ks.items()}
    numbers |= {("scratch", k): Measure(scratch) for k, (_, scratch) in ks.items()}
    assert judge(claims.TABLES_4_AND_5, numbers)[1].word == DIFFERS
    reads: Numbers = {(layer, "svm"): Measure(10 * layer) for layer in range(1, 6)} | {
        (7, "svm"): Measure(5)
    }
    assert [each.word for each in judge(claims.TABLE_7, reads)] == [AGREES, DIFFERS]
    alone = {key: each for key, each in numbers.items() if key[1] == 5}
    assert [each.word for each in judge(claims.TABLES_4_AND_5, alone)] == [
        AGREES,
        UNKNOWN,
        UNKNOWN,
    ]


def test_the_papers_numbers_by_their_own_sums() -> None:
    """What the paper's text and its last row say of its tables."""
    ours = [each for _, each in paper.VOC_2012.values()]
    assert sum(ours) / len(ours) == pytest.approx(paper.VOC_2012_MEANS["mean"], abs=0.05)
    whole = paper.IMAGENET["zfnet"]
    assert paper.ABLATIONS["zfnet", "none"][2:] == (whole.val_top1, whole.val_top5)
    assert not any(re.search(r"\d\.\d", claim.text) for asked, _ in PAPER for claim in asked)
