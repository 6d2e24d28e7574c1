"""A convolution that passes R down only from where R is not 0.

The signal of one unit starts in one cell, and the window that it has reached grows on the way down.
Everywhere else R is 0, and so is what the transposed convolution makes of it.

>>> import torch
>>> from zfnet.deconv.convolution import find_boxes
>>> r = torch.zeros(1, 1, 5, 6)
>>> r[0, 0, 2, 3:5] = 1
>>> find_boxes(r)
([(2, 3)], (1, 2))
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.grad import conv2d_input

from zfnet.deconv.patches import paste_into
from zfnet.deconv.rules import Pair
from zfnet.deconv.steps import Step, convolve
from zfnet.deconv.transposed import is_faster, transpose_convolution
from zfnet.deconv.units import Window

MANY = 32  # multiplications for each number of R: with fewer, a box takes longer than it saves
WORTH = 2**21  # and for each image
WORTH_1X1 = 2**24  # where a convolution is a matrix product, which torch is fast at
DENSE = 0.7  # of the cells: with more of them, the whole map is faster


def is_worth(step: Step) -> bool:
    """Whether `Convolve` is faster than torch for a convolution, on a CPU."""
    window, weight = step.filters
    if is_faster(weight, window, step.groups):
        return True
    return step.groups == 1 and weight[0].numel() >= MANY


class Convolve(torch.autograd.Function):
    """A convolution of the values that depend on the pixels with fixed weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Step) -> Tensor:
        """Returns the output of the convolution."""
        ctx.step, ctx.shape = step, x.shape
        window, _ = step.filters
        return convolve(step, x, window.padding, step.bias)

    @staticmethod
    def backward(ctx: Any, r: Tensor) -> tuple[Tensor, None]:
        """Passes R down."""
        window, weight = ctx.step.filters
        weight, size = weight.to(r.dtype), (r.shape[2], r.shape[3])
        least = WORTH_1X1 if window.kernel == (1, 1) else WORTH
        whole = r.is_cuda or r[0].numel() * weight[0].numel() < least
        starts, shape = ([(0, 0)] * len(r), size) if whole else find_boxes(r)
        dense = math.prod(shape) >= DENSE * math.prod(size)
        if dense and not is_faster(weight, window, ctx.step.groups):
            args = (window.stride, window.padding, window.dilation, ctx.step.groups)
            return conv2d_input(ctx.shape, weight, r, *args), None
        height, width = shape
        parts = [
            one[:, y : y + height, x : x + width] for one, (y, x) in zip(r, starts, strict=True)
        ]
        boxes = r if shape == size else torch.stack(parts)
        below = transpose_convolution(boxes, weight, window, ctx.step.groups)
        windows = []
        for start in starts:
            top, left = (start[a] * window.stride[a] - window.padding[a] for a in (0, 1))
            windows.append(Window(top, left, top + below.shape[2], left + below.shape[3]))
        layout = torch.contiguous_format
        if r.is_contiguous(memory_format=torch.channels_last):
            layout = torch.channels_last
        result = torch.empty(ctx.shape, dtype=r.dtype, device=r.device, memory_format=layout)
        paste_into(result.zero_(), below, windows)
        return result, None


def find_boxes(r: Tensor) -> tuple[list[Pair], Pair]:
    """Finds a box for each map, of one size for all, outside which it is 0.

    Args:
        r: (N, C, H, W).

    Returns:
        The first row and column of each box, and (height, width) of all boxes.
    """
    cells = (r.amax(1) != 0) | (r.amin(1) != 0)  # (N, H, W)
    spans = []
    for lines in (cells.any(2), cells.any(1)):
        size = lines.shape[1]
        firsts = lines.byte().argmax(1)
        ends = torch.where(lines.any(1), size - lines.flip(1).byte().argmax(1), 1)
        length = int((ends - firsts).max())
        spans.append((firsts.clamp(max=size - length).tolist(), length))
    (tops, height), (lefts, width) = spans
    return list(zip(tops, lefts, strict=True)), (height, width)
