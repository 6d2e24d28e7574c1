"""Which layers an analysis looks at when none are named, and which of the paper's layers they are.

ends(net, image)         # Figure 5: ["conv1", "fc7"]
middle_and_top(net)      # Table 1: ["conv5", "fc7"]
two_layers(net)          # Figure 6: ("conv1", "conv2", "conv1.pool")
all_but_classifier(net)  # Table 7: ["conv1", ..., "fc7"]
papers_numbers(net, ["features.12", "classifier.1"])  # of torchvision's AlexNet: 5 and 6
"""

import re
from collections.abc import Sequence

from torch import Tensor, nn

from zfnet.deconv import convolutions
from zfnet.errors import InputError
from zfnet.models.net import ConvNet
from zfnet.models.reading import run_order, top_layer


def ends(net: nn.Module, image: Tensor) -> list[str]:
    """The first layer and the last before the classifier: stages of a ConvNet; of another net the first
    convolution that runs and its top layer."""
    if isinstance(net, ConvNet):
        first = list(net.table)[:1] if len(net.table) > 2 else []
    else:
        modules = dict(net.named_modules())
        first = [name for name in run_order(net, image) if isinstance(modules[name], nn.Conv2d)][:1]
    if not first:
        raise InputError(
            f"{type(net).__name__} has no layer between its first and its classifier: "
            "name the layers, layers=[low, high]"
        )
    return [*first, top_layer(net, image)]


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


def all_but_classifier(net: nn.Module) -> list[str]:
    """The stages of a ConvNet below its classifier; of any other net up to five convolutions."""
    return list(net.table)[:-1] if isinstance(net, ConvNet) else convolutions(net)


def papers_numbers(net: nn.Module, layers: Sequence[str]) -> dict[str, int | None]:
    """Which of the paper's layers 1 to 8 each is, None where that cannot be said.

    Our stages have it in their names: conv5, fc7. In another net of eight convolutions and linear layers, as
    torchvision's AlexNet, they are counted up to the layer; in any other one its five convolutions are 1 to 5.
    """
    if isinstance(net, ConvNet):
        named = {layer: re.match(r"(?:conv|fc)(\d)", layer) for layer in layers}
        return {layer: int(found[1]) if found else None for layer, found in named.items()}
    names = [name for name, _ in net.named_modules()]
    learned = [i for i, each in enumerate(net.modules()) if isinstance(each, nn.Conv2d | nn.Linear)]
    if len(learned) == 8:
        return {layer: sum(i <= names.index(layer) for i in learned) or None for layer in layers}
    order = {layer: number for number, layer in enumerate(all_but_classifier(net), 1)}
    return {layer: order.get(layer) for layer in layers}
