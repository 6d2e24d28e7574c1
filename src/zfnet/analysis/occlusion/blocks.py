"""The trunk of a net as blocks: a convolution and what follows it up to the next, on one clean picture.

A change of some cells that come into a block touches some of its sums and, through its poolings, some of its
output. Along one axis, for a window of kernel k, stride s, padding p, cells a ... b touch

    ceil((a + p - k + 1) / s) ... floor((b + p) / s)

    Block(...).spans(Span(start=8, length=6), axis=0, cut_to_map=True)      # touched sums, read sums, output
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from zfnet.deconv.rules import Pair, WindowSpec
from zfnet.deconv.swapping import Step


class Span(NamedTuple):
    """Cells start ... start + length - 1 of one axis."""

    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length

    def through(self, w: WindowSpec, axis: int) -> "Span":
        """The cells above a sliding window that see any of these."""
        k, s, p = w.reach(axis), w.stride[axis], w.padding[axis]
        first, last = -(-(self.start + p - k + 1) // s), (self.end - 1 + p) // s
        return Span(first, last - first + 1)

    def needed(self, w: WindowSpec, axis: int) -> "Span":
        """The cells below a sliding window that these see."""
        start = self.start * w.stride[axis] - w.padding[axis]
        return Span(start, (self.length - 1) * w.stride[axis] + w.reach(axis))

    def within(self, size: int) -> "Span":
        start, end = max(self.start, 0), min(self.end, size)
        return Span(start, max(end - start, 0))


@dataclass
class Block:
    """A convolution with what follows it up to the next, and what they make of the clean picture."""

    first: int  # of its steps, in the trunk
    steps: list[Step]
    sums: Tensor  # P, (1, C, H, W)
    stages: list[Tensor] = field(default_factory=list)  # after each step of the tail

    @property
    def window(self) -> WindowSpec:
        window = self.steps[0].window
        assert window is not None
        return window

    @property
    def tail(self) -> list[Step]:
        return self.steps[1:]

    @property
    def out(self) -> Tensor:
        return self.stages[-1] if self.stages else self.sums

    @property
    def pooling(self) -> WindowSpec | None:
        return next((step.window for step in self.tail if step.window is not None), None)

    def spans(self, change: Span, axis: int, cut_to_map: bool) -> tuple[Span, Span, Span]:
        """What a change of the input touches: of the sums; the same with what the pooling reads beside it; of the
        output."""
        touched = change.through(self.window, axis)
        if cut_to_map:
            touched = touched.within(self.sums.shape[2 + axis])
        if self.pooling is None:
            return touched, touched, touched
        out = touched.through(self.pooling, axis)
        if cut_to_map:
            out = out.within(self.out.shape[2 + axis])
        if not out.length:
            return touched, touched, out
        read = out.needed(self.pooling, axis)
        return touched, Span(read.start, max(read.end, touched.end) - read.start), out


def convolve(step: Step, x: Tensor, padding: Pair, bias: Tensor | None = None) -> Tensor:
    assert step.window is not None
    assert step.weight is not None
    return F.conv2d(x, step.weight, bias, step.window.stride, padding, step.window.dilation, step.groups)


def apply_op(step: Step, x: Tensor, padded: bool) -> Tensor:
    """A step behind a convolution; a pooling pads its windows, and hangs over, only where `padded`."""
    if step.kind == "relu":
        return x.clamp(min=0)
    if step.kind == "pool":
        w = step.window
        assert w is not None
        if not padded:
            return F.max_pool2d(x, w.kernel, w.stride, 0, w.dilation)
        return F.max_pool2d(x, w.kernel, w.stride, w.padding, w.dilation, w.ceil)
    if step.kind == "scale":
        assert step.weight is not None
        assert step.bias is not None
        return x * step.weight.view(1, -1, 1, 1) + step.bias.view(1, -1, 1, 1)
    assert step.again is not None
    return step.again(x)
