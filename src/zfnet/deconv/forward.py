"""The forward pass of a chain below its last convolution, and what the backward pass needs of it.

It runs on windows of the images, one for each unit, or once on whole images. Windows overlap: many
units of an image cost less from the whole image. Their windows are then cut out of what it kept,
such as the switches of a pooling. Both give the same values. Cells of a window beyond the border of
a map do not exist: they are 0 for a convolution, which is its zero padding, and -∞ for a pooling.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from zfnet.deconv.rules import Pair, Rules
from zfnet.deconv.steps import Step, convolve
from zfnet.deconv.windows import beyond_border, cut, gather_windows

Run = tuple[Tensor, list[Tensor | None]]  # values above some steps, and what each of them kept


@dataclass(frozen=True)
class Below:
    """What is below the last convolution of a chain, for N units.

    Attributes:
        steps: below that convolution.
        values: its input, (B, C, h, w), of windows or of whole images.
        kept: what the backward pass needs of each step: the switches of a pooling, the slope of a
            rectifier, the input of a normalization; None if it needs nothing.
        rows: int64 (N,), the row of each unit in `values`.
        starts: of the units' windows before each step of the whole chain, and after its last.
        shapes: of these windows.
        whole: whether `values` are those of whole images.
    """

    steps: list[Step]
    values: Tensor
    kept: list[Tensor | None]
    rows: Tensor
    starts: list[Tensor]
    shapes: list[Pair]
    whole: bool

    def inputs(self) -> Tensor:
        """Returns the units' windows of `values`, (N, C, h, w), with anything beyond the border."""
        return self._windows(self.values, len(self.steps), slice(None))

    def needed(self, i: int, part: slice) -> Tensor | None:
        """Returns what the backward pass of some of the units needs of step i."""
        if (kept := self.kept[i]) is None:
            return None
        windows = self._windows(kept, i + 1, part)
        if self.steps[i].kind != "pool" or not self.whole:
            return windows
        # The cells that switches point at are numbered in the image, with rows as long as a window.
        starts = self.starts[i][part]
        first = starts[:, 0] * self.shapes[i][1] + starts[:, 1]
        windows -= first.view(-1, 1, 1, 1).to(windows.device)
        size = (kept.shape[2], kept.shape[3])
        outside = beyond_border(self.starts[i + 1][part], self.shapes[i + 1], size, windows.device)
        # Switches beyond the border are never used.
        return windows if outside is None else windows.masked_fill_(outside, 0)

    def _windows(self, values: Tensor, i: int, part: slice) -> Tensor:
        rows = self.rows[part]
        if self.whole:
            return gather_windows(values, rows, self.starts[i][part], self.shapes[i])
        return values[rows.to(values.device)]


def run_windows(
    steps: list[Step],
    rules: Rules,
    images: Tensor,
    which: Tensor,
    starts: list[Tensor],
    shapes: list[Pair],
    at_once: int,
) -> Run:
    """Runs steps on windows of images.

    Args:
        steps: from the pixels up.
        rules: of the backward pass.
        images: (B, C, H, W).
        which: int64 (N,), the image of each window.
        starts: of the windows before each step.
        shapes: of the windows before each step.
        at_once: the number of windows that run together.

    Returns:
        The values above the steps (N, C, h, w), and what each step kept, see `Below`.
    """
    runs = []
    for part in split(len(which), at_once):
        values, kept = cut(images, which[part], starts[0][part], shapes[0]), list[Tensor | None]()
        for i, step in enumerate(steps):
            missing = None
            if step.window is not None:
                missing = beyond_border(starts[i][part], shapes[i], step.size, values.device)
            values, needed = apply_step(unpadded(step), values, missing, rules)
            kept.append(needed)
        runs.append((values, kept))
    return _join(runs)


