"""What would make a layer's pictures misleading, found before anybody looks at them.

    for diagnosis in doctor(model, ["features.6", "features.10"], images):
        print(diagnosis)

A pooling window without an active unit has no true switch: torch takes its first cell, whatever the picture.
Windows that overlap may share their maximum, and add up there; max_unpool2d would keep one of them. A map that
nothing excites has no picture. Contrast normalisation is passed as if it were not there. And some operations
have no deconvnet at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zfnet.deconv.graph import kind, trace_graph
from zfnet.deconv.rules import Rules
from zfnet.deconv.swapping import DeconvMode
from zfnet.deconv.tracing import Traced
from zfnet.errors import InputError
from zfnet.models.convnet import ConvNet
from zfnet.models.introspection import input_channels, user_module

NOISE, SIDE = 8, 224  # images, and their side, where none are given


@dataclass(frozen=True)
class Pooling:
    """A max pooling on the way: shares of its windows."""

    name: str
    dead: float  # without an active unit: the switch is arbitrary
    shared: float  # of the others, those whose maximum is another window's too


@dataclass(frozen=True)
class Diagnosis:
    """One layer; str() says it in a few lines."""

    layer: str
    field: tuple[int, int] | None  # pixels that a unit sees, vertically and horizontally; None: all
    maps: int
    dead_maps: list[int]  # no image excites them
    poolings: list[Pooling]  # from the layer down
    normalisations: list[str]
    unsupported: list[str]

    def __str__(self) -> str:
        field = "the whole image" if self.field is None else f"{self.field[0]} x {self.field[1]} pixels"
        lines = [f"{self.layer}: {self.maps} maps, units see {field}"]
        if self.dead_maps:
            lines.append(f"{len(self.dead_maps)} maps are never active: {_some(self.dead_maps)}")
        for pooling in self.poolings:
            lines.append(
                f"{pooling.name}: {pooling.dead:.0%} of the windows are dead (their switches are arbitrary), "
                f"{pooling.shared:.0%} of the others share their maximum"
            )
        if self.normalisations:
            lines.append(
                f"contrast normalisation, passed as if it were not there: {', '.join(self.normalisations)}"
            )
        lines += [f"no deconvnet: {trouble}" for trouble in self.unsupported]
        return "\n    ".join(lines)


def _some(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:12])) + (", ..." if len(numbers) > 12 else "")


class _Watching(DeconvMode):
    """Leaves the share of dead windows, and of shared maxima, on each pooling's node."""

    def _max_pool(self, *args: Any, **kwargs: Any) -> Any:
        out = super()._max_pool(*args, **kwargs)
        values = out[0] if isinstance(out, tuple) else out
        if (node := values.grad_fn) is None:  # nothing that autograd follows comes in
            return out
        with self.own():
            node.metadata["windows"] = _shares(values, node)
        return out


def _shares(values: Tensor, node: Any) -> tuple[float, float]:
    """The shares of dead windows of a pooling's output, and of shared maxima among the others."""
    dead = values.detach() <= 0
    switches = torch.where(dead, -1, node.switches).flatten(2)
    counts = torch.zeros(*switches.shape[:2], node.shape[2] * node.shape[3] + 1, device=values.device)
    counts.scatter_add_(2, switches + 1, torch.ones_like(switches, dtype=counts.dtype))
    live = switches >= 0
    shared = (counts.gather(2, switches + 1) > 1) & live
    return dead.float().mean().item(), (shared.sum() / live.sum().clamp(min=1)).item()


def doctor(model: nn.Module, layers: Sequence[str], images: Tensor | None = None) -> list[Diagnosis]:
    """Examines each of `layers` on `images` (B, C, H, W); without any, on seeded noise, which says less."""
    model = user_module(model)
    if images is None:
        side = model.image_size if isinstance(model, ConvNet) else SIDE
        if (channels := input_channels(model)) is None:
            raise InputError(
                f"how many channels the images of {type(model).__name__} have is not known, as it has no "
                "convolution: give images (B, C, H, W)"
            )
        weight = next(model.parameters(), torch.empty(0))
        images = torch.randn(NOISE, channels, side, side, generator=torch.Generator().manual_seed(0)).to(
            weight
        )
    passed = Traced(model, _Watching(Rules(others="gradient")), images, list(layers))
    return [_diagnosis(passed, layer) for layer in layers]


def _diagnosis(passed: Traced, layer: str) -> Diagnosis:
    nodes, values = passed.nodes[layer], passed.values[layer]
    if not values.isfinite().all():
        raise InputError(f"layer {layer!r} is not finite: nothing can be said about its maps")
    vertical, horizontal = trace_graph(nodes).fields
    strongest = values.flatten(2).amax((0, 2)) if values.dim() == 4 else values.amax(0)
    poolings = [
        Pooling(passed.name(node) or "max pooling", *node.metadata["windows"])
        for node, _ in nodes
        if kind(node) == "_MaxPool"
    ]
    return Diagnosis(
        layer,
        None if vertical.whole or horizontal.whole else (vertical.field, horizontal.field),
        len(strongest),
        (strongest <= 0).nonzero()[:, 0].tolist(),
        poolings,
        [
            passed.name(node) or "contrast normalisation"
            for node, _ in nodes
            if kind(node) == "_Normalisation"
        ],
        passed.troubles(layer),
    )
