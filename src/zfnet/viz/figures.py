"""A matplotlib figure as a PNG, or as a box on a sheet.

figure = Figure(figsize=(6, 4), dpi=100)
save_figure(figure, "curves.png", dpi=100)
hstack([images, draw(figure)])

Names of classes and files are drawn literally: "$" starts no formula, and unprintable characters
are escaped."""

import io
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import Tensor

from zfnet.errors import printable
from zfnet.io import save


def draw(figure: Figure) -> Tensor:
    """The figure as a box, (H, W, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    _take_literally(figure)
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def save_figure(figure: Figure, path: str | Path, dpi: int) -> None:
    """Writes a PNG, whole or not at all.

    Raises:
        InputError: the disk is full, or the folder cannot be written.
    """
    FigureCanvasAgg(figure)
    _take_literally(figure)
    png = io.BytesIO()
    figure.savefig(png, dpi=dpi, format="png")
    save(Path(path), png.getvalue())


def tick_label(name: str) -> str:
    """A name for an axis tick, with "$" escaped."""
    return printable(name).replace("$", r"\$")


def _take_literally(figure: Figure) -> None:
    """Turns formulas off, except in the tick numbers, which are created when an axis is drawn."""
    for text in figure.findobj(Text):
        plain = "\n".join(printable(line) for line in text.get_text().split("\n"))
        if "$" in plain:
            text.set_parse_math(False)
        if plain != text.get_text():
            text.set_text(plain)
