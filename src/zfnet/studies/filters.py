"""Figure 6: what is wrong with a net's first layer, and what it does to the second; of one net or of several.

    python analyze.py analysis=filters ckpt=[alexnet/checkpoints/last.ckpt,zfnet/checkpoints/last.ckpt]

A row for each net: its filters on one scale, where a dominant one would hide the rest, and each on its own; the
maps of layer 2 as their strongest pictures show them, where a grid would be aliasing; and two curves. All
numbers are zfnet.analysis.filters'; the pictures beside the projections are the control of the grid: photographs
have none. `filters.png`, `filters.json`.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zfnet.analysis import filters as measures
from zfnet.deconv import Deconvnet, Top, Unit, top_activations
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData
from zfnet.studies.json_output import write_json
from zfnet.studies.layers import two_layers
from zfnet.validation import Count
from zfnet.viz import save_png
from zfnet.viz.filters import FirstLayer, filters_sheet

log = logging.getLogger(__name__)

RINGS = tuple(i / 32 for i in range(1, 17))  # cycles per pixel, up to Nyquist


@dataclass
class FilterReport:
    """A net's first layer, what layer 2 projects, and the numbers."""

    name: str
    filters: Tensor  # (N, 3, kh, kw)
    projections: Tensor  # (M, 3, h, w), the strongest maps first
    numbers: dict[str, Any]


def study(subjects: Sequence[ModelOnData], folder: Path, maps: Count, names: Sequence[str] | None) -> None:
    """Measures each net on its pictures, and draws them above one another."""
    if names is not None and len(names) != len(subjects):
        raise InputError(f"names={list(names)}: {len(subjects)} nets need as many names")
    if maps < 1:
        raise InputError(f"maps={maps}: at least one map must be drawn")
    letters = "abcdefghijklmnopqrstuvwxyz" if len(subjects) > 1 else [""]
    nets = [
        examine(subject, names[i] if names else f"{type(subject.net).__name__} {letters[i % 26]}".strip())
        for i, subject in enumerate(subjects)
    ]
    for net in nets:
        log.info("%s", _said(net))
    write_json([{"name": net.name, **net.numbers} for net in nets], folder / "filters.json", indent=1)
    noise = torch.randn(256, 1, measures.SIDE, measures.SIDE, generator=torch.Generator().manual_seed(0))
    sheet = filters_sheet([_drawable(net, maps) for net in nets], RINGS, _rings(noise), measures.BANDS)
    save_png(sheet, folder / "filters.png")


def examine(subject: ModelOnData, name: str) -> FilterReport:
    """All the numbers of one net."""
    net, deconv = subject.net, Deconvnet(subject.net)
    first, second, between = two_layers(net, subject.inputs([0]))
    weights = deconv.filters(first, subject.crop)
    if weights is None:
        raise InputError(f"{first} of {type(net).__name__} does not convolve the pixels themselves")
    if not weights.isfinite().all():
        raise InputError(
            f"{first} of {type(net).__name__}: its filters are not finite: nothing can be measured"
        )
    if not weights.any():
        raise InputError(f"{first} of {type(net).__name__}: its filters are all 0, the layer is dead")
    stride, pooled = _jump(deconv, first, subject.crop), _jump(deconv, between, subject.crop)
    top = top_activations(net, subject.batches(), [first, second], k=1, total=len(subject.images))
    pictures, patches = _projected(subject, deconv, second, top[second])
    shares = measures.frequency_content(weights)
    peaks = torch.bucketize(
        measures.peak_frequency(weights), torch.tensor(measures.BANDS, dtype=torch.float64), right=True
    )
    periods = [
        p for p in sorted({stride, pooled}) if p > 1 and measures.resolved_layers(p, *pictures.shape[-2:])
    ]
    numbers = {
        "layers": [first, second],
        "filters": [len(weights), *weights.shape[-2:]],
        "stride": stride,
        "dominance": measures.dominance(weights),
        "rms": measures.rms(weights).tolist(),
        "bands": _by_band(shares.nanmean(0)),
        "peaks": _by_band(peaks.bincount(minlength=3)),
        "beyond_stride": measures.beyond_stride(weights, stride).nanmean().item(),
        "dead": {layer: measures.dead_maps(top[layer]) for layer in (first, second)},
        "maps": {layer: len(top[layer].values) for layer in (first, second)},
        "aliasing": [_grid(pictures, patches, period) for period in periods],
    }
    return FilterReport(name, weights.detach().cpu(), pictures, numbers)


