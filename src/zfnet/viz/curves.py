"""Learning curves over epochs.

draw_curves([{"epoch": 1, "train/loss": 2.3, "val/loss": 2.2, ...}, ...], "curves.png")
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zfnet.viz.figures import save_figure

COLORS = {"train": "tab:blue", "val": "tab:orange"}


def _panel(
    axes: Axes, history: list[dict[str, float]], quantity: str, style: str, scale: float = 1
) -> None:
    for split, color in COLORS.items():
        points = [
            (e["epoch"], scale * e[f"{split}/{quantity}"])
            for e in history
            if f"{split}/{quantity}" in e
        ]
        if points:
            name = quantity.replace("_", " ").replace("top1", "top-1").replace("top5", "top-5")
            label = f"{'validation' if split == 'val' else split} {name}"
            axes.plot(*zip(*points, strict=True), style, color=color, label=label, markersize=3)


def draw_curves(history: list[dict[str, float]], path: str | Path) -> None:
    """Writes a PNG of the loss, and of top-1 and top-5 error in percent, in training and
    validation.

    Args:
        history: an entry per epoch, as in history.json.
        path: the file.

    Raises:
        InputError: the disk is full, or the folder cannot be written.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss, error = figure.subplots(1, 2)
    _panel(loss, history, "loss", "-o")
    _panel(error, history, "top1_error", "-o", scale=100)
    _panel(error, history, "top5_error", ":", scale=100)
    loss.set(xlabel="epoch", ylabel="cross-entropy (nats)", title="Loss", ylim=(0, None))
    error.set(xlabel="epoch", ylabel="error (%)", title="Error", ylim=(0, 100))
    for axes in (loss, error):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if axes.lines:
            axes.legend()
    save_figure(figure, path, dpi=100)
