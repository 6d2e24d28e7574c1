"""Names in figures are drawn as they are, whatever characters they have."""

from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from zfnet.errors import InputError, printable
from zfnet.viz.figures import draw, save_figure, tick_label
from zfnet.viz.grid import draw_text


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
