"""Numbers as the report shows them."""

import pytest

from zfnet.studies.report.comparison import Comparison, Label
from zfnet.studies.report.format import format_cell, summarize
from zfnet.studies.report.measures import Measure, to_measure


def test_mean_and_sample_deviation() -> None:
    assert to_measure([]) is None
    assert to_measure([0.25], scale=100) == Measure(25, None, 1)
    found = to_measure([0.02, 0.04, 0.06], scale=100)
    assert found is not None
    assert (found.mean, found.deviation, found.count) == (pytest.approx(4), pytest.approx(2), 3)
    with pytest.raises(ValueError, match="is not a finite number"):
        to_measure([float("nan")])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (Measure(3.3333), "3.3"),
        (Measure(3.3333, 0.04), "3.3 ± 0.0"),
        (Measure(-3.25), "−3.2"),
        (Measure(-0.01), "0.0"),
        (1.25, "+1.2"),
        (-1.26, "−1.3"),
        (0.04, "0.0"),
        (-0.04, "0.0"),
        (0.0, "0.0"),
        ("3", "3"),
    ],
)
def test_cells(value: Measure | float | str | None, text: str) -> None:
    assert format_cell(value) == text


def test_signed_measures() -> None:
    assert format_cell(Measure(2, 0.5), sign=True) == "+2.0 ± 0.5"


def test_beside_the_paper() -> None:
    here = {("a", "x"): Measure(40, 1, 3), ("c", "x"): Measure(0.167)}
    paper = {("a", "x"): Measure(38.4), ("b", "x"): Measure(83.8, 0.5), ("c", "x"): Measure(0.069)}
    table = Comparison(
        "Table 0", Label("data"), "%", {"x": "X"}, {}, here, paper, [], counted="runs"
    )
    assert table.grid == [("X", "here"), ("X", "paper"), ("X", "difference"), ("", "runs")]
    cells = {row: [format_cell(cell) for cell in table.cells(row)] for row in "abc"}
    assert cells["a"] == ["40.0 ± 1.0", "38.4", "+1.6", "3"]
    assert cells["b"] == ["", "83.8 ± 0.5", "", ""]
    assert format_cell(table.cells("c")[2], 3) == "+0.098"


def test_results_of_version_0_1_have_the_same_summary() -> None:
    old = {"class": "dog", "probability": 1, "least_probability": 0, "map": 3}
    old |= {"drop_on_projection": 0.5, "drop_anywhere": 0.25}
    new = {("channel" if key == "map" else key): value for key, value in old.items()}
    first, second = (summarize("occlusion", {"images": [each]}) for each in (old, new))
    assert first == second
    assert "activity of channel 3 by 50 %" in first


def test_dead_layers_and_networks_without_a_projection_have_a_summary() -> None:
    image = {"class": "dog", "probability": 0.9, "least_probability": 0.1}
    images = [image | {"map": None}, image | {"map": 2, "drop_anywhere": 0.25}]
    dead, other = summarize("occlusion", {"images": images}).split("; ")
    assert dead == "dog: probability 0.90 falls to 0.10, no channel of the layer is active"
    assert other == "dog: probability 0.90 falls to 0.10, activity of channel 2 by 25 %"
    net = {"name": "a", "dominance": None, "beyond_stride": None, "dead": {"conv1": [0]}}
    assert "nan times the median" in summarize("filters", [net])
