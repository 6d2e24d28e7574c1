"""Means, deviations, signs and differences as they are said."""

import pytest

from zfnet.studies.report.measures import (
    Measure,
    beside_paper,
    difference,
    format_measure,
    format_signed,
    of_paper,
    to_measure,
)


def test_mean_and_sample_deviation() -> None:
    assert to_measure([]) is None
    assert to_measure([0.25], scale=100) == Measure(25, None, 1)
    found = to_measure([0.02, 0.04, 0.06], scale=100)
    assert found is not None
    assert (found.mean, found.deviation, found.count) == (pytest.approx(4), pytest.approx(2), 3)


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        (None, ""),
        (Measure(3.3333), "3.3"),
        (Measure(3.3333, 0.04), "3.3 ± 0.0"),
        (Measure(-3.25), "−3.2"),
        (Measure(-0.01), "0.0"),
    ],
)
def test_said(measure: Measure | None, text: str) -> None:
    assert format_measure(measure) == text


def test_signs() -> None:
    assert [format_signed(value) for value in (1.25, -1.26, 0.04, -0.04, 0)] == [
        "+1.2",
        "−1.3",
        "0.0",
        "0.0",
        "0.0",
    ]
    assert format_measure(Measure(2, 0.5), sign=True) == "+2.0 ± 0.5"


def test_beside_the_paper() -> None:
    assert of_paper(None) is None
    assert beside_paper(Measure(40, 1, 3), of_paper((38.4, None))) == ["40.0 ± 1.0", "38.4", "+1.6"]
    assert beside_paper(None, of_paper((83.8, 0.5))) == ["", "83.8 ± 0.5", ""]
    assert difference(Measure(0.167), 0.069, 3) == "+0.098"
