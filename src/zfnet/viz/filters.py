"""Figure 6 of the paper: the first layers of one net or several, and projections of the second.

save_png(filters_sheet([FirstLayer(...)], edges, white, bands), "filters.png")
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from zfnet.viz.figures import draw
from zfnet.viz.grid import (
    add_frame,
    draw_text,
    fit,
    hstack,
    normalize_signed,
    stretch_contrast,
    tile,
    to_uint8,
    vstack,
)

PANEL = 620  # pixels of a panel's side, about
COLORS = ("tab:red", "tab:blue", "tab:green", "tab:purple", "tab:brown")


@dataclass(frozen=True)
class FirstLayer:
    """Filters (N, C, kh, kw), projections (M, C, h, w) of layer 2, and the curves' numbers."""

    name: str
    filters: Tensor
    projections: Tensor
    stride: int
    rms: Sequence[float]  # of each filter
    dominance: float
    rings: Tensor  # (R,), mean share of a filter's energy


def filters_sheet(
    nets: Sequence[FirstLayer], edges: Sequence[float], white: Tensor, bands: Sequence[float]
) -> Tensor:
    """A row for each net, and the curves of all of them below → (H, W, 3) uint8.

    edges (R,): where the equally wide rings end, in cycles per pixel; white (R,): white noise's
    shares in them; bands: where the middle band begins and ends."""
    rows = [_row(net) for net in nets]
    width = max(row.shape[1] for row in rows)
    figure = Figure(figsize=(width / 100, 3.6), dpi=100, layout="constrained")
    strength, spectrum = figure.subplots(1, 2)
    _strengths(strength, nets)
    _spectra(spectrum, nets, edges, white)
    spectrum.axvspan(*bands, color="gray", alpha=0.12)
    for x, band in zip((0, *bands), ("low", "middle", "high"), strict=True):
        spectrum.text(x + 0.002, 1.02, band, transform=spectrum.get_xaxis_transform())
    for axes in (strength, spectrum):
        axes.grid(alpha=0.3)
    return add_frame(vstack([*rows, draw(figure)], gap=20), 12).contiguous()


def _row(net: FirstLayer) -> Tensor:
    count, _, height, width = net.filters.shape
    panels = [
        _panel("layer 1, one scale", normalize_signed(net.filters)),
        _panel(
            "layer 1, each on its own scale",
            torch.stack([normalize_signed(each) for each in net.filters]),
        ),
        _panel(
            f"layer 2, the {len(net.projections)} strongest channels projected",
            torch.stack([stretch_contrast(each) for each in net.projections]),
        ),
    ]
    title = f"{net.name}: {count} filters, {height} x {width}, stride {net.stride}"
    return vstack([draw_text(title, 20, bold=True), hstack(panels, gap=16)], gap=8)


def _panel(title: str, images: Tensor) -> Tensor:
    columns = math.ceil(math.sqrt(len(images)))
    enlarged = fit(images, max(PANEL // columns, max(images.shape[-2:])))
    return vstack([draw_text(title), to_uint8(tile(enlarged, 2))], gap=4)


def _strengths(axes: Axes, nets: Sequence[FirstLayer]) -> None:
    for net, color in zip(nets, COLORS * len(nets), strict=False):
        each = sorted(net.rms, reverse=True)
        shares = [(i + 0.5) / len(each) for i in range(len(each))]
        axes.plot(
            shares, each, color=color, label=f"{net.name}: largest / median {net.dominance:.1f}"
        )
    axes.set(xlabel="filters, the strongest first (share)", ylabel="rms of the weights")
    axes.set(xlim=(0, 1), ylim=(0, None))
    axes.legend(loc="lower left")


def _spectra(axes: Axes, nets: Sequence[FirstLayer], edges: Sequence[float], white: Tensor) -> None:
    """Shares in the rings; a line where each stride's own limit is."""
    middles = [edge - edges[0] / 2 for edge in edges]
    for net, color in zip(nets, COLORS * len(nets), strict=False):
        axes.plot(middles, 100 * net.rings, "-o", color=color, markersize=3, label=net.name)
        limit = f"half a cycle in {net.stride} pixels"
        axes.axvline(1 / (2 * net.stride), color=color, linestyle="--", linewidth=1, label=limit)
    axes.plot(middles, 100 * white, ":", color="gray", label="white noise")
    axes.set(xlabel="cycles per pixel", ylabel="energy of a filter (% in each ring)", xlim=(0, 0.5))
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
    axes.legend(loc="upper right", ncols=2)
