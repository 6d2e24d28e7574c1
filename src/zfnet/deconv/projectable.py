"""Which layers of a model have a deconvnet."""

from collections.abc import Sequence

import torch
from torch import nn

from zfnet.deconv.projection import Deconvnet
from zfnet.deconv.units import Unit
from zfnet.errors import InputError
from zfnet.models.default_layers import default_layers


def projectable_layers(
    model: nn.Module, size: int, layers: Sequence[str] | None = None
) -> tuple[list[str], list[str]]:
    """The layers whose units can be projected.

    Args:
        model: any net that takes images of three channels.
        size: the side of its images, in pixels.
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
        names = layers or default_layers(model, torch.zeros(1, 3, size, size, device=device))
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
