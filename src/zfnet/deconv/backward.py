"""Each unit's own part of a chain: its last convolution, what follows it, and the way down.

The last convolution is computed for the unit's own channel only, on the way up and on the way down.
The way down runs on windows, which become larger with every step. Where those of all units do not
fit the memory that is given, fewer units go on together.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from zfnet.deconv.forward import Below, apply_step, count_floats, factors, split, unpadded
from zfnet.deconv.rules import Pair, Rules
from zfnet.deconv.steps import Step
from zfnet.deconv.transposed import transpose_convolution
from zfnet.deconv.windows import beyond_border

ALL = slice(None)


class UnitPass:
    """A pass of N units of a chain.

    Args:
        steps: from the pixels up to the layer.
        rules: of the backward pass.
        below: what is below the last convolution.
        channels: int64 (N,), of the units.

    Attributes:
        activations: of the units, (N,).
    """

    def __init__(self, steps: list[Step], rules: Rules, below: Below, channels: Tensor) -> None:
        self.rules, self.below, self.channels = rules, below, channels
        self.last, self.shapes = len(below.steps), below.shapes
        above = [_of_own_channel(step, channels) for step in steps[self.last + 1 :]]
        self.steps = [*steps[: self.last + 1], *above]
        values = below.inputs()
        missing = self._missing(self.last, ALL, values.device)
        if missing is not None:
            values = values.masked_fill_(missing, 0)
        values = _convolve_own_channel(steps[self.last], values, channels)
        self._above: list[Tensor | None] = []  # what the steps above need on the way down
        for i, step in enumerate(above, self.last + 1):
            missing = self._missing(i, ALL, values.device)
            values, needed = apply_step(unpadded(step), values, missing, rules)
            self._above.append(needed)
        self.activations = values.flatten()

    def project(self, channels: int, bound: int) -> Iterator[tuple[slice, Tensor]]:
        """Passes the units' signals down to the pixels.

        Args:
            channels: of the images.
            bound: the largest number of floats below or above a step.

        Yields:
            Some of the units, and their projections (n, C, h, w).
        """
        floats = count_floats(self.steps, self.shapes, channels)
        counts = [bound // max(pair) for pair in itertools.pairwise(floats)]
        r = self.rules.initial_signal(self.activations).view(-1, 1, 1, 1)
        yield from self._down(len(self.steps) - 1, r, slice(0, len(r)), counts)

    def _down(
        self, top: int, r: Tensor, part: slice, counts: list[int]
    ) -> Iterator[tuple[slice, Tensor]]:
        """Passes R of some units down from step `top`, at most counts[i] of them through step i."""
        for i in reversed(range(top + 1)):
            if len(r) > counts[i] and len(r) > 1:
                for few in split(len(r), counts[i]):
                    those = slice(part.start + few.start, part.start + few.stop)
                    yield from self._down(i, r[few], those, counts)
                return
            r = self._backward(i, r, part)
        yield part, r

    def _backward(self, i: int, r: Tensor, part: slice) -> Tensor:
        """Passes R of some units through step i, from its output to its input. It may change R."""
        step = self.steps[i]
        if step.kind == "scale":
            scale, _ = factors(step)
            return r * (scale[part] if i > self.last else scale)
        needed = self._needed(i, part)
        if step.kind in ("relu", "activation"):
            return self.rules.backward_relu(r, needed, in_place=True)
        if step.kind == "norm" and needed is None:
            return r
        if step.kind == "norm" and needed is not None:
            assert step.op is not None
            with torch.inference_mode(False), torch.enable_grad():
                inputs = needed.clone().requires_grad_()
                return torch.autograd.grad(step.op(inputs), inputs, r.clone())[0]
        if step.kind == "conv":
            if i == self.last:
                r = _transpose_own_channel(step, r, self.channels[part], self.shapes[i])
            else:
                r = self._transpose(i, r, part)
        else:
            assert needed is not None
            pool = unpadded(step).window
            assert pool is not None
            shape = torch.Size((*r.shape[:2], *self.shapes[i]))
            r = self.rules.backward_max_pool(r, needed, shape, pool)
            if self.rules.relu == "deconv" and self.rules.normalization == "identity":
                return r  # 0 beyond the border, as R is; other rules have no slope at -∞
        missing = self._missing(i, part, r.device)
        return r if missing is None else r.masked_fill_(missing, 0)

    def _transpose(self, i: int, r: Tensor, part: slice) -> Tensor:
        """Passes R of some units through convolution i. Where all of them have 0, it is left out.

        These are rows and columns beyond the border of the map above. Units at similar positions
        have more of them in common.
        """
        step, sides = self.steps[i], [0, 0, 0, 0]  # left, right, top, bottom
        window, weight = step.filters
        for axis in (0, 1):
            length, start = self.shapes[i + 1][axis], self.below.starts[i + 1][part, axis]
            size = window.outputs(axis, step.size[axis])
            first = min(max(0, -int(start.max())), length - 1)
            end = max(min(length, size - int(start.min())), first + 1)
            r = r.narrow(2 + axis, first, end - first)
            before, after = (each * window.stride[axis] for each in (first, length - end))
            sides[2 - 2 * axis : 4 - 2 * axis] = before, after
        below = transpose_convolution(r, weight, window, step.groups)
        return F.pad(below, sides) if any(sides) else below

    def _needed(self, i: int, part: slice) -> Tensor | None:
        """Returns what some of the units kept of step i."""
        if i <= self.last:
            return None if i == self.last else self.below.needed(i, part)
        above = self._above[i - self.last - 1]
        return None if above is None else above[part]

    def _missing(self, i: int, part: slice, device: torch.device) -> Tensor | None:
        """Returns which cells before step i lie beyond the border of the map, or None."""
        step = self.steps[i]
        if step.window is None:
            return None
        return beyond_border(self.below.starts[i][part], self.shapes[i], step.size, device)


def _of_own_channel(step: Step, channels: Tensor) -> Step:
    """Returns a step above the last convolution for the channel of each unit."""
    if step.kind != "scale":
        return step
    scale, shift = (numbers[channels].unsqueeze(1) for numbers in factors(step))
    return replace(step, weight=scale, bias=shift)


def _groups(step: Step, channels: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Indexes the group that each unit sees in values (N, groups, C / groups, ...)."""
    group_size = len(step.filters[1]) // step.groups
    return torch.arange(len(channels)), channels.to(values.device) // group_size


