"""One forward pass with the rules swapped in, and what it says about a layer.

with traced_forward(model, DeconvMode(rules), images, modules, read) as (pixels, inputs):
    model(inputs)
plan_of(model, rules, image, "conv3").window(unit)
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from zfnet.deconv.dependence import Dependence
from zfnet.deconv.graph import Path, find_trouble, on_path, trace_graph
from zfnet.deconv.rules import Pair, Rules
from zfnet.deconv.swapping import DeconvMode
from zfnet.deconv.units import Unit, Window
from zfnet.errors import InputError, one_line
from zfnet.models.eager import not_checkpointed
from zfnet.models.introspection import capture_outputs, eval_mode, find_modules, plain_name, user_module
from zfnet.models.layout import Layout


@contextmanager
def traced_forward(
    model: nn.Module,
    mode: DeconvMode,
    images: Tensor,
    modules: dict[str, nn.Module],
    read: Callable[[str, Tensor], bool | None],
    needed: Collection[str] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Everything set for one pass: a leaf of autograd's graph, and its copy, which the model may overwrite.

    What `read` gets has a `mode.dependence` that knows all of it.
    """
    with torch.inference_mode(False), torch.enable_grad(), eval_mode(model), not_checkpointed():
        pixels = images.detach().clone().requires_grad_()
        mode.dependence = dependence = Dependence(pixels)

        def informed(layer: str, output: Tensor) -> bool | None:
            dependence.mark()
            node: Any = output.grad_fn
            if node is not None and (reason := dependence.hidden(output)):
                node.metadata.setdefault("gate", reason)
            return read(layer, output)

        with capture_outputs(modules, informed, needed), mode, dependence:
            yield pixels, pixels.clone()
            dependence.mark()


class Traced:
    """A pass through the whole model, read at some layers: `nodes[layer]`, `values[layer]`, `name(node)`.

    InputError for a layer that does not run exactly once, or that has no units.
    """

    def __init__(self, model: nn.Module, mode: DeconvMode, images: Tensor, layers: list[str]) -> None:
        model = user_module(model)
        self.modules = dict(model.named_modules())
        names = {module: name for name, module in self.modules.items()}
        targets = {layer: names[module] for layer, module in find_modules(model, layers).items()}
        self.values: dict[str, Tensor] = {}
        self._places: dict[Any, str] = {}
        edges: dict[str, list[Any]] = {layer: [] for layer in layers}
        layout: list[Layout] = []

        def read(name: str, output: Tensor) -> None:
            if output.grad_fn is not None:
                self._places.setdefault(output.grad_fn, name)
            for layer in (layer for layer, target in targets.items() if target == name):
                layout[0].check(layer, output)
                if len(output) != len(images):
                    raise InputError(
                        f"layer {layer!r} gives values of shape {tuple(output.shape)} for {len(images)} images: "
                        "units are (B, maps, H, W)"
                    )
                edges[layer].append(get_gradient_edge(output).node if output.requires_grad else None)
                self.values[layer] = output.detach().clone()

        with traced_forward(model, mode, images, self.modules, read, set(targets.values())) as (
            pixels,
            inputs,
        ):
            try:
                with Layout(inputs) as axes:
                    layout.append(axes)
                    model(inputs)
            except RuntimeError as error:
                if not all(edges.values()):  # what comes behind the layers need not fit this size of image
                    raise _unfit(model, images, error) from error
        dependence = mode.dependence
        assert dependence is not None
        self.nodes = {layer: self._path(layer, found, pixels, dependence) for layer, found in edges.items()}

    def _path(
        self, layer: str, found: list[Any], pixels: Tensor, dependence: Dependence
    ) -> list[tuple[Any, list[Any]]]:
        if len(found) != 1:
            raise InputError(
                f"layer {layer!r} runs {len(found)} times in one pass: name a module that runs once"
            )
        if (shape := self.values[layer].shape) and len(shape) not in (2, 4):
            raise InputError(
                f"layer {layer!r} gives values of shape {tuple(shape)}: units are (B, maps, H, W)"
            )
        if found[0] is None:
            raise InputError(
                f"layer {layer!r} does not depend on the pixels by a gradient: it has no deconvnet"
            )
        return on_path(found[0], pixels, dependence.depends)

    def name(self, node: Any) -> str:
        """The module whose output a node made, or "" inside of one."""
        return self._places.get(node, "")

    def troubles(self, layer: str) -> list[str]:
        """What has no deconvnet between a layer and the pixels: "features.1 (GELU): gelu"."""
        result = []
        for node, inputs in self.nodes[layer]:
            if what := find_trouble(node, inputs):
                name = self.name(node)
                shown = plain_name(name)
                result.append(
                    f"{shown} ({type(self.modules[name]).__name__}): {what}" if name else f"{layer}: {what}"
                )
        return result


@dataclass(frozen=True)
class Plan:
    """A layer of the model as it is, for images of one size."""

    layer: str
    size: Pair
    path: Path
    units: tuple[int, int, int]  # maps, rows, columns

    def window(self, unit: Unit) -> Window:
        rows, columns = (
            field.cells(index, size)
            for field, index, size in zip(self.path.fields, (unit.y, unit.x), self.size, strict=True)
        )
        return Window(rows.start, columns.start, rows.stop, columns.stop)

    def patch(self, unit: Unit) -> Window:
        """Its window, and the whole side of the image where the window is no smaller."""
        window = self.window(unit)
        if self.path.fields[0].field >= self.size[0]:
            window = window._replace(top=0, bottom=self.size[0])
        if self.path.fields[1].field >= self.size[1]:
            window = window._replace(left=0, right=self.size[1])
        return window


def plan_of(model: nn.Module, rules: Rules, image: Tensor, layer: str) -> Plan:
    """The plan of a layer for images like `image` (1, C, H, W); InputError when it has no deconvnet."""
    passed = Traced(model, DeconvMode(rules), image, [layer])
    if rules.others == "refuse" and (troubles := passed.troubles(layer)):
        raise InputError(
            f"{troubles[0]} has no deconvnet, which knows ReLU, max pooling, contrast normalisation and what is "
            "linear; others='gradient' lets its gradient through"
        )
    maps, *rest = passed.values[layer].shape[1:]
    size = (image.shape[2], image.shape[3])
    return Plan(layer, size, trace_graph(passed.nodes[layer]), (maps, *(rest or (1, 1))))


def _unfit(model: nn.Module, images: Tensor, error: RuntimeError) -> InputError:
    return InputError(
        f"{type(model).__name__} does not take images of shape {tuple(images.shape)}: {one_line(error)}"
    )
