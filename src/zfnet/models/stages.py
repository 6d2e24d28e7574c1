"""Finds the stages of any network, and the block that ends each of them.

    >>> import timm
    >>> import torch
    >>> from zfnet.models.stages import stage_outputs
    >>> stage_outputs(timm.create_model("convnext_atto"), torch.zeros(1, 3, 64, 64))
    ['stages.0', 'stages.1', 'stages.2', 'stages.3']

A block is a module in a list or sequence of modules; if there are none, one whose name ends with a
number. The blocks of a stage have feature maps of one size. A network with maps of one size only,
such as a vision transformer, has one long stage, and five blocks at even distances stand for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zfnet.models.introspection import capture_outputs, eval_mode, user_module
from zfnet.models.layout import Layout
from zfnet.models.tracing import hookable
from zfnet.models.unit_axes import UnitAxes, given_axes

SHOWN = 5  # layers of a network without stages


@dataclass(frozen=True)
class LayerOutput:
    """What a module returned in one forward pass.

    Attributes:
        name: of the module.
        shape: of its output.
        axes: of its units; None if they are unknown.
        grid: (H, W) of its units.
        channels: their number.
    """

    name: str
    shape: tuple[int, ...]
    axes: UnitAxes | None
    grid: tuple[int, int] = (0, 0)
    channels: int = 0


def layer_outputs(model: nn.Module, image: Tensor) -> list[LayerOutput]:
    """Returns the output of every module that runs once and returns a tensor, in order.

    Args:
        model: any model.
        image: (1, C, H, W).

    Raises:
        InputError: the axes that were given for a module do not fit its output.
    """
    model = user_module(model)
    found: dict[str, LayerOutput | None] = {}
    modules = {name: module for name, module in hookable(model).items() if name}
    with torch.no_grad(), eval_mode(model):
        pixels = image.detach().clone()
        layout = Layout(pixels)

        def read(name: str, output: Tensor) -> None:
            axes = given_axes(name, modules[name], output) or layout.recognize(output)
            units = output if axes is None else axes.maps(output)
            alone = name not in found and units.shape[:1] == image.shape[:1]
            found[name] = _describe(name, output, axes) if alone else None

        with capture_outputs(modules, read, needed=()), layout:
            model(pixels)
    return [each for each in found.values() if each is not None]


def _describe(name: str, output: Tensor, axes: UnitAxes | None) -> LayerOutput:
    shape = tuple(output.shape)
    if axes is None:
        return LayerOutput(name, shape, None)
    _, channels, height, width = axes.maps(output).shape
    return LayerOutput(name, shape, axes, (height, width), channels)


def stage_outputs(model: nn.Module, image: Tensor, anywhere: bool = False) -> list[str]:
    """Returns the names of the blocks that end the stages of a network, in order.

    Args:
        model: any model.
        image: (1, C, H, W).
        anywhere: whether other modules with weights count as blocks if there are none in lists.

    Returns:
        At most SHOWN names; none if the network has no blocks with feature maps.
    """
    weighted = {name for name, each in model.named_modules() if _has_weights(each)}
    blocks = [
        each
        for each in layer_outputs(model, image)
        if each.axes is not None and max(each.grid) > 1 and each.name in weighted
    ]
    numbered = [each for each in blocks if each.name.rpartition(".")[2].isdecimal()]
    numbered = numbered or [each for each in blocks if each.name[-1].isdecimal()]
    blocks = numbered or (blocks if anywhere else [])
    grids = list(dict.fromkeys(each.grid for each in blocks))
    ends = []
    for grid in grids:
        names = _outermost([each for each in blocks if each.grid == grid])
        depth = min(
            name.count(".") for name in names
        )  # deeper ones begin a block of the next stage
        ends.append([name for name in names if name.count(".") == depth][-1])
    if len(ends) == 1:
        names = _outermost(blocks)
        last, count = len(names) - 1, min(SHOWN, len(names))
        ends = [names[round(i * last / max(1, count - 1))] for i in range(count)]
    return ends[-SHOWN:]


def _outermost(blocks: Sequence[LayerOutput]) -> list[str]:
    """Returns the names of the blocks that are not part of another one."""
    names = [each.name for each in blocks]
    return [
        name
        for name in names
        if not any(name.startswith(f"{other}.") for other in names if other != name)
    ]


def _has_weights(module: nn.Module) -> bool:
    """Whether a module has several weights, in modules of its own."""
    return bool(list(module.children())) and next(module.parameters(), None) is not None
