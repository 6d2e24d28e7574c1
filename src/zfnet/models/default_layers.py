"""Which layers a net is looked at when none are named: the activations of its convolutions, on every architecture.

    default_layers(torchvision.models.alexnet())    # ["features.1", "features.4", ..., "features.11"]
    default_layers(torchvision.models.resnet18())   # ["relu", "layer1.1", "layer2.1", "layer3.1", "layer4.1"]
    top_layer(net, image)                           # the last layer before the classifier

A layer is never the signed sums that an activation sees. Where the activation is a function inside a module, or a
module that runs several times, it is the module around it whose output is the activation.
"""

import torch
from torch import Tensor, nn

from zfnet.errors import InputError, one_line
from zfnet.models.convnet import ConvNet
from zfnet.models.introspection import input_channels, user_module
from zfnet.models.tracing import Trace, trace

SHOWN = 5  # layers of a net that is no ConvNet
SIDES = (224, 299, 256, 384, 192, 128, 112, 96, 64, 48, 32, 28)  # of images to try where none is given


def convolutions(model: nn.Module, image: Tensor | None = None) -> list[str]:
    """A ConvNet's convolutional stages; of any other net up to five of `activated_convolutions`, evenly spread over
    its depth, the first and the last among them."""
    model = user_module(model)
    if isinstance(model, ConvNet):
        return [name for name in model.geometry if "." not in name]
    names = activated_convolutions(model, image)
    last, count = len(names) - 1, min(SHOWN, len(names))
    return [names[round(i * last / max(1, count - 1))] for i in range(count)]


def default_layers(model: nn.Module, image: Tensor | None = None) -> list[str]:
    """`convolutions`, of which there must be some.

    Args:
        model: any net.
        image: (1, C, H, W) as the net takes it; None: noise of a size that it takes.

    Raises:
        InputError: where no module gives the activation of a convolution.
    """
    if names := convolutions(model, image):
        return names
    raise InputError(
        f"{type(model).__name__}: no module gives the activation of a convolution (F.relu needs a module around it), "
        "so that there are no default layers: name the layers"
    )


def activated_convolutions(model: nn.Module, image: Tensor | None = None) -> list[str]:
    """Every module that runs once and whose output is the activation of a convolution, in the order in which they
    run. Of a net without any activation, the convolutions."""
    if not any(isinstance(module, nn.Conv2d) for module in model.modules()) and image is None:
        return []
    return (trace_noise(model) if image is None else trace(model, image)).activated()


def top_layer(model: nn.Module, image: Tensor) -> str:
    """The last layer before the classifier.

    Of a ConvNet its last stage but one. Of any other net the module that runs last before the last one with weights;
    where the classifier sees activations, the last module that gives activations, or a pooling of such.

    Args:
        model: any net.
        image: (1, C, H, W) as the net takes it.

    Raises:
        InputError: where there is none.
    """
    model = user_module(model)
    if isinstance(model, ConvNet):
        names = list(model.table)
        if len(names) > 1:
            return names[-2]
    elif name := trace(model, image).before_classifier():
        return name
    raise InputError(f"{type(model).__name__} has no layer before its classifier: name the layer")


def trace_noise(model: nn.Module) -> Trace:
    """The trace of seeded noise (1, C, S, S): the first convolution's channels, and a size that the net takes."""
    weight = next(model.parameters(), torch.empty(0))
    channels = input_channels(model) or 3
    troubles: list[str] = []
    for side in SIDES:
        noise = torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(0)).to(weight)
        try:
            return trace(model, noise)
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            troubles.append(f"{side} x {side}: {one_line(error)}")
    raise InputError(
        f"{type(model).__name__} takes no image of a usual size ({troubles[0]}): give an image, or name the "
        "layers"
    )