def _convolve_own_channel(step: Step, values: Tensor, channels: Tensor) -> Tensor:
    """Computes a convolution for each unit's own channel only: (N, C, h, w) → (N, 1, h', w')."""
    w, weight = step.filters
    if step.groups > 1:
        values = values.unflatten(1, (step.groups, -1))[_groups(step, channels, values)]
    # Of shape (N, C / groups * kh * kw, cells).
    columns = F.unfold(values, w.kernel, w.dilation, 0, w.stride)
    filters = weight[channels].flatten(1)[:, None]  # (N, 1, C / groups * kh * kw)
    rows = (values.shape[2] - w.reach(0)) // w.stride[0] + 1
    out = (filters @ columns).view(len(channels), 1, rows, -1)
    return out if step.bias is None else out + step.bias[channels].view(-1, 1, 1, 1)


def _transpose_own_channel(step: Step, r: Tensor, channels: Tensor, shape: Pair) -> Tensor:
    """Passes R (N, 1, h', w') of each unit's own channel through a convolution: (N, C, *shape)."""
    w, weight = step.filters
    filters = weight[channels].flatten(1)[:, :, None]  # (N, C / groups * kh * kw, 1)
    below = F.fold(filters * r.flatten(2), shape, w.kernel, w.dilation, 0, w.stride)
    if step.groups > 1:
        whole = below.new_zeros(len(r), step.groups, *below.shape[1:])
        whole[_groups(step, channels, below)] = below
        below = whole.flatten(1, 2)
    return below.contiguous(memory_format=torch.channels_last)