def run_images(
    steps: list[Step], rules: Rules, images: Tensor, shapes: list[Pair], at_once: int
) -> Run:
    """Runs steps on whole images.

    Args:
        steps: from the pixels up.
        rules: of the backward pass.
        images: (B, C, H, W).
        shapes: of the windows before each step, which will be cut out of what is kept.
        at_once: the number of images that run together.

    Returns:
        The values above the steps (B, C, h, w), and what each step kept, see `Below`.
    """
    runs = []
    for part in split(len(images), at_once):
        values = images[part].clone(memory_format=torch.channels_last)
        kept = list[Tensor | None]()
        for step, (_, width) in zip(steps, shapes, strict=False):
            columns = values.shape[3]
            values, needed = apply_step(step, values, None, rules)
            if step.kind == "pool" and needed is not None:
                needed = needed // columns * width + needed % columns
            kept.append(needed)
        runs.append((values, kept))
    return _join(runs)


def _join(runs: list[Run]) -> Run:
    if len(runs) == 1:
        return runs[0]
    kept = [
        torch.cat([tensor for tensor in each if tensor is not None])
        if each[0] is not None
        else None
        for each in zip(*(kept for _, kept in runs), strict=True)
    ]
    return torch.cat([values for values, _ in runs]), kept


def split(count: int, at_most: int) -> list[slice]:
    """Splits items into parts of almost equal size.

    Args:
        count: the number of items.
        at_most: the largest number of items in a part; if less than 1, it is 1.

    Example:
        >>> split(7, at_most=3)
        [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    """
    parts = -(-count // max(1, at_most))
    ends = [count * i // parts for i in range(parts + 1)] if parts else []
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


def unpadded(step: Step) -> Step:
    """Returns a step without padding, for windows that hold the cells beyond the border."""
    if step.window is None:
        return step
    return replace(step, window=replace(step.window, padding=(0, 0), ceil=False))


def apply_step(
    step: Step, values: Tensor, missing: Tensor | None, rules: Rules
) -> tuple[Tensor, Tensor | None]:
    """Applies a step, with its own padding. It may overwrite `values`.

    Args:
        step: the step.
        values: its input (N, C, h, w).
        missing: bool (N, 1, h, w), the cells that do not exist; None if all do.
        rules: of the backward pass.

    Returns:
        Its output, and what the backward pass needs, see `Below`.
    """
    w = step.window
    if w is not None and missing is not None:
        values = values.masked_fill_(missing, 0 if step.kind == "conv" else -math.inf)
    if w is not None and step.kind == "conv":
        return convolve(step, values, w.padding, step.bias), None
    if w is not None:
        return F.max_pool2d_with_indices(values, w.kernel, w.stride, w.padding, w.dilation, w.ceil)
    if step.kind == "relu":
        values = values.relu_()
        return values, rules.slope(torch.relu, values, values)
    if step.kind == "scale":
        scale, shift = factors(step)
        return values * scale + shift, None
    assert step.op is not None
    out = step.op(values)
    if step.kind == "activation":
        return out, rules.slope(step.op, values, out)
    return out, None if rules.normalization == "identity" else values


def factors(step: Step) -> tuple[Tensor, Tensor]:
    """Returns the scale and the shift of a "scale", (C, 1, 1) each, or as they are if not (C,)."""
    assert step.weight is not None
    assert step.bias is not None
    if step.weight.dim() > 1:
        return step.weight, step.bias
    return step.weight.view(-1, 1, 1), step.bias.view(-1, 1, 1)


def multiplications(steps: Sequence[Step], sizes: Sequence[Pair]) -> int:
    """Returns the number of multiplications in the convolutions of a forward pass.

    Args:
        steps: of a chain.
        sizes: (h, w) before each step, and after the last.
    """
    return sum(
        math.prod(size) * step.filters[1].numel()
        for step, size in zip(steps, sizes[1:], strict=False)
        if step.kind == "conv"
    )


def count_floats(steps: Sequence[Step], sizes: Sequence[Pair], channels: int) -> list[int]:
    """Returns the number of floats in the values before each step, and after the last.

    Args:
        steps: of a chain.
        sizes: (h, w) before each step, and after the last.
        channels: of the images.
    """
    floats = [channels * math.prod(sizes[0])]
    for step, size in zip(steps, sizes[1:], strict=False):
        channels = len(step.filters[1]) if step.kind == "conv" else channels
        floats.append(channels * math.prod(size))
    return floats
