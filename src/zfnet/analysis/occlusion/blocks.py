"""Blocks of a chain of layers: a convolution and what follows it, on one clean image.

A change of some cells in a block's input changes some of the convolution's sums and, through the
poolings, some of its outputs. Along one axis, for a window with kernel k, stride s and padding p,
the cells a ... b change the outputs

    ceil((a + p - k + 1) / s) ... floor((b + p) / s)

    >>> from zfnet.analysis.occlusion.blocks import Span
    >>> from zfnet.deconv.rules import WindowSpec
    >>> Span(start=8, length=6).through(WindowSpec((3, 3), (2, 2)), axis=0)
    Span(start=3, length=4)
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from zfnet.deconv.rules import WindowSpec
from zfnet.deconv.steps import Step


class Span(NamedTuple):
    """Cells start ... start + length - 1 of one axis."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """The cell after the last one."""
        return self.start + self.length

    def through(self, w: WindowSpec, axis: int) -> "Span":
        """Returns the outputs of a sliding window that see any of these cells."""
        k, s, p = w.reach(axis), w.stride[axis], w.padding[axis]
        first, last = -(-(self.start + p - k + 1) // s), (self.end - 1 + p) // s
        return Span(first, last - first + 1)

    def needed(self, w: WindowSpec, axis: int) -> "Span":
        """Returns the inputs of a sliding window that these outputs see."""
        start = self.start * w.stride[axis] - w.padding[axis]
        return Span(start, (self.length - 1) * w.stride[axis] + w.reach(axis))

    def within(self, size: int) -> "Span":
        """Returns the cells that lie on a map of `size`."""
        start, end = max(self.start, 0), min(self.end, size)
        return Span(start, max(end - start, 0))


@dataclass
class Block:
    """A convolution and the steps that follow it, up to the next convolution.

    Attributes:
        first: index of the convolution in the chain.
        steps: the convolution and the steps that follow.
        sums: (1, C, H, W), the convolution's output on the clean image.
        stages: the outputs of the following steps.
    """

    first: int
    steps: list[Step]
    sums: Tensor
    stages: list[Tensor] = field(default_factory=list)

    @property
    def window(self) -> WindowSpec:
        """The window of the convolution."""
        return self.steps[0].filters[0]

    @property
    def tail(self) -> list[Step]:
        """The steps after the convolution."""
        return self.steps[1:]

    @property
    def out(self) -> Tensor:
        """The output of the block on the clean image."""
        return self.stages[-1] if self.stages else self.sums

    @property
    def pooling(self) -> WindowSpec | None:
        """The window of the block's pooling, if it has one."""
        return next((step.window for step in self.tail if step.window is not None), None)

    def spans(self, change: Span, axis: int, cut_to_map: bool) -> tuple[Span, Span, Span]:
        """Computes what a change of the input affects, along one axis.

        Args:
            change: the cells of the input that change.
            axis: 0 or 1.
            cut_to_map: whether to leave out cells beyond the border.

        Returns:
            The sums that change, these together with the sums that the pooling reads besides them,
            and the outputs that change.
        """
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

    def cost(self, cells: int) -> int:
        """Returns the number of multiplications for so many of the convolution's output cells."""
        return self.steps[0].filters[1].numel() * cells


def apply_op(step: Step, x: Tensor, padded: bool) -> Tensor:
    """Applies a step that follows a convolution to x (B, C, H, W).

    Args:
        step: a ReLU, pooling, scale or normalization.
        x: its input.
        padded: whether a pooling uses its padding and ceil mode.
    """
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
    assert step.op is not None
    return step.op(x)
