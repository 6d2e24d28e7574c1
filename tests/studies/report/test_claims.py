"""The claims hold for the numbers of the paper itself, fall when these are turned, and know what noise is."""

import re
from collections.abc import Hashable

import pytest

from zfnet.studies import paper
from zfnet.studies.report import claims
from zfnet.studies.report.claims import AGREES, DIFFERS, NOISE, UNKNOWN, Claim, judged
from zfnet.studies.report.measures import Measure

Numbers = dict[Hashable, Measure]


def pairs(rows: dict[str, dict[int, paper.Pair]]) -> Numbers:
    return {(how, k): Measure(*pair) for how in ("frozen", "scratch") for k, pair in rows[how].items()}


def layers(data: int) -> Numbers:
    return {key: Measure(*row[data]) for key, row in paper.LAYERS.items()}


TABLE_3: Numbers = {
    (row, column): Measure(value)
    for row, each in paper.ABLATIONS.items()
    for column, value in zip(("train top-1", "val top-1", "val top-5"), each[1:], strict=True)
}
PAPER: list[tuple[list[Claim], Numbers]] = [
    (claims.TABLE_2, {(kind, "val top-1"): Measure(each.val_top1) for kind, each in paper.IMAGENET.items()}),
    (claims.TABLE_3, TABLE_3),
    (claims.transfer_claims("Table 4"), pairs(paper.CALTECH_101)),
    (claims.transfer_claims("Table 5"), pairs(paper.CALTECH_256)),
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
    for verdict in judged(asked, numbers):
        assert verdict.word == AGREES, verdict.claim.text
    turned = {key: Measure(-each.mean) for key, each in numbers.items()}
    for verdict in judged(asked, turned):
        assert verdict.word == DIFFERS, verdict.claim.text


@pytest.mark.parametrize(("asked", "numbers"), PAPER)
def test_without_numbers_nothing_is_claimed(asked: list[Claim], numbers: Numbers) -> None:
    assert {verdict.word for verdict in judged(asked, {})} == {UNKNOWN}
    for key in numbers:
        partial = {other: each for other, each in numbers.items() if other != key}
        assert {verdict.word for verdict in judged(asked, partial)} <= {UNKNOWN, AGREES}


def test_margins_by_hand() -> None:
    margins = [verdict.margin for verdict in judged(claims.TABLE_3, TABLE_3)]
    expected = [30.8 - 4.9 - 4.3, 30.8 / 3 - 4.3, 30.8 / 3 - 4.9, 4.05 - 1.2, 3.84 - 1.8, 0.9, 0.8, 2.1]
    assert margins == pytest.approx(expected)


def test_noise_adds_in_quadrature_and_decides_nothing() -> None:
    claim = Claim("Table 0", "a lies above b", lambda e: e["a"] - e["b"])
    (clear,) = judged([claim], {"a": Measure(9, 3, 3), "b": Measure(2, 4, 3), "c": Measure(0, 99, 3)})
    assert (clear.margin, clear.noise, clear.word) == (7, pytest.approx(5), AGREES)
    (unclear,) = judged([claim], {"a": Measure(6, 3, 3), "b": Measure(2, 4, 3)})
    assert unclear.word == NOISE
    (exact,) = judged([claim], {"a": Measure(2), "b": Measure(2)})
    assert (exact.noise, exact.word) == (None, DIFFERS)


def test_the_papers_numbers_by_their_own_sums() -> None:
    """What the paper's text and its last row say of its tables."""
    ours = [each for _, each in paper.VOC_2012.values()]
    assert sum(ours) / len(ours) == pytest.approx(paper.VOC_2012_MEANS["mean"], abs=0.05)
    whole = paper.IMAGENET["zfnet"]
    assert paper.ABLATIONS["zfnet", "none"][2:] == (whole.val_top1, whole.val_top5)
    assert not any(re.search(r"\d\.\d", claim.text) for asked, _ in PAPER for claim in asked)
