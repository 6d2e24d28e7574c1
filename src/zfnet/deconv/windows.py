"""Projects units of a chain of layers, computing only what lies in their receptive fields.

The window of a unit in every lower layer follows from arithmetic. All units of a layer have windows
of the same size, so that many units are computed as one batch. Cells of a window beyond the border
of a map do not exist: they are 0 for a convolution (its zero padding), -∞ for a pooling, and 0 in
the backward pass. The last convolution, and what follows it, is computed for the unit's own channel
only. What comes before it is computed once for all units at a position.

    chain = Chain(steps, rules)                              # steps from the pixels up to the layer
    activations, projections = chain.project(images, units)  # (N,), (N, C, h, w)
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zfnet.deconv.rules import Pair, Rules
from zfnet.deconv.steps import Step, convolve
from zfnet.deconv.transposed import transpose_convolution
from zfnet.deconv.units import Unit

MEMORY = 2**25  # floats in the windows of one batch of units: 128 MB


def cut(
    images: Tensor, which: Tensor, starts: Tensor, shape: Sequence[int], fill: float = 0.0
) -> Tensor:
    """Cuts windows out of images.

    Args:
        images: (B, C, H, W).
        which: int64 (N,), the image of each window.
        starts: int64 (N, 2), the first row and column of each window.
        shape: (h, w) of the windows.
        fill: value beyond the border.

    Returns:
        (N, C, h, w).
    """
    windows = gather_windows(images, which, starts, shape)
    outside = beyond_border(starts, shape, (images.shape[2], images.shape[3]), windows.device)
    # in place, because masked_fill with a mask of one channel changes the memory format
    return windows if outside is None else windows.masked_fill_(outside, fill)


def gather_windows(images: Tensor, which: Tensor, starts: Tensor, shape: Sequence[int]) -> Tensor:
    """Cuts windows like `cut`, but repeats the nearest cell beyond the border."""
    height, width = images.shape[2:]
    y = starts[:, 0, None] + torch.arange(shape[0])  # (N, h)
    x = starts[:, 1, None] + torch.arange(shape[1])  # (N, w)
    rows, columns = y.clamp(0, height - 1)[:, :, None], x.clamp(0, width - 1)[:, None, :]
    return images[which[:, None, None], :, rows, columns].permute(0, 3, 1, 2)  # channels last


def beyond_border(
    starts: Tensor, shape: Sequence[int], size: Pair, device: torch.device
) -> Tensor | None:
    """Returns which cells lie beyond a map of `size`, bool (N, 1, h, w); None if none does."""
    ends = starts + torch.tensor(shape)
    if not len(starts) or (int(starts.min()) >= 0 and bool((ends <= torch.tensor(size)).all())):
        return None
    inside = [
        (cells >= 0) & (cells < size[axis])
        for axis in (0, 1)
        for cells in [starts[:, axis, None] + torch.arange(shape[axis])]
    ]
    return ~(inside[0][:, None, :, None] & inside[1][:, None, None, :]).to(device)


class Chain:
    """A chain of layers, forward and backward.

    Args:
        steps: from the pixels up to the layer.
        rules: of the backward pass.
    """

    def __init__(self, steps: list[Step], rules: Rules) -> None:
        self.steps, self.rules = steps, rules
        self.last = max(i for i, step in enumerate(steps) if step.kind == "conv")

    @staticmethod
    def supports(steps: list[Step]) -> bool:
        """Whether there is a convolution, and no contrast normalization after the last one."""
        kinds = [step.kind for step in steps]
        return "conv" in kinds and "norm" not in kinds[len(kinds) - kinds[::-1].index("conv") :]

    def project(self, images: Tensor, units: Sequence[Unit]) -> tuple[Tensor, Tensor]:
        """Projects units of the last step.

        Args:
            images: (B, C, H, W).
            units: N units.

        Returns:
            Their activations (N,) and projections (N, C, h, w).
        """
        shapes = self._shapes()
        count = max(1, MEMORY // self._floats(shapes, images.shape[1]))
        with torch.inference_mode():
            parts = [
                self._project(images, units[start : start + count], shapes)
                for start in range(0, len(units), count)
            ]
        if not parts:
            return images.new_zeros(0), images.new_zeros(0, images.shape[1], *shapes[0])
        activations, projections = zip(*parts, strict=True)
        return torch.cat(activations), torch.cat(projections)

    def _floats(self, shapes: list[Pair], channels: int) -> int:
        """Returns the number of floats in all windows of one unit."""
        floats = 0
        for step, shape in zip(self.steps, shapes, strict=False):
            floats += channels * math.prod(shape)
            if step.kind == "conv" and step.weight is not None:
                channels = step.weight.shape[0]
        return floats

    def _shapes(self) -> list[Pair]:
        """Returns (h, w) of the window before each step, and after the last."""
        shapes: list[Pair] = [(1, 1)]
        for step in reversed(self.steps):
            above = shapes[0]
            if (w := step.window) is not None:
                above = tuple((above[a] - 1) * w.stride[a] + w.reach(a) for a in (0, 1))  # type: ignore[assignment]
            shapes.insert(0, above)
        return shapes

    def _starts(self, units: Sequence[Unit]) -> list[Tensor]:
        """Returns the starts (N, 2) of the windows before each step, and after the last."""
        starts = [torch.tensor([(unit.y, unit.x) for unit in units])]
        for step in reversed(self.steps):
            above = starts[0]
            if (w := step.window) is not None:
                above = above * torch.tensor(w.stride) - torch.tensor(w.padding)
            starts.insert(0, above)
        return starts

    def _project(
        self, images: Tensor, units: Sequence[Unit], shapes: list[Pair]
    ) -> tuple[Tensor, Tensor]:
        channels, rows = torch.tensor([unit.channel for unit in units]), dict[Unit, int]()
        positions = [replace(unit, channel=0) for unit in units]
        row = torch.tensor([rows.setdefault(each, len(rows)) for each in positions])
        starts = self._starts(list(rows))
        values = cut(images, torch.tensor([each.image for each in rows]), starts[0], shapes[0])
        kept: list[Any] = []
        for i, step in enumerate(self.steps):
            if i == self.last and len(rows) < len(units):
                values, starts = values[row], [each[row] for each in starts]
            missing = (
                None
                if step.window is None
                else beyond_border(starts[i], shapes[i], step.size, values.device)
            )
            if step.kind == "conv":
                if missing is not None and i > 0:
                    values = values.masked_fill_(missing, 0)
                kept.append((values.shape, missing))
                if i == self.last:
                    values = _convolve_own_channel(step, values, channels)
                else:
                    values = convolve(step, values, bias=step.bias)
            elif step.kind == "pool":
                if missing is not None:
                    values = values.masked_fill_(missing, -math.inf)
                w = step.window
                assert w is not None
                shape = values.shape
                values, switches = F.max_pool2d_with_indices(
                    values, w.kernel, w.stride, (0, 0), w.dilation
                )
                kept.append((shape, missing, switches))
            elif step.kind in ("relu", "activation"):
                op = torch.relu if step.op is None else step.op
                inputs, values = values, op(values)
                kept.append(self.rules.slope(op, inputs, values))
            elif step.kind == "scale":
                scale = _per_channel(step.weight, i > self.last, channels)
                kept.append(scale.expand(len(values), -1, -1, -1))
                values = values * scale + _per_channel(step.bias, i > self.last, channels)
            else:
                assert step.op is not None
                kept.append(values)
                values = step.op(values)
        activations = values.flatten()
        r = self.rules.initial_signal(activations).view(-1, 1, 1, 1)
        for i in reversed(range(len(self.steps))):
            if i < self.last and len(rows) < len(units):
                kept[i] = _repeat(kept[i], row)
            r = self._backward(i, r, kept[i], channels)
        return activations, r

    def _backward(self, i: int, r: Tensor, kept: Any, channels: Tensor) -> Tensor:
        """Passes R through step i, from its output to its input."""
        step = self.steps[i]
        if step.kind in ("relu", "activation"):
            return self.rules.backward_relu(r, kept)
        if step.kind == "scale":
            return r * kept
        if step.kind == "norm":
            if self.rules.normalization == "identity":
                return r
            assert step.op is not None
            with torch.inference_mode(False), torch.enable_grad():
                inputs = kept.clone().requires_grad_()
                return torch.autograd.grad(step.op(inputs), inputs, r.clone())[0]
        shape, missing = kept[:2]
        if step.kind == "pool":
            assert step.window is not None
            r = self.rules.backward_max_pool(
                r, kept[2], shape, replace(step.window, padding=(0, 0), ceil=False)
            )
        elif i == self.last:
            r = _transpose_own_channel(step, r, channels, shape)
        else:
            window, weight = step.filters
            r = transpose_convolution(r, weight, window, step.groups)
        return r if missing is None else r.masked_fill_(missing, 0)


def _repeat(kept: Any, row: Tensor) -> Any:
    """Returns what a step kept of each position, for each unit, whose position is `row` (N,)."""
    if isinstance(kept, torch.Size):
        return torch.Size((len(row), *kept[1:]))
    if isinstance(kept, tuple):
        return tuple(_repeat(each, row) for each in kept)
    return None if kept is None else kept[row.to(kept.device)]


def _per_channel(numbers: Tensor | None, own: bool, channels: Tensor) -> Tensor:
    """Returns numbers (C,) of all channels (1, C, 1, 1), or each unit's own (N, 1, 1, 1)."""
    assert numbers is not None
    return numbers[channels].view(-1, 1, 1, 1) if own else numbers.view(1, -1, 1, 1)


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


def _transpose_own_channel(step: Step, r: Tensor, channels: Tensor, shape: torch.Size) -> Tensor:
    """Passes R (N, 1, h', w') of each unit's own channel through a convolution, to `shape`."""
    w, weight = step.filters
    filters = weight[channels].flatten(1)[:, :, None]  # (N, C / groups * kh * kw, 1)
    below = F.fold(filters * r.flatten(2), shape[2:], w.kernel, w.dilation, 0, w.stride)
    if step.groups == 1:
        return below
    whole = below.new_zeros(shape).unflatten(1, (step.groups, -1))
    whole[_groups(step, channels, below)] = below
    return whole.flatten(1, 2)
