"""Which channels of a layer feed a unit of the layer above it, and by how much.

The contribution of a channel below is the sum over its positions of its activation times the unit's
gradient. Between two layers of the paper's networks there is one convolution, so a contribution is
the sum of weights times activations. Positive contributions excite the unit, and negative ones
inhibit it. Contrast normalization counts as the identity, as in the deconvnet.

    >>> import torch
    >>> from zfnet.analysis import Connections
    >>> from zfnet.deconv import Unit
    >>> from zfnet.models import ZFNET, ConvNet
    >>> net, images = ConvNet(ZFNET, num_classes=10, image_size=64), torch.randn(2, 3, 64, 64)
    >>> connections = Connections(net, ["conv1", "conv2"], images)
    >>> found = connections.contributions(images, {"conv2": [Unit(0, 7, 3, 3)]})
    >>> found["conv2"].shape  # units of conv2, channels of conv1
    torch.Size([1, 96])

If the layers are a chain of convolutions, ReLUs and poolings, only the windows that the units see
of the layer below are computed. Their values come from the windows that the units see of the image,
or from a forward pass of the whole image, whichever takes fewer multiplications.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from zfnet.deconv import Unit, Window
from zfnet.deconv.chain import CACHE, Chain
from zfnet.deconv.forward import count_floats, multiplications, run_windows
from zfnet.deconv.mode import DeconvMode
from zfnet.deconv.patches import paste
from zfnet.deconv.rules import Rules
from zfnet.deconv.steps import Step
from zfnet.deconv.tracing import ForwardTrace, traced_forward
from zfnet.deconv.windows import cut, window_shapes, window_starts
from zfnet.errors import InputError
from zfnet.models.introspection import (
    capture_outputs,
    eval_mode,
    find_modules,
    in_run_order,
    user_module,
)
from zfnet.models.unit_axes import UnitAxes

GRADIENT = Rules("gradient", seed="one", others="gradient")


class Connections:
    """The connections between layers of a network.

    Args:
        model: any network.
        layers: names of layers, in the order in which they run.
        images: (B, C, H, W), of the size of all others.

    Raises:
        InputError: a layer does not run exactly once, its axes are unknown, or it runs before the
            layer that is named before it.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], images: Tensor) -> None:
        self.model, self.layers = user_module(model), list(layers)
        self._modules = find_modules(model, layers)
        if in_run_order(self.model, layers, images[:1]) != self.layers:
            raise InputError(f"layers={self.layers}: give them in the order in which they run")
        traced = ForwardTrace(model, DeconvMode(GRADIENT), images[:1], self.layers)
        self._axes = traced.axes
        chains = [traced.path(layer).chain for layer in layers]
        self._segments = [_steps_between(lower, upper) for lower, upper in pairwise(chains)]
        self._chains = [chain or [] for chain in chains]

    def contributions(
        self, images: Tensor, units: Mapping[str, Sequence[Unit]], windows: bool = True
    ) -> dict[str, Tensor]:
        """Computes what each channel of the layer below contributes to units.

        Args:
            images: (B, C, H, W).
            units: N units of each of the layers, except for the first.
            windows: whether to compute windows only, where this is possible. Otherwise autograd
                runs, which gives the same.

        Returns:
            For each layer of `units` the contributions (N, channels of the layer below). They are 0
            for a unit that is not active, or does not depend on the layer below.
        """
        if not windows or None in self._segments:
            return self._by_autograd(images, units)
        if self._windows_are_less_work(len(images), units):
            return self._by_windows(images, units)
        return self._by_maps(images, units)

    def _windows_are_less_work(self, images: int, units: Mapping[str, Sequence[Unit]]) -> bool:
        """Whether the windows of units take fewer multiplications than so many images."""
        whole = sum(_multiplications_of_map(step) for step in self._chains[-1])
        work = 0
        for upper, (below, steps) in zip(self.layers[1:], pairwise(self._chains), strict=True):
            window = multiplications(below, window_shapes(steps))
            work += len(units.get(upper, ())) * window
        return work < images * whole

    def _by_windows(self, images: Tensor, units: Mapping[str, Sequence[Unit]]) -> dict[str, Tensor]:
        found = {}
        pairs = zip(self.layers[1:], pairwise(self._chains), self._segments, strict=True)
        for upper, (below, steps), segment in pairs:
            if upper in units:
                lower = _below_units(images, below, steps, units[upper])
                own = [replace(unit, image=row) for row, unit in enumerate(units[upper])]
                found[upper] = _from_windows(lower, segment or [], own)
        return found

    def _by_maps(self, images: Tensor, units: Mapping[str, Sequence[Unit]]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        values: dict[str, Tensor] = {}

        def read(layer: str, output: Tensor) -> bool:
            values[layer] = self._axes[layer].maps(output).clone()
            return layer == self.layers[-1]

        with (
            torch.no_grad(),
            eval_mode(self.model),
            capture_outputs(self._modules, read),
        ):
            self.model(images)
        pairs = zip(pairwise(self.layers), self._segments, strict=True)
        for (lower, upper), segment in pairs:
            if upper in units:
                found[upper] = _from_windows(values[lower], segment or [], units[upper])
        return found

    def _by_autograd(
        self, images: Tensor, units: Mapping[str, Sequence[Unit]]
    ) -> dict[str, Tensor]:
        reached: dict[str, tuple[GradientEdge, Tensor]] = {}

        def read(layer: str, output: Tensor) -> bool:
            reached[layer] = get_gradient_edge(output), output.detach().clone()
            return layer == self.layers[-1]

        mode = DeconvMode(GRADIENT)
        with traced_forward(self.model, mode, images, self._modules, read) as (_, inputs):
            self.model(inputs)
        found = {}
        for lower, upper in pairwise(self.layers):
            if upper in units:
                ends = (*reached[upper], self._axes[upper], *reached[lower], self._axes[lower])
                found[upper] = _from_gradients(*ends, units[upper])
        return found


def _steps_between(lower: list[Step] | None, upper: list[Step] | None) -> list[Step] | None:
    """Returns the steps from one layer to the next, if they are a chain."""
    if lower is None or upper is None or len(lower) >= len(upper):
        return None
    same = all(one is other for one, other in zip(lower, upper, strict=False))
    steps = [step.now() for step in upper[len(lower) :]]
    return steps if same and Chain.supports(steps) else None


def _multiplications_of_map(step: Step) -> int:
    """Returns the multiplications of a convolution of the whole image, otherwise 0."""
    if step.kind != "conv":
        return 0
    window, weight = step.filters
    return math.prod(window.outputs(axis, step.size[axis]) for axis in (0, 1)) * weight.numel()


def _below_units(
    images: Tensor, below: list[Step], steps: list[Step], units: Sequence[Unit]
) -> Tensor:
    """Computes what each unit sees of a layer.

    Args:
        images: (B, C, H, W).
        below: the chain of the layer.
        steps: the chain of the N units.
        units: N units.

    Returns:
        For each unit the layer's values (N, C, H, W), which are 0 where the unit does not see them.
    """
    which, starts = torch.tensor([unit.image for unit in units]), window_starts(steps, units)
    shapes, rules = window_shapes(steps), Rules()
    at_once = CACHE // max(count_floats(below, shapes, images.shape[1]))
    now = [step.now() for step in below]
    with torch.no_grad():
        values, _ = run_windows(now, rules, images, which, starts, shapes, at_once)
    corners, (height, width) = starts[len(below)].tolist(), shapes[len(below)]
    windows = [Window(y, x, y + height, x + width) for y, x in corners]
    size = next(step.size for step in steps[len(below) :] if step.window is not None)
    return paste(values, windows, size)


def _from_windows(lower: Tensor, steps: list[Step], units: Sequence[Unit]) -> Tensor:
    """Returns contributions (N, C) of the values below (B, C, H, W) by the windows of units."""
    activations, gradients = Chain(steps, GRADIENT).project(lower, units)
    which = torch.tensor([unit.image for unit in units])
    starts, shape = window_starts(steps, units)[0], window_shapes(steps)[0]
    contributions = (gradients * cut(lower, which, starts, shape)).sum((2, 3))
    return contributions * (activations > 0)[:, None]


def _from_gradients(
    edge: GradientEdge,
    values: Tensor,
    axes: UnitAxes,
    edge_below: GradientEdge,
    values_below: Tensor,
    axes_below: UnitAxes,
    units: Sequence[Unit],
) -> Tensor:
    """Returns contributions (N, C) of the layer below by the gradients of units.

    Each backward pass takes one unit of each image.
    """
    lower = axes_below.maps(values_below)
    result = lower.new_zeros(len(units), lower.shape[1])
    for turn in turns_of([unit.image for unit in units]):
        chosen = [units[place] for place in turn]
        where = torch.tensor([(unit.image, unit.channel, unit.y, unit.x) for unit in chosen])
        start = torch.zeros_like(values)
        active = axes.maps(values)[where.unbind(1)] > 0
        axes.maps(start)[where.unbind(1)] = active.to(start.dtype)
        (gradient,) = torch.autograd.grad(
            edge, edge_below, start, retain_graph=True, allow_unused=True
        )
        if gradient is not None:
            each = (axes_below.maps(gradient) * lower).sum((2, 3))
            result[turn] = each[where[:, 0]]
    return result


def turns_of(images: Sequence[int]) -> list[list[int]]:
    """Divides places so that each image occurs once in a turn.

    Example:
        >>> turns_of([5, 5, 7, 5])
        [[0, 2], [1], [3]]
    """
    seen, turns = dict[int, int](), list[list[int]]()
    for place, image in enumerate(images):
        turn = seen[image] = seen.get(image, -1) + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(place)
    return turns
