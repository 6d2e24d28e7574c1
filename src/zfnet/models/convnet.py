"""One convnet for every row of Table 3: named stages from a table.

    net = ConvNet(ZFNET, num_classes=1000)              # 224x224 images
    logits = net(images)                                # (B, 3, 224, 224) → (B, 1000)
    layer2 = net[:2](images)                            # (B, 256, 13, 13): stages are a Sequential
    net.conv3.conv.weight                               # (384, 256, 3, 3)

`init="paper"` draws weights from N(0, 0.01²) (section 3) for inputs in about [-128, 128]; `init="he"`
draws from N(0, 2 / fan-in) (He et al. 2015) for inputs of unit scale. Biases start at 0.
"""

from collections import OrderedDict
from dataclasses import replace
from typing import Any

from torch import nn

from zfnet.errors import InputError
from zfnet.models.architectures import ARCHITECTURES, Edit, Table, apply_edit
from zfnet.models.geometry import geometry
from zfnet.models.layers import Conv, stage

INITS = ("paper", "he")


class ConvNet(nn.Sequential):
    """(B, channels, image_size, image_size) → logits (B, num_classes).

    Raises InputError when `image_size` leaves less than 1x1 after a layer, or a width does not divide into
    a layer's groups.
    """

    def __init__(
        self,
        table: Table,
        num_classes: int = 1000,
        image_size: int = 224,
        channels: int = 3,
        init: str = "paper",
    ) -> None:
        super().__init__()
        if init not in INITS:
            raise InputError(f"model.init={init!r} is unknown: choose one of {', '.join(INITS)}")
        self.table, self.image_size = table, image_size
        self.geometry = geometry(table, image_size)
        side = list(self.geometry.values())[-1].size if self.geometry else image_size
        inputs, flat = channels, False
        for name, row in table.items():
            if isinstance(row, Conv):
                if inputs % row.groups or row.maps % row.groups:
                    raise InputError(
                        f"{name}: {inputs} → {row.maps} maps do not split into {row.groups} groups"
                    )
                self.add_module(name, stage(row, inputs))
                inputs = row.maps
            else:
                row = row if row.units else replace(row, units=num_classes)
                self.add_module(name, stage(row, inputs if flat else inputs * side**2, flatten=not flat))
                inputs, flat = row.units or num_classes, True
        self.reset_parameters(init)

    def units(self, layer: str) -> str:
        """The module whose output are a stage's units: conv3 → conv3.relu, fc8 → fc8.linear."""
        stage = getattr(self, layer)
        return f"{layer}.{'relu' if hasattr(stage, 'relu') else 'linear'}"

    def __getitem__(self, index: Any) -> Any:
        """One stage, or the stages of a slice as a plain Sequential that shares their weights."""
        if isinstance(index, slice):
            return nn.Sequential(OrderedDict(list(self.named_children())[index]))
        return super().__getitem__(index)

    def reset_parameters(self, init: str) -> None:
        """Draws all weights again from torch's global generator; biases become 0."""
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
    image_size: int = 224,
    edit: Edit | None = None,
    init: str = "paper",
) -> ConvNet:
    """A net by name, edited: what `model=zfnet`, `model=alexnet` and `ablation=` of the command line build."""
    if architecture not in ARCHITECTURES:
        raise InputError(f"model.architecture={architecture!r} is unknown: choose {', '.join(ARCHITECTURES)}")
    return ConvNet(apply_edit(ARCHITECTURES[architecture], edit or {}), num_classes, image_size, init=init)
