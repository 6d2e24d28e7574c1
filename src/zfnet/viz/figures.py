"""A matplotlib figure as a box, to stand on a sheet beside pictures and words.

figure = Figure(figsize=(6, 4), dpi=100)
beside([pictures, drawn(figure)])
"""

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor


def drawn(figure: Figure) -> Tensor:
    """(H, W, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy())
