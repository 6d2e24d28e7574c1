"""Autograd functions whose backward passes are the rules of the deconvnet.

>>> import torch
>>> from zfnet.deconv.functions import MaxPool
>>> from zfnet.deconv.rules import Rules, WindowSpec
>>> pixels = torch.tensor([[[[1.0, 3.0, 2.0]]]], requires_grad=True)
>>> window = WindowSpec(kernel=(1, 2))
>>> pooled, switches = MaxPool.apply(pixels, window, Rules())
>>> torch.autograd.grad(pooled, pixels, torch.ones_like(pooled))
(tensor([[[[0., 2., 0.]]]]),)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zfnet.deconv.activations import Rectifier
from zfnet.deconv.rules import Rules, WindowSpec

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Switch:
    """An operation with switches.

    Attributes:
        x: its input that R reaches.
        linear: what R passes through on the way down, linear in x.
        op: the operation; None if it is `linear`.
        rule: the name of its extended rule; None if it has no such rule.
        in_place: whether the operation overwrites x.
        pointwise: whether each element of the result is computed from the same element of x.
        local: whether the switches at a position depend on that position only.
        returns: makes what the call returns of the result, such as a pair with indices; None if it
            returns the result.
    """

    x: Tensor
    linear: Map
    op: Map | None = None
    rule: str | None = None
    in_place: bool = False
    pointwise: bool = False
    local: bool = False
    returns: Callable[[Tensor], Any] | None = None


class Rectify(torch.autograd.Function):
    """Any rectifier. On the way down, R passes as the rules say."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rectifier: Rectifier, rules: Rules) -> Tensor:
        """Returns the rectifier's output."""
        in_place = rectifier.in_place and rectifier.is_relu  # without a copy
        out = torch.relu_(x) if in_place else rectifier.op(x)
        ctx.rules, ctx.slope = rules, rectifier.slope
        if ctx.slope is None:
            ctx.slope = rules.slope(rectifier.op, x, out)
        if rectifier.in_place:
            ctx.mark_dirty(x)
        if rectifier.in_place and not in_place:
            return x.copy_(out)
        return out

    @staticmethod
    def backward(ctx: Any, r: Tensor) -> tuple[Tensor, None, None]:
        """Passes R down."""
        return ctx.rules.backward_relu(r, ctx.slope), None, None


class ApplySwitch(torch.autograd.Function):
    """Computes the operation of a `Switch`. On the way down, R passes through `linear`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, switch: Switch) -> Tensor:
        """Returns the operation's output."""
        with torch.enable_grad():
            inputs = x.detach().requires_grad_()
            ctx.linear = inputs, switch.linear(inputs)
        out = switch.op(x) if switch.op is not None else ctx.linear[1].detach().clone()
        if switch.in_place:
            ctx.mark_dirty(x)
            return x.copy_(out)
        return out

    @staticmethod
    def backward(ctx: Any, r: Tensor) -> tuple[Tensor, None]:
        """Passes R down."""
        inputs, outputs = ctx.linear
        return torch.autograd.grad(outputs, inputs, r, retain_graph=True)[0], None


class Scale(torch.autograd.Function):
    """A batch norm by fixed statistics. On the way down, R is multiplied by γ/σ of each channel.

    This is what autograd computes too, in three times the time on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, op: Map, scale: Tensor) -> Tensor:
        """Returns the output of the batch norm."""
        ctx.scale = scale.view(-1, *(1,) * (x.dim() - 2))
        return op(x)

    @staticmethod
    def backward(ctx: Any, r: Tensor) -> tuple[Tensor, None, None]:
        """Passes R down."""
        return (r * ctx.scale).to(r.dtype), None, None


class MaxPool(torch.autograd.Function):
    """Max pooling. On the way down, R passes by the switches, as the rules say."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: WindowSpec, rules: Rules) -> tuple[Tensor, Tensor]:
        """Returns the maxima and the switches."""
        out, switches = F.max_pool2d_with_indices(
            x, window.kernel, window.stride, window.padding, window.dilation, window.ceil
        )
        ctx.mark_non_differentiable(switches)
        ctx.switches, ctx.shape, ctx.window, ctx.rules = switches, x.shape, window, rules
        return out, switches

    @staticmethod
    def backward(ctx: Any, r: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        """Passes R down."""
        return ctx.rules.backward_max_pool(r, ctx.switches, ctx.shape, ctx.window), None, None
