"""Which channels of a layer feed a unit of a layer above it, and by how much.

The contribution of a channel below is the sum over its positions of its activation times the unit's
gradient. Between two layers of the paper's networks there is one convolution, so contributions are
weight times activation, and add up to the unit's activation without the bias. Positive ones excite
the unit, and negative ones inhibit it.

    >>> import torch
    >>> from zfnet.analysis import connections
    >>> from zfnet.deconv import Unit
    >>> from zfnet.models import ZFNET, ConvNet
    >>> net, images = ConvNet(ZFNET, num_classes=10, image_size=64), torch.randn(1, 3, 64, 64)
    >>> found = connections(net, images, ["conv1", "conv2"], {"conv2": [Unit(0, 7, 3, 3)]})
    >>> found["conv2"].shape  # units of conv2, channels of conv1
    torch.Size([1, 96])
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from zfnet.deconv import Unit
from zfnet.deconv.mode import DeconvMode
from zfnet.deconv.rules import Rules
from zfnet.deconv.tracing import traced_forward
from zfnet.errors import InputError
from zfnet.models.introspection import check_called_once, eval_mode, find_modules, user_module
from zfnet.models.layout import UnitAxes

GRADIENT = Rules("gradient", normalization="gradient", others="gradient")


def connections(
    model: nn.Module, images: Tensor, layers: Sequence[str], units: Mapping[str, Sequence[Unit]]
) -> dict[str, Tensor]:
    """Computes what each channel of the layer below contributes to units.

    Args:
        model: any network.
        images: (B, C, H, W).
        layers: names of layers, from the pixels up.
        units: N units of each of the layers, except for the first.

    Returns:
        For each layer of `units` the contributions (N, channels of the layer below), on the CPU.
        They are 0 for a unit that does not depend on the layer below.

    Raises:
        InputError: a layer does not run exactly once, its axes are unknown, or it runs before the
            layer that is named before it.
    """
    modules, model = find_modules(model, layers), user_module(model)
    below = dict(zip(layers[1:], layers, strict=False))
    with torch.no_grad(), eval_mode(model):
        axes = check_called_once(model, modules, images[:1], maps=True)
    reached: dict[str, tuple[GradientEdge, Tensor, Tensor]] = {}
    found: dict[str, Tensor] = {}

    def read(layer: str, output: Tensor) -> bool:
        reached[layer] = get_gradient_edge(output), output, output.detach().clone()
        if units.get(layer):
            lower = below[layer]
            if lower not in reached:
                raise InputError(f"layer {lower!r} runs after {layer!r}: give layers in order")
            edge, _, values = reached.pop(lower)
            found[layer] = _contributions(
                axes[layer].maps(output), edge, values, axes[lower], units[layer]
            )
        return layer == layers[-1]

    with traced_forward(model, DeconvMode(GRADIENT), images, modules, read) as (_, inputs):
        model(inputs)
    return {layer: found[layer] for layer in units if layer in found}


def _contributions(
    maps: Tensor, edge: GradientEdge, values: Tensor, axes: UnitAxes, units: Sequence[Unit]
) -> Tensor:
    """Returns contributions (N, C') of the layer with `values` to units of `maps` (B, C, H, W).

    Each backward pass takes one unit of each image.
    """
    lower = axes.maps(values)  # (B, C', H', W')
    result = lower.new_zeros(len(units), lower.shape[1])
    turns: list[dict[int, int]] = []  # of each the unit of each image
    for place, unit in enumerate(units):
        turn = next((each for each in turns if unit.image not in each), None)
        if turn is None:
            turns.append(turn := {})
        turn[unit.image] = place
    for turn in turns:
        chosen = [units[place] for place in turn.values()]
        where = torch.tensor([(unit.image, unit.channel, unit.y, unit.x) for unit in chosen])
        total = maps[where.unbind(1)].sum()
        (gradient,) = torch.autograd.grad(total, edge, retain_graph=True, allow_unused=True)
        if gradient is not None:
            each = (axes.maps(gradient) * lower).sum((2, 3))
            result[list(turn.values())] = each[list(turn)]
    return result.cpu()
