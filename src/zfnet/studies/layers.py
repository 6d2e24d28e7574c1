"""Which layers an analysis looks at when none are named.

ends(net, image)         # Figure 5: ["conv1", "fc7"]
middle_and_top(net)      # Table 1: ["conv5", "fc7"]
two_layers(net)          # Figure 6: ("conv1", "conv2", "conv1.pool")
"""

import torch
from torch import Tensor, nn

from zfnet.deconv import convolutions
from zfnet.deconv.layers import evaluating, reading
from zfnet.errors import InputError
from zfnet.models.net import ConvNet


def ends(net: nn.Module, image: Tensor) -> list[str]:
    """The first layer and the last before the classifier: stages of a ConvNet; of another net the first
    convolution and the module that runs right before the last one with weights."""
    if isinstance(net, ConvNet):
        if len(net.table) < 3:
            raise InputError("the net has no layer between its first and its classifier: name layers=[a]")
        return [next(iter(net.table)), list(net.table)[-2]]
    leaves = {name: module for name, module in net.named_modules() if name and not list(module.children())}
    order: list[str] = []
    with torch.inference_mode(), evaluating(net), reading(leaves, lambda layer, _: order.append(layer)):
        net(image)
    convs = [name for name in order if isinstance(leaves[name], nn.Conv2d)]
    weighty = [row for row, name in enumerate(order) if isinstance(leaves[name], nn.Conv2d | nn.Linear)]
    if not convs or weighty[-1] == 0:
        raise InputError(f"{type(net).__name__}: name the layers to measure at, layers=[low, high]")
    return [convs[0], order[weighty[-1] - 1]]


def middle_and_top(net: nn.Module) -> list[str]:
    """conv5 and fc7: the last convolution of a ConvNet and its last layer before the classifier."""
    if not isinstance(net, ConvNet) or not net.geometry:
        raise InputError(f"{type(net).__name__}: name the layers to measure at, layers=[middle, high]")
    last = [name for name in net.geometry if "." not in name][-1]
    return list(dict.fromkeys([last, list(net.table)[-2]]))


def two_layers(net: nn.Module) -> tuple[str, str, str]:
    """The first two convolutions, and the last pooling between them (the first again where none is)."""
    if isinstance(net, ConvNet):
        first, second = [*convolutions(net), "", ""][:2]
        between = f"{first}.pool"
    else:
        kinds = [(name, type(each)) for name, each in net.named_modules()]
        first, second = [*(name for name, kind in kinds if issubclass(kind, nn.Conv2d)), "", ""][:2]
        names = [name for name, _ in kinds]
        inside = kinds[names.index(first) + 1 : names.index(second)] if second else []
        between = next((name for name, kind in reversed(inside) if issubclass(kind, nn.MaxPool2d)), first)
    if not second:
        raise InputError(f"{type(net).__name__} has no two convolutional layers to look at")
    return first, second, between if between in dict(net.named_modules()) else first
