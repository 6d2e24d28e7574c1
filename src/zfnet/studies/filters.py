"""Figure 6: what is wrong with a network's first layer, and what it does to the second.

    python analyze.py analysis=filters \\
        ckpt=[alexnet/checkpoints/last.ckpt,zfnet/checkpoints/last.ckpt]

`filters.png` has a row for each network: its filters on one scale, where a dominant one would hide
the rest, and each on its own; the channels of layer 2 by their strongest projections, where a grid
would be aliasing; and two curves. `filters.json` has the numbers of zfnet.analysis.filters. The
image patches beside the projections are the control of the grid: photographs have none."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
from torch import Tensor

from zfnet.analysis import filters as measures
from zfnet.deconv import Deconvnet, Top, Unit, top_activations
from zfnet.errors import InputError
from zfnet.json_output import write_json
from zfnet.model_on_data import ModelOnData
from zfnet.sizes import Size
from zfnet.studies import Analysis
from zfnet.studies.layers import first_two_convolutions
from zfnet.validation import Count
from zfnet.viz import save_png
from zfnet.viz.filters import FirstLayer, filters_sheet

log = logging.getLogger(__name__)

RINGS = tuple(i / 32 for i in range(1, 17))  # cycles per pixel, up to Nyquist


@dataclass
class FilterReport:
    """A network's first layer, the projections of layer 2, and the numbers."""

    name: str
    filters: Tensor  # (N, C, kh, kw)
    projections: Tensor  # (M, C, h, w), those of the strongest channels first
    numbers: dict[str, Any]
    shown: tuple[Tensor, Tensor]  # the channels of both that the figure shows


@dataclass
class Filters(Analysis):
    """Measures each network, and draws them above one another; fields:
    conf/analysis/filters.yaml."""

    channels: Count
    names: Sequence[str] | None
    takes = "models"

    def run(self, models: Sequence[ModelOnData], folder: Path) -> None:
        if self.names is not None and len(self.names) != len(models):
            raise InputError(f"names={list(self.names)}: {len(models)} networks need as many names")
        reports = []
        for i, model in enumerate(models):
            letter = f" {ascii_lowercase[i % 26]}" if len(models) > 1 else ""
            name = self.names[i] if self.names else f"{type(model.net).__name__}{letter}"
            reports.append(examine(model, name))
            log.info("%s", _lines(reports[-1]))
        numbers = [{"name": each.name, **each.numbers} for each in reports]
        write_json(numbers, folder / "filters.json", indent=1)
        noise = torch.randn(
            256, 1, measures.SIDE, measures.SIDE, generator=torch.Generator().manual_seed(0)
        )
        rows = [
            FirstLayer(
                *(
                    each.name,
                    each.shown[0],
                    each.shown[1][: self.channels],
                    each.numbers["stride"],
                ),
                *(each.numbers["rms"], each.numbers["dominance"], _rings(each.filters)),
            )
            for each in reports
        ]
        save_png(filters_sheet(rows, RINGS, _rings(noise), measures.BANDS), folder / "filters.png")


def examine(model: ModelOnData, name: str) -> FilterReport:
    """Measures one network.

    Raises:
        InputError: Its first layer does not see the pixels, is dead, or is not finite; or no image
            activates layer 2.
    """
    net, deconv = model.net, Deconvnet(model.net)
    first, second, between = first_two_convolutions(net, model.inputs([0]))
    weights = deconv.filters(first, model.crop)
    where = f"{first} of {type(net).__name__}"
    if weights is None:
        raise InputError(f"{where} does not convolve the pixels themselves")
    if not weights.isfinite().all():
        raise InputError(f"{where}: its filters are not finite: nothing can be measured")
    if not weights.any():
        raise InputError(f"{where}: its filters are all 0, the layer is dead")
    stride, pooled = (_stride(deconv, layer, model.crop) for layer in (first, between))
    top = top_activations(net, model.batches(), [first, second], k=1, total=len(model.images))
    projections, patches = _project(model, deconv, second, top[second])
    bands = torch.tensor(measures.BANDS, dtype=torch.float64)
    peaks = torch.bucketize(measures.peak_frequency(weights), bands, right=True)
    size = projections.shape[-2:]
    periods = [p for p in sorted({stride, pooled}) if p > 1 and measures.can_resolve(p, *size)]
    numbers = {
        "layers": [first, second],
        "filters": [len(weights), *weights.shape[-2:]],
        "stride": stride,
        "dominance": measures.dominance(weights),
        "rms": measures.rms(weights).tolist(),
        "bands": _by_band(measures.frequency_content(weights).nanmean(0)),
        "peaks": _by_band(peaks.bincount(minlength=3)),
        "beyond_stride": measures.beyond_stride(weights, stride).nanmean().item(),
        "dead": {layer: measures.dead_channels(top[layer]) for layer in (first, second)},
        "maps": {layer: len(top[layer].values) for layer in (first, second)},
        "aliasing": [_aliasing(projections, patches, period) for period in periods],
    }
    weights = weights.detach().cpu()
    shown = model.shown(weights), model.shown(projections)
    return FilterReport(name, weights, projections, numbers, shown)


