"""Chooses the layers that are analyzed by default: activated convolutions, or ends of stages.

    >>> import torchvision
    >>> from zfnet.models.default_layers import default_layers
    >>> default_layers(torchvision.models.squeezenet1_1())
    ['features.1', 'features.4.expand3x3_activation', ..., 'features.12.expand3x3_activation']

A default layer is always the output of an activation function, never its input. Where the
activation is a function inside a module, or a module that runs several times, the layer is the
enclosing module whose output is the activation.
"""

import torch
from torch import Tensor, nn

from zfnet.errors import InputError, one_line
from zfnet.models.convnet import ConvNet
from zfnet.models.introspection import eval_mode, input_channels, user_module
from zfnet.models.stages import layer_outputs, stage_outputs
from zfnet.models.tracing import trace

SHOWN = 5  # layers of a model that is not a ConvNet
SIDES = (224, 299, 256, 384, 192, 128, 112, 96, 64, 48, 32, 28)  # image sizes to try


def convolutions(model: nn.Module, image: Tensor | None = None) -> list[str]:
    """Returns the convolutional stages of a `ConvNet`, or up to five layers of another model.

    These are activated convolutions, evenly spaced, including the first and the last. In a model
    whose last stage has none, such as a transformer, they are the outputs of its stages. See
    `default_layers` for the arguments.
    """
    model = user_module(model)
    if isinstance(model, ConvNet):
        return [name for name in model.geometry if "." not in name]
    if image is None and not any(isinstance(each, nn.Conv2d) for each in model.modules()):
        return []
    image = usual_image(model) if image is None else image
    names = activated_convolutions(model, image)
    stages = stage_outputs(model, image, anywhere=not names)
    if stages and not _reach(model, image, names, stages[-1]):
        return stages
    last, count = len(names) - 1, min(SHOWN, len(names))
    return [names[round(i * last / max(1, count - 1))] for i in range(count)]


def _reach(model: nn.Module, image: Tensor, names: list[str], last: str) -> bool:
    """Whether a layer of `names` has maps as small as those of `last`."""
    grids = {each.name: each.grid for each in layer_outputs(model, image)}
    return any(grids.get(name, (0, 0)) <= grids[last] for name in names)


def default_layers(model: nn.Module, image: Tensor | None = None) -> list[str]:
    """Returns the names of the layers that are analyzed when none are given, in order of execution.

    Args:
        model: any model.
        image: an input (1, C, H, W); None for noise of a size that the model accepts.

    Raises:
        InputError: no module has feature maps.
    """
    if names := convolutions(model, image):
        return names
    raise InputError(
        f"{type(model).__name__}: no module gives the activation of a convolution (F.relu must be "
        "the last call of a module), and it has no blocks with feature maps, so there are no "
        "default layers: name the layers"
    )


def activated_convolutions(model: nn.Module, image: Tensor) -> list[str]:
    """Returns all modules whose output is the activation of a convolution, in order.

    Each runs once. For a model without any activation function, returns its convolutions.
    """
    return trace(model, image).activated()


def top_layer(model: nn.Module, image: Tensor) -> str:
    """Returns the last layer before the classifier.

    For a `ConvNet` this is the second-to-last stage. For other models it is the last module before
    the last operation with weights; if that operation sees activations, the last module that
    returns activations, possibly pooled.

    Args:
        model: any model.
        image: an input (1, C, H, W).

    Raises:
        InputError: there is no such layer.
    """
    model = user_module(model)
    if isinstance(model, ConvNet):
        names = list(model.table)
        if len(names) > 1:
            return names[-2]
    elif name := trace(model, image).before_classifier():
        return name
    raise InputError(f"{type(model).__name__} has no layer before its classifier: name the layer")


def usual_image(model: nn.Module) -> Tensor:
    """Returns seeded noise (1, C, S, S), of a size S that the model accepts.

    Raises:
        InputError: the model accepts none of the usual sizes.
    """
    weight = next(model.parameters(), torch.empty(0))
    channels = input_channels(model) or 3
    errors: list[str] = []
    for side in SIDES:
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(1, channels, side, side, generator=generator).to(weight)
        try:
            with torch.no_grad(), eval_mode(model):
                model(noise.clone())
            return noise
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            errors.append(f"{side} x {side}: {one_line(error)}")
    raise InputError(
        f"{type(model).__name__} accepts no image of a usual size ({errors[0]}): give an image, or "
        "name the layers"
    )