def _jump(deconv: Deconvnet, layer: str, size: int) -> int:
    """Pixels from one unit to the next."""
    _, _, columns = deconv.units(layer, size)
    left, right = (deconv.window(layer, Unit(0, 0, 0, x), size).left for x in (0, min(1, columns - 1)))
    return right - left


def _projected(subject: ModelOnData, deconv: Deconvnet, layer: str, top: Top) -> tuple[Tensor, Tensor]:
    """The live maps' strongest units, the strongest first: projections (M, 3, h, w), and the pictures there."""
    order = [int(map) for map in top.values[:, 0].argsort(descending=True) if top.values[map, 0] > 0]
    pictures, images = [], []
    for start in range(0, len(order), subject.batch_size):
        maps = order[start : start + subject.batch_size]
        units = [Unit(i, map, int(top.y[map, 0]), int(top.x[map, 0])) for i, map in enumerate(maps)]
        patches = deconv.patches(subject.inputs(top.images[maps, 0].tolist()), layer, units)
        pictures.append(patches.pictures.cpu())
        images.append(patches.images.cpu())
    if not order:
        raise InputError(f"no picture excites any map of {layer}: there is nothing to project")
    return torch.cat(pictures), torch.cat(images)


def _grid(pictures: Tensor, patches: Tensor, period: int) -> dict[str, Any]:
    """Energy at a grid's harmonics, and how it stands out, of projections, of the photographs there, and of noise."""
    result: dict[str, Any] = {"period": period}
    for name, each in (("projections", pictures), ("photographs", patches)):
        share, peak = (measures.aliasing(each, period)[i].nanmean().item() for i in (0, 1))
        result[name] = {"share": share, "over_surroundings": peak}
    height, width = pictures.shape[-2:]
    chance = measures.harmonics(height, width, period)[0].double().mean().item()
    return {**result, "noise": {"share": chance, "over_surroundings": 1.0}}


def _by_band(numbers: Tensor) -> dict[str, float]:
    return dict(zip(("low", "middle", "high"), numbers.tolist(), strict=True))


def _said(net: FilterReport) -> str:
    """The numbers in a few lines."""
    n = net.numbers
    count, height, width = n["filters"]
    low, middle, high = (f"{100 * share:.0f} %" for share in n["bands"].values())
    lines = [
        f"{net.name}: {count} filters of {height} x {width}, stride {n['stride']}; "
        + (
            f"the strongest is {n['dominance']:.1f} times the median"
            if math.isfinite(n["dominance"])
            else "more than half of them are 0"
        ),
        f"energy: low {low}, middle {middle}, high {high}; {n['beyond_stride']:.0%} beyond what the stride tells "
        f"apart; filters that peak there: {', '.join(map(str, n['peaks'].values()))}",
        "dead maps: "
        + ", ".join(f"{len(dead)} of {n['maps'][layer]} in {layer}" for layer, dead in n["dead"].items()),
    ]
    for grid in n["aliasing"]:
        kinds = ", ".join(
            f"{kind} {part['share']:.1%} ({part['over_surroundings']:.2f} times their surroundings)"
            for kind, part in grid.items()
            if kind != "period"
        )
        lines.append(f"energy of layer 2 on a grid of {grid['period']} pixels: {kinds}")
    return "\n    ".join(lines)


def _drawable(net: FilterReport, maps: int) -> FirstLayer:
    n, strongest = net.numbers, net.projections[:maps]
    return FirstLayer(
        net.name, net.filters, strongest, n["stride"], n["rms"], n["dominance"], _rings(net.filters)
    )


def _rings(weights: Tensor) -> Tensor:
    """The mean over filters of the shares of energy in narrow rings, up to Nyquist."""
    return measures.frequency_content(weights, RINGS).nanmean(0)[:-1]
