"""A convnet built from a table: one named stage per layer.

>>> import torch
>>> from zfnet.models import ZFNET, ConvNet
>>> net = ConvNet(ZFNET, num_classes=10, image_size=64)
>>> net(torch.zeros(1, 3, 64, 64)).shape
torch.Size([1, 10])
>>> net[:2](torch.zeros(1, 3, 64, 64)).shape  # the first two stages
torch.Size([1, 256, 3, 3])
>>> net.conv3.conv.weight.shape
torch.Size([384, 256, 3, 3])
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from zfnet.errors import InputError
from zfnet.models.architectures import ARCHITECTURES, Edit, Table, apply_edit
from zfnet.models.geometry import geometry
from zfnet.models.layers import Conv, stage
from zfnet.sizes import Size, as_size, sides
from zfnet.validation import Channels, Side

INITS = ("paper", "he")


class ConvNet(nn.Sequential):
    """A convnet: images (B, channels, H, W) → logits (B, num_classes).

    Args:
        table: the layers, such as `ZFNET` (see `zfnet.models.architectures`).
        num_classes: number of outputs.
        image_size: of the images, in pixels: a side, or (height, width).
        channels: channels of the images.
        init: "paper" draws weights from N(0, 0.01²) (section 3), for inputs in about [-128, 128];
            "he" draws from N(0, 2 / fan-in) (He et al. 2015), for inputs of unit scale. Biases are
            0.

    Raises:
        InputError: `image_size` leaves less than 1x1 after a layer, or the channels of a layer are
            not divisible by its groups.
    """

    def __init__(
        self,
        table: Table,
        num_classes: int = 1000,
        image_size: Size = 224,
        channels: int = 3,
        init: str = "paper",
    ) -> None:
        super().__init__()
        if init not in INITS:
            raise InputError(f"model.init={init!r} is unknown: choose one of {', '.join(INITS)}")
        self.table, self.image_size = table, as_size(image_size)
        each_axis = [geometry(table, side) for side in sides(image_size)]
        self.geometry = each_axis[0]  # of the rows
        cells = math.prod(
            list(axis.values())[-1].size if axis else side
            for axis, side in zip(each_axis, sides(image_size), strict=True)
        )
        inputs, flat = channels, False
        for name, row in table.items():
            if isinstance(row, Conv):
                if inputs % row.groups or row.channels % row.groups:
                    raise InputError(
                        f"{name}: {inputs} → {row.channels} channels are not divisible by "
                        f"{row.groups} groups"
                    )
                self.add_module(name, stage(row, inputs))
                inputs = row.channels
            else:
                row = row if row.units else replace(row, units=num_classes)
                self.add_module(
                    name, stage(row, inputs if flat else inputs * cells, flatten=not flat)
                )
                inputs, flat = row.units or num_classes, True
        self.reset_parameters(init)

    def units(self, layer: str) -> str:
        """Returns the module that outputs a stage's units: conv3 → conv3.relu, fc8 → fc8.linear."""
        stage = getattr(self, layer)
        return f"{layer}.{'relu' if hasattr(stage, 'relu') else 'linear'}"

    def __getitem__(self, index: Any) -> Any:
        """Returns a stage, or for a slice an `nn.Sequential` of stages that shares their
        weights."""
        if isinstance(index, slice):
            return nn.Sequential(OrderedDict(list(self.named_children())[index]))
        return super().__getitem__(index)

    def reset_parameters(self, init: str) -> None:
        """Draws all weights again from torch's global generator and sets biases to 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                if init == "paper":
                    nn.init.normal_(module.weight, std=0.01)
                else:
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def convnet(
    architecture: str,
    num_classes: int = 1000,
    image_size: Side | Sequence[Side] = 224,
    edit: Edit | None = None,
    init: str = "paper",
    channels: Channels = 3,
) -> ConvNet:
    """Builds a convnet by name, as `model=zfnet` and `ablation=` do on the command line.

    Args:
        architecture: "zfnet" or "alexnet".
        num_classes: number of outputs.
        image_size: of the images, in pixels: a side, or (height, width).
        edit: changes to the architecture, see `apply_edit`.
        init: "paper" or "he", see `ConvNet`.
        channels: channels of the images.

    Raises:
        InputError: the architecture, the edit or the init is unknown, or the images are too small.
    """
    if architecture not in ARCHITECTURES:
        raise InputError(
            f"model.architecture={architecture!r} is unknown: choose {', '.join(ARCHITECTURES)}"
        )
    table = apply_edit(ARCHITECTURES[architecture], edit or {})
    return ConvNet(table, num_classes, as_size(image_size), channels, init)
