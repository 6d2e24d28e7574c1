"""Which layers of a model have a deconvnet."""

from collections.abc import Sequence

import torch
from torch import nn

from zfnet.deconv.plans import Size
from zfnet.deconv.projection import Deconvnet
from zfnet.deconv.units import Unit
from zfnet.errors import InputError
from zfnet.models.default_layers import default_layers
from zfnet.models.introspection import input_channels


def projectable_layers(
    model: nn.Module, size: Size, layers: Sequence[str] | None = None
) -> tuple[list[str], list[str]]:
    """The layers whose units can be projected.

    Args:
        model: any net.
        size: of its images: a side, (H, W) or (C, H, W); without C, that of the first convolution.
        layers: names of layers; None is the default layers, and those without a deconvnet are left
            out.

    Returns:
        The layers, and a line for each default layer that is left out.

    Raises:
        InputError: one of `layers` is unknown or has no deconvnet.
    """
    deconv = Deconvnet(model)
    found: list[str] = []
    problems: list[str] = []
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    try:
        sides = (size, size) if isinstance(size, int) else size
        shape = sides if len(sides) == 3 else (input_channels(model) or 3, *sides)
        names = layers or default_layers(model, torch.zeros(1, *shape, device=device))
    except InputError as error:
        return [], [str(error)]
    for layer in names:
        try:
            deconv.window(layer, Unit(image=0, channel=0), size)
            found.append(layer)
        except InputError as error:
            if layers:
                raise
            problems.append(f"layer {layer} is left out: {error}")
    return found, problems
