"""Which layers an analysis uses when none are named, and which of the paper's layers they are.

first_and_top(net, image)               # Figure 5: ["conv1", "fc7"]
last_convolution_and_top(net, image)    # Table 1: ["conv5", "fc7"]
first_two_convolutions(net, image)      # Figure 6: ("conv1", "conv2", "conv1.pool")
all_but_classifier(net, image)          # Table 7: ["conv1", ..., "fc7"]
paper_numbers(net, ["features.12", "classifier.1"], image)  # of torchvision's AlexNet: 5 and 6

Layers are the activations of convolutions (zfnet.models.default_layers), or the last layer before
the classifier. `image` is (1, C, H, W) as the network takes it. All raise InputError where a
network has no such layers."""

import re
from collections.abc import Sequence

from torch import Tensor, nn

from zfnet.errors import InputError
from zfnet.models.convnet import ConvNet
from zfnet.models.default_layers import convolutions, default_layers, top_layer
from zfnet.models.tracing import trace


def first_and_top(net: nn.Module, image: Tensor) -> list[str]:
    """The first layer and the last one before the classifier."""
    if isinstance(net, ConvNet):
        first = list(net.table)[:1] if len(net.table) > 2 else []
    else:
        first = convolutions(net, image)[:1]
    if not first:
        raise InputError(
            f"{type(net).__name__} has no layer between its first and its classifier: "
            "name the layers, layers=[low, high]"
        )
    return list(dict.fromkeys([*first, top_layer(net, image)]))


def last_convolution_and_top(net: nn.Module, image: Tensor) -> list[str]:
    """The activation of the last convolution, and the last layer before the classifier."""
    if not (last := convolutions(net, image)[-1:]):
        raise InputError(
            f"{type(net).__name__}: name the layers to measure at, layers=[middle, high]"
        )
    return list(dict.fromkeys([*last, top_layer(net, image)]))


def first_two_convolutions(net: nn.Module, image: Tensor) -> tuple[str, str, str]:
    """The first two convolutional layers, and the last pooling between them (the first where there
    is none).

    In a network whose first convolution has no activation, such as ConvNeXt's, the first layer is
    this convolution, and the second one the first default layer."""
    modules = dict(net.named_modules())
    if isinstance(net, ConvNet):
        first, second = [*convolutions(net), "", ""][:2]
        between = f"{first}.pool"
    else:
        passed = trace(net, image)
        weighted = {ran.name: ran.weighted for ran in reversed(passed.ran)}  # at their first run
        first, second = [*passed.activated(), "", ""][:2]
        if weighted.get(first) != 1:
            alone = (name for name, count in weighted.items() if count == 1)
            first = next((name for name in alone if isinstance(modules[name], nn.Conv2d)), "")
            second = default_layers(net, image)[0] if first else ""
        order = [ran.name for ran in passed.ran]
        inside = order[order.index(first) : order.index(second)] if second else []
        between = next(
            (name for name in reversed(inside) if isinstance(modules[name], nn.MaxPool2d)), first
        )
    if not second:
        raise InputError(f"{type(net).__name__} has no two convolutional layers to look at")
    return first, second, between if between in modules else first


def all_but_classifier(net: nn.Module, image: Tensor) -> list[str]:
    """The stages of a ConvNet below its classifier; of any other network its default layers."""
    return list(net.table)[:-1] if isinstance(net, ConvNet) else default_layers(net, image)


def paper_numbers(net: nn.Module, layers: Sequence[str], image: Tensor) -> dict[str, int | None]:
    """Which of the paper's layers 1 to 8 each layer is; None where that is not known.

    Our stages have the number in their names: conv5, fc7. In another network of eight convolutions
    and linear layers, such as torchvision's AlexNet, these are counted up to the layer. In any
    other one the default layers are 1 to 5."""
    if isinstance(net, ConvNet):
        named = {layer: re.match(r"(?:conv|fc)(\d)", layer) for layer in layers}
        return {layer: int(found[1]) if found else None for layer, found in named.items()}
    names = [name for name, _ in net.named_modules()]
    learned = [i for i, each in enumerate(net.modules()) if isinstance(each, nn.Conv2d | nn.Linear)]
    if len(learned) == 8:
        return {layer: sum(i <= names.index(layer) for i in learned) or None for layer in layers}
    order = {layer: number for number, layer in enumerate(convolutions(net, image), 1)}
    return {layer: order.get(layer) for layer in layers}
