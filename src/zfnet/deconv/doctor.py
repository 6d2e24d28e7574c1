"""A diagnosis of each layer: what could make its projections misleading.

    >>> import torch
    >>> from zfnet.deconv import doctor
    >>> from zfnet.models import ZFNET, ConvNet
    >>> _ = torch.manual_seed(0)
    >>> net = ConvNet(ZFNET, num_classes=10, image_size=64)
    >>> print(doctor(net, ["conv1"], torch.randn(2, 3, 64, 64))[0])
    conv1: 96 channels, units see 7 x 7 pixels

- A pooling window without an active unit has no true switch: torch takes its first cell.
- Overlapping windows may share their maximum. Their signals add up there.
- A channel that no image activates has no projection.
- Contrast normalization is ignored in the backward pass.
- Activations like GELU, gates and attention have extended rules, which the paper does not know.
- Without switches a projection does not depend on the image.
- The projections of some families of networks were measured and failed.
- Some operations have no deconvnet at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zfnet.deconv.mode import DeconvMode
from zfnet.deconv.nodes import kind
from zfnet.deconv.rules import Pair, Rules
from zfnet.deconv.tracing import ForwardTrace
from zfnet.deconv.trust import caution, describe_path
from zfnet.errors import InputError
from zfnet.models.convnet import ConvNet
from zfnet.models.introspection import check_not_scripted, input_channels, user_module
from zfnet.sizes import sides
from zfnet.versions.python_names import renamed

NOISE, SIDE = 8, 224  # images, and their side, where none are given


@dataclass(frozen=True)
class Pooling:
    """A max pooling between a layer and the pixels.

    Attributes:
        name: of the module.
        dead: share of the windows without an active unit, whose switch is arbitrary.
        shared: share of the other windows whose maximum is another window's too.
    """

    name: str
    dead: float
    shared: float


@renamed(maps="channels", dead_maps="dead_channels", normalisations="normalizations")
@dataclass(frozen=True)
class Diagnosis:
    """The diagnosis of a layer. `str()` gives a few lines of text.

    Attributes:
        layer: its name.
        field: height and width in pixels of what a unit sees; None for the whole image.
        channels: their number.
        dead_channels: those that no image activates.
        poolings: max poolings, from the layer down.
        normalizations: names of contrast normalizations.
        extended: extended rules by name, with the number of their uses.
        caution: why not to trust projections, "" if there is no reason; see zfnet.deconv.trust.
        unsupported: what has no deconvnet.
    """

    layer: str
    field: tuple[int, int] | None
    channels: int
    dead_channels: list[int]
    poolings: list[Pooling]
    normalizations: list[str]
    extended: dict[str, int]
    caution: str
    unsupported: list[str]

    def __str__(self) -> str:
        field = (
            "the whole image" if self.field is None else f"{self.field[0]} x {self.field[1]} pixels"
        )
        lines = [f"{self.layer}: {self.channels} channels, units see {field}"]
        if self.dead_channels:
            lines.append(
                f"{len(self.dead_channels)} channels are never active: {_some(self.dead_channels)}"
            )
        for pooling in self.poolings:
            lines.append(
                f"{pooling.name}: {pooling.dead:.0%} of the windows are dead (their switches are "
                "arbitrary), "
                f"{pooling.shared:.0%} of the others share their maximum"
            )
        if self.normalizations:
            lines.append(
                "contrast normalization, ignored in the backward pass: "
                f"{', '.join(self.normalizations)}"
            )
        if text := describe_path(self.extended, self.caution):
            lines.append(text)
        lines += [f"no deconvnet: {trouble}" for trouble in self.unsupported]
        return "\n    ".join(lines)


def _some(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:12])) + (", ..." if len(numbers) > 12 else "")


class _PoolingStatistics(DeconvMode):
    """Stores the shares of dead windows and shared maxima on the node of each pooling."""

    def _max_pool(self, *args: Any, **kwargs: Any) -> Any:
        out = super()._max_pool(*args, **kwargs)
        values = out[0] if isinstance(out, tuple) else out
        if (node := values.grad_fn) is None:  # its input does not depend on the pixels
            return out
        with self.trusted():
            node.metadata["windows"] = _shares(values, node)
        return out


def _shares(values: Tensor, node: Any) -> tuple[float, float]:
    """Returns the shares of dead windows, and of shared maxima among the others."""
    dead = values.detach() <= 0
    switches = torch.where(dead, -1, node.switches).flatten(2)
    counts = torch.zeros(
        *switches.shape[:2], node.shape[2] * node.shape[3] + 1, device=values.device
    )
    counts.scatter_add_(2, switches + 1, torch.ones_like(switches, dtype=counts.dtype))
    live = switches >= 0
    shared = (counts.gather(2, switches + 1) > 1) & live
    return dead.float().mean().item(), (shared.sum() / live.sum().clamp(min=1)).item()


def doctor(
    model: nn.Module, layers: Sequence[str], images: Tensor | None = None
) -> list[Diagnosis]:
    """Diagnoses layers of a model.

    Args:
        model: any convnet.
        layers: names of layers.
        images: (B, C, H, W); None for seeded noise, which says less than real images.

    Raises:
        InputError: a layer does not exist or is not finite, or the size of the images is unknown.
    """
    check_not_scripted(model)
    model = user_module(model)
    if images is None:
        size = sides(model.image_size if isinstance(model, ConvNet) else SIDE)
        if (channels := input_channels(model)) is None:
            raise InputError(
                f"{type(model).__name__} has no convolution, so the number of channels of its "
                "images is "
                "unknown: give images (B, C, H, W)"
            )
        weight = next(model.parameters(), torch.empty(0))
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(NOISE, channels, *size, generator=generator).to(weight)
    passed = ForwardTrace(model, _PoolingStatistics(Rules()), images, list(layers))
    size = (images.shape[2], images.shape[3])
    return [_diagnosis(passed, layer, size) for layer in layers]


def _diagnosis(passed: ForwardTrace, layer: str, size: Pair) -> Diagnosis:
    nodes, values = passed.nodes[layer], passed.values[layer]
    if not values.isfinite().all():
        raise InputError(f"layer {layer!r} is not finite: its channels cannot be examined")
    path = passed.path(layer)
    vertical, horizontal = path.fields
    strongest = values.amax((0, 2, 3))
    poolings = [
        Pooling(passed.name(node) or "max pooling", *node.metadata["windows"])
        for node, _ in nodes
        if kind(node) == "MaxPool"
    ]
    return Diagnosis(
        layer,
        None if vertical.whole or horizontal.whole else (vertical.field, horizontal.field),
        len(strongest),
        (strongest <= 0).nonzero()[:, 0].tolist(),
        poolings,
        [
            passed.name(node) or "contrast normalization"
            for node, _ in nodes
            if (step := node.metadata.get("step")) and step.kind == "norm"
        ],
        path.extended,
        caution(path, size),
        passed.troubles(layer),
    )
