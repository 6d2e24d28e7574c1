"""The operations of a chain, as recorded in a forward pass: their windows and weights.

>>> import torch
>>> from zfnet.deconv.steps import linear_step
>>> image, weight = torch.zeros(1, 3, 8, 8), torch.zeros(4, 3, 5, 5)
>>> step = linear_step(torch.conv2d, (image, weight, None, 2), {"padding": 1})
>>> step.kind, step.window.kernel, step.window.stride, step.window.padding
('conv', (5, 5), (2, 2), (1, 1))
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zfnet.deconv.rules import Pair, WindowSpec


@dataclass(frozen=True)
class Step:
    """One operation of a forward pass.

    Attributes:
        kind: conv, pool, relu, activation, norm, scale, average or pad.
        window: its sliding window, if it has one.
        weight: for conv (out, in / groups, kh, kw), for scale (C,).
        bias: for conv (out,), for scale (C,).
        groups: for conv.
        op: for activation and norm, the operation itself.
        size: (height, width) of the input.
        scaling: for scale, computes the current weight and bias.
    """

    kind: str
    window: WindowSpec | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None
    groups: int = 1
    op: Callable[[Tensor], Tensor] | None = None
    size: Pair = (0, 0)
    scaling: Callable[[], tuple[Tensor, Tensor]] | None = None

    @property
    def filters(self) -> tuple[WindowSpec, Tensor]:
        """The window and the weight of a convolution."""
        assert self.window is not None
        assert self.weight is not None
        return self.window, self.weight

    def now(self) -> "Step":
        """Returns the step with the model's current weights.

        Only a scale has to be computed again. Other weights share memory with the model's own.
        """
        if self.scaling is None:
            return self
        weight, bias = self.scaling()
        return replace(self, weight=weight, bias=bias)


def convolve(step: Step, x: Tensor, padding: Pair = (0, 0), bias: Tensor | None = None) -> Tensor:
    """Applies a convolution to x (B, C, H, W), with this padding and bias instead of its own."""
    w, weight = step.filters
    return F.conv2d(x, weight, bias, w.stride, padding, w.dilation, step.groups)


def linear_step(func: Any, args: Any, kwargs: Any) -> Step | None:
    """Returns the step of a linear operation with a window or a scale, otherwise None."""
    name = getattr(func, "__name__", "")
    if func is torch.conv2d:
        return _conv_step(args, kwargs)
    if name == "avg_pool2d":
        kernel = pair(argument(args, kwargs, 1, "kernel_size"))
        stride = argument(args, kwargs, 2, "stride")
        padding = pair(argument(args, kwargs, 3, "padding", 0))
        window = WindowSpec(kernel, pair(stride) if stride else kernel, padding)
        return Step("average", window, size=spatial_size(argument(args, kwargs, 0, "input")))
    if name == "pad" and argument(args, kwargs, 2, "mode", "constant") == "constant":
        sides = argument(args, kwargs, 1, "pad")  # left, right, top, bottom
        if len(sides) == 4 and not argument(args, kwargs, 3, "value"):
            window = WindowSpec((1, 1), padding=(sides[2], sides[0]))
            return Step("pad", window, size=spatial_size(argument(args, kwargs, 0, "input")))
    if func is F.batch_norm:
        names = (
            "input",
            "running_mean",
            "running_var",
            "weight",
            "bias",
            "training",
            "momentum",
            "eps",
        )
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        return (
            None
            if given.get("training")
            else Step("scale", scaling=_batch_norm_scaling(given)).now()
        )
    return None


def _conv_step(args: Any, kwargs: Any) -> Step | None:
    weight, bias = argument(args, kwargs, 1, "weight"), argument(args, kwargs, 2, "bias")
    stride = pair(argument(args, kwargs, 3, "stride", 1))
    dilation = pair(argument(args, kwargs, 5, "dilation", 1))
    kernel = pair(tuple(weight.shape[2:]))
    padding = argument(args, kwargs, 4, "padding", 0)
    if isinstance(padding, str):
        total = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
        if padding == "same" and any(each % 2 for each in total):
            return None  # more padding on one side than on the other
        padding = [each // 2 for each in total] if padding == "same" else 0
    return Step(
        "conv",
        WindowSpec(kernel, stride, pair(padding), dilation),
        weight.detach(),
        None if bias is None else bias.detach(),
        argument(args, kwargs, 6, "groups", 1),
        size=spatial_size(argument(args, kwargs, 0, "input")),
    )


def _batch_norm_scaling(given: dict[str, Any]) -> Callable[[], tuple[Tensor, Tensor]]:
    """Returns a function that computes the scale and shift, (C,) each, of a batch norm."""
    mean, variance, eps = given["running_mean"], given["running_var"], given.get("eps", 1e-5)
    gamma, beta = (
        None if given.get(name) is None else given[name].detach() for name in ("weight", "bias")
    )

    def scaling() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            scale = (variance + eps).rsqrt() if gamma is None else (variance + eps).rsqrt() * gamma
            return scale, -mean * scale if beta is None else beta - mean * scale

    return scaling


def argument(args: Any, kwargs: Any, position: int, name: str, default: Any = None) -> Any:
    """Returns an argument of a call, given by position or by name."""
    return args[position] if len(args) > position else kwargs.get(name, default)


def pair(value: Any) -> Pair:
    """Returns (vertical, horizontal) of a number or a sequence, as torch's functions take them."""
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def spatial_size(x: Tensor) -> Pair:
    """Returns (height, width)."""
    return (x.shape[-2], x.shape[-1])
