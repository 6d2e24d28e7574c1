"""Names in figures are drawn as they are, whatever characters they have."""

from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from zfnet.errors import InputError, printable
from zfnet.viz.figures import draw, save_figure, tick_label
from zfnet.viz.grid import draw_text
from zfnet.viz.sanity import Row, sanity_sheet


@pytest.mark.parametrize("name", ["caf\udce9.jpg", "$\\frac{<b>$", "a$b$c", "two\nlines"])
def test_any_name_is_drawn(tmp_path: Path, name: str) -> None:
    figures = []
    for text in (name, "other"):
        figure = Figure(figsize=(2, 2), dpi=50)
        axes = figure.subplots()
        axes.set_title(text)
        axes.plot([1, 10], label=text)
        axes.legend()
        axes.set_yticks([1, 2], [tick_label(text), ""])
        axes.set_xscale("log")  # whose numbers are formulas
        figures.append(figure)
    assert not torch.equal(draw(figures[0]), draw(figures[1]))
    save_figure(figures[0], tmp_path / "a.png", dpi=50)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (100, 100)
    assert draw_text(name).shape[1] > draw_text("").shape[1]


def test_what_does_not_print_is_escaped_and_the_rest_is_not() -> None:
    assert printable("café 猫 ü.jpg → x") == "café 猫 ü.jpg → x"
    assert printable("caf\udce9\n\x1b[31m\u2028") == r"caf\udce9\n\x1b[31m\u2028"
    assert str(InputError("a\nb: caf\udce9")) == r"a\nb: caf\udce9"
    printable("\ud800\udfff\x00").encode()


def test_a_long_cascade_of_sanity_checks_stays_one_page() -> None:
    """Nine of its rows are shown, the first and the last among them."""

    def row(name: str, in_cascade: bool = True) -> Row:
        return Row(name, [torch.zeros(1, 3, 8, 8)], (0.5, 0.5), in_cascade)

    def sheet(count: int) -> Tensor:
        rows = [row(str(i)) for i in range(count)]
        patches = [torch.zeros(1, 3, 8, 8)]
        return sanity_sheet("title", ["head"], patches, [*rows, row("both", False)], None)

    assert sheet(60).shape == sheet(9).shape
    assert sheet(8).shape[0] < sheet(9).shape[0]
