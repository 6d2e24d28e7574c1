"""Analyzes a layer by a traced forward pass: its window, its chain, and what has no deconvnet.

>>> import torch
>>> from zfnet.deconv import Unit
>>> from zfnet.deconv.rules import Rules
>>> from zfnet.deconv.tracing import make_plan
>>> from zfnet.models import ZFNET, ConvNet
>>> plan = make_plan(ConvNet(ZFNET, 10, 64), Rules(), torch.zeros(1, 3, 64, 64), "conv2")
>>> plan.units
(256, 6, 6)
>>> plan.window(Unit(image=0, channel=0, y=1, x=1))
Window(top=7, left=7, bottom=34, right=34)
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from zfnet.deconv.crops import gives_same_values
from zfnet.deconv.dependence import Dependence
from zfnet.deconv.graph import Field, Path, find_trouble, nodes_on_path, trace_graph
from zfnet.deconv.mode import DeconvMode
from zfnet.deconv.nodes import mark_pixels
from zfnet.deconv.rules import Pair, Rules
from zfnet.deconv.units import Unit, Window
from zfnet.errors import InputError, one_line
from zfnet.models.eager import disable_checkpointing
from zfnet.models.introspection import (
    capture_outputs,
    eval_mode,
    find_modules,
    plain_name,
    user_module,
)
from zfnet.models.layout import Layout
from zfnet.models.unit_axes import UnitAxes


@contextmanager
def traced_forward(
    model: nn.Module,
    mode: DeconvMode,
    images: Tensor,
    modules: dict[str, nn.Module],
    read: Callable[[str, Tensor], bool | None],
    needed: Collection[str] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Prepares a forward pass under `mode`, which the block runs.

    Args:
        model: any model.
        mode: receives the pass's `dependence`.
        images: (B, C, H, W).
        modules: layer name → module.
        read: see `capture_outputs`.
        needed: see `capture_outputs`.

    Yields:
        A leaf of autograd's graph, and a copy of it as input of the model, which may overwrite it.
    """
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        eval_mode(model),
        disable_checkpointing(),
    ):
        pixels = images.detach().clone().requires_grad_()
        mode.dependence = dependence = Dependence(pixels)

        def mark_and_read(layer: str, output: Tensor) -> bool | None:
            dependence.mark()
            node: Any = output.grad_fn
            if node is not None and (reason := dependence.hidden(output)):
                node.metadata.setdefault("gate", reason)
            return read(layer, output)

        with capture_outputs(modules, mark_and_read, needed), mode, dependence:
            inputs = pixels.clone()
            mark_pixels(inputs)
            yield pixels, inputs
            dependence.mark()


class ForwardTrace:
    """One forward pass of the whole model.

    Args:
        model: any model.
        mode: the rules.
        images: (B, C, H, W).
        layers: names of layers.

    Attributes:
        values: the output of each layer, (B, C, H, W).
        axes: the axes of each layer's units, recognized or given.
        nodes: the nodes between each layer and the pixels, see `nodes_on_path`.

    Raises:
        InputError: a layer does not run exactly once, or has no units.
    """

    def __init__(
        self, model: nn.Module, mode: DeconvMode, images: Tensor, layers: list[str]
    ) -> None:
        model = user_module(model)
        self.modules = dict(model.named_modules())
        names = {module: name for name, module in self.modules.items()}
        targets = {layer: names[module] for layer, module in find_modules(model, layers).items()}
        self.values: dict[str, Tensor] = {}
        self.axes: dict[str, UnitAxes] = {}
        self._recognized: dict[str, bool] = {}
        self._names: dict[Any, str] = {}
        edges: dict[str, list[Any]] = {layer: [] for layer in layers}
        layout: list[Layout] = []

        def read(name: str, output: Tensor) -> None:
            if output.grad_fn is not None:
                self._names.setdefault(output.grad_fn, name)
            for layer in (layer for layer, target in targets.items() if target == name):
                layout[0].mark()
                self.axes[layer] = layout[0].find(layer, output, self.modules[name])
                self._recognized[layer] = self.axes[layer] == layout[0].recognize(output)
                self.values[layer] = self.axes[layer].maps(output.detach().clone())
                if len(self.values[layer]) != len(images):
                    raise InputError(
                        f"layer {layer!r} gives values of shape {tuple(output.shape)} for "
                        f"{len(images)} images: "
                        "units are (B, C, H, W)"
                    )
                edges[layer].append(
                    get_gradient_edge(output).node if output.requires_grad else None
                )

        with traced_forward(model, mode, images, self.modules, read, set(targets.values())) as (
            pixels,
            inputs,
        ):
            try:
                with Layout(inputs) as axes:
                    layout.append(axes)
                    model(inputs)
                    axes.mark()
            except RuntimeError as error:
                if not all(edges.values()):  # later modules need not accept this image size
                    raise InputError(
                        f"{type(model).__name__} does not take images of shape "
                        f"{tuple(images.shape)}: "
                        f"{one_line(error)}"
                    ) from error
        dependence = mode.dependence
        assert dependence is not None
        self.nodes = {
            layer: self._path(layer, found, pixels, dependence) for layer, found in edges.items()
        }

    def _path(
        self, layer: str, found: list[Any], pixels: Tensor, dependence: Dependence
    ) -> list[tuple[Any, list[Any]]]:
        if len(found) != 1:
            raise InputError(
                f"layer {layer!r} runs {len(found)} times in one pass: name a module that runs once"
            )
        if found[0] is None:
            raise InputError(
                f"layer {layer!r} does not depend on the pixels by a gradient: it has no deconvnet"
            )
        return nodes_on_path(found[0], pixels, dependence.depends)

    def path(self, layer: str) -> Path:
        """Returns the path from a layer to the pixels.

        The graph says what a unit sees if its position is that which the layout recognizes. If
        other axes were given, every unit counts as seeing the whole image.
        """
        path = trace_graph(self.nodes[layer])
        if self._recognized[layer]:
            return path
        whole = Field(whole=True)
        return replace(path, fields=(whole, whole), chain=None, local=False)

    def name(self, node: Any) -> str:
        """Returns the module whose output a node computed, or "" inside a module."""
        return self._names.get(node, "")

    def troubles(self, layer: str) -> list[str]:
        """Lists what has no deconvnet below a layer, such as "features.1 (GELU): gelu"."""
        result = []
        for node, inputs in self.nodes[layer]:
            if what := find_trouble(node, inputs):
                name = self.name(node)
                where = (
                    f"{plain_name(name)} ({type(self.modules[name]).__name__})" if name else layer
                )
                result.append(f"{where}: {what}")
        return result


