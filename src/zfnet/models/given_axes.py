"""Axes of layers that the user gives, where they cannot be recognized.

    >>> from torch import nn
    >>> from zfnet.deconv import Deconvnet
    >>> from zfnet.models import set_axes
    >>> convolution = nn.Conv2d(3, 8, 4, stride=4)
    >>> model = nn.Sequential(convolution, nn.Flatten(2), nn.Linear(48, 48), nn.ReLU())
    >>> set_axes(model, "3", "BCT@6x8")  # 8 channels of 6 rows of 8 tokens
    >>> Deconvnet(model).units("3", (24, 32))
    (8, 6, 8)

They are an attribute of the layer's module. Copies of the model have them too, its state dict does
not. A Deconvnet notices that they changed.
"""

from torch import nn

from zfnet.models.introspection import find_modules
from zfnet.models.unit_axes import ATTRIBUTE, parse_axes


def set_axes(model: nn.Module, layer: str, axes: str) -> None:
    """Says which axes of a layer's output are channels and positions, for a model of any layout.

    From then on, everything that reads units of this layer uses these axes, also where others would
    be recognized. Unless they agree with what is recognized, it is unknown which pixels a unit
    sees, and its window is the whole image.

    Args:
        model: any model. The layer's module is marked; its output stays the same.
        layer: name of a layer.
        axes: "BCHW" or "BHWC" for maps, "BC" for vectors, "BTC", "BCT" or "TBC" for tokens. Tokens
            have a grid: "BTC@14x14" are 14 rows of 14 tokens. "BTC@1+14x14" has one more token
            before the grid, "BTC@14x14+2" has two after it.

    Raises:
        InputError: the layer is unknown, or the axes cannot be read. Whatever reads the layer later
            raises it if its output has another number of axes or tokens.
    """
    module = find_modules(model, [layer])[layer]
    setattr(module, ATTRIBUTE, str(parse_axes(axes)))