def _stride(deconv: Deconvnet, layer: str, size: Size) -> int:
    """Pixels from one unit to the next."""
    _, _, columns = deconv.units(layer, size)
    left, right = (
        deconv.window(layer, Unit(0, 0, 0, x), size).left for x in (0, min(1, columns - 1))
    )
    return right - left


def _project(model: ModelOnData, deconv: Deconvnet, layer: str, top: Top) -> tuple[Tensor, Tensor]:
    """Projections (M, C, h, w) of the live channels' strongest units, the strongest first, and the
    patches."""
    order = [c for c in top.values[:, 0].argsort(descending=True).tolist() if top.values[c, 0] > 0]
    if not order:
        raise InputError(f"no image activates any channel of {layer}: there is nothing to project")
    projections, images = [], []
    for start in range(0, len(order), model.batch_size):
        channels = order[start : start + model.batch_size]
        units = [Unit(i, c, int(top.y[c, 0]), int(top.x[c, 0])) for i, c in enumerate(channels)]
        patches = deconv.patches(model.inputs(top.images[channels, 0].tolist()), layer, units)
        projections.append(patches.projections.cpu())
        images.append(patches.images.cpu())
    return torch.cat(projections), torch.cat(images)


def _aliasing(projections: Tensor, patches: Tensor, period: int) -> dict[str, Any]:
    """Energy at a grid's harmonics, and how it stands out, of projections, of the patches, and of
    noise."""
    result: dict[str, Any] = {"period": period}
    for name, each in (("projections", projections), ("photographs", patches)):
        share, peak = (part.nanmean().item() for part in measures.aliasing(each, period))
        result[name] = {"share": share, "over_surroundings": peak}
    height, width = projections.shape[-2:]
    chance = measures.harmonics(height, width, period)[0].double().mean().item()
    return {**result, "noise": {"share": chance, "over_surroundings": 1.0}}


def _by_band(numbers: Tensor) -> dict[str, float]:
    return dict(zip(("low", "middle", "high"), numbers.tolist(), strict=True))


def _lines(report: FilterReport) -> str:
    """The numbers for the log."""
    n = report.numbers
    count, height, width = n["filters"]
    low, middle, high = (f"{100 * share:.0f} %" for share in n["bands"].values())
    strongest = "more than half of them are 0"
    if math.isfinite(n["dominance"]):
        strongest = f"the strongest is {n['dominance']:.1f} times the median"
    dead = [f"{len(dead)} of {n['maps'][layer]} in {layer}" for layer, dead in n["dead"].items()]
    lines = [
        f"{report.name}: {count} filters of {height} x {width}, stride {n['stride']}; {strongest}",
        f"energy: low {low}, middle {middle}, high {high}; {n['beyond_stride']:.0%} beyond what "
        "the stride "
        f"resolves; filters that peak there: {', '.join(map(str, n['peaks'].values()))}",
        f"dead channels: {', '.join(dead)}",
    ]
    for grid in n["aliasing"]:
        kinds = ", ".join(
            f"{kind} {part['share']:.1%} ({part['over_surroundings']:.2f} times their surroundings)"
            for kind, part in grid.items()
            if kind != "period"
        )
        lines.append(f"energy of layer 2 on a grid of {grid['period']} pixels: {kinds}")
    return "\n    ".join(lines)


def _rings(weights: Tensor) -> Tensor:
    """The mean over filters of the shares of energy in narrow rings, up to Nyquist."""
    return measures.frequency_content(weights, RINGS).nanmean(0)[:-1]