@dataclass(frozen=True)
class Plan:
    """How a layer is projected, for images of one size.

    Attributes:
        layer: its name.
        size: (H, W) of the images.
        path: from the layer to the pixels.
        units: channels, rows and columns of its units.
        axes: of its output.
        croppable: whether units may be projected from crops of the image.
    """

    layer: str
    size: Pair
    path: Path
    units: tuple[int, int, int]
    axes: UnitAxes
    croppable: bool

    def window(self, unit: Unit) -> Window:
        """Returns the pixels that a unit sees."""
        rows, columns = (
            field.cells(index, size)
            for field, index, size in zip(
                self.path.fields, (unit.y, unit.x), self.size, strict=True
            )
        )
        return Window(rows.start, columns.start, rows.stop, columns.stop)

    def patch(self, unit: Unit) -> Window:
        """Returns the window of a unit, or the whole image along axes where that is not larger."""
        window = self.window(unit)
        if self.path.fields[0].field >= self.size[0]:
            window = window._replace(top=0, bottom=self.size[0])
        if self.path.fields[1].field >= self.size[1]:
            window = window._replace(left=0, right=self.size[1])
        return window

    def cell(self, unit: Unit) -> Window | None:
        """Returns the pixels at a unit's own position, or None for units without a position."""
        _, rows, columns = self.units
        if rows == columns == 1:
            return None
        (top, bottom), (left, right) = (
            field.cell(index, count, size)
            for field, index, count, size in zip(
                self.path.fields, (unit.y, unit.x), (rows, columns), self.size, strict=True
            )
        )
        return Window(top, left, bottom, right)


def make_plan(model: nn.Module, rules: Rules, image: Tensor, layer: str) -> Plan:
    """Plans the projection of a layer.

    Args:
        model: any model.
        rules: of the backward pass.
        image: (1, C, H, W).
        layer: name of a layer.

    Raises:
        InputError: the layer has no deconvnet.
    """
    passed = ForwardTrace(model, DeconvMode(rules), image, [layer])
    if rules.others == "refuse" and (troubles := passed.troubles(layer)):
        raise InputError(
            f"{troubles[0]} has no deconvnet, which knows ReLU, max pooling, contrast "
            "normalization and linear "
            "operations; others='gradient' uses its gradient instead"
        )
    channels, rows, columns = passed.values[layer].shape[1:]
    size = (image.shape[2], image.shape[3])
    path = passed.path(layer)
    axes = passed.axes[layer]
    croppable = (
        path.chain is None
        and path.local
        and any(field.field < side for field, side in zip(path.fields, size, strict=True))
        and gives_same_values(model, layer, image, path, axes)
    )
    return Plan(layer, size, path, (channels, rows, columns), axes, croppable)
