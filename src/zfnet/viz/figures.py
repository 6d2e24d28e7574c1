"""A matplotlib figure as a box, to stand on a sheet beside pictures and words.

figure = Figure(figsize=(6, 4), dpi=100)
beside([pictures, drawn(figure)])
save_figure(figure, "figure.png", dpi=100)

Names of classes and files are drawn as they are: "$" starts no formula, and what no font has is escaped.
"""

from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import Tensor

from zfnet.errors import printable


def drawn(figure: Figure) -> Tensor:
    """(H, W, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    _take_literally(figure)
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def save_figure(figure: Figure, path: str | Path, dpi: int) -> None:
    """Writes the figure to a file."""
    FigureCanvasAgg(figure)
    _take_literally(figure)
    figure.savefig(path, dpi=dpi)


def tick_label(name: str) -> str:
    """A name at an axis, which matplotlib reads when it draws."""
    return printable(name).replace("$", r"\$")


def _take_literally(figure: Figure) -> None:
    """Not for the numbers of an axis, which are made when it is drawn, and may be formulas."""
    for text in figure.findobj(Text):
        plain = "\n".join(printable(line) for line in text.get_text().split("\n"))
        if "$" in plain:
            text.set_parse_math(False)
        if plain != text.get_text():
            text.set_text(plain)
