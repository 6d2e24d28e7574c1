"""The windowed way through a chain: a unit sees only its receptive field, so only that is computed.

For each unit the window of every layer is known by arithmetic, and has the same size for all units of a
layer: many units go through as one batch. Cells of a window that lie beyond the border of their map do not
exist: they are 0 for a convolution (its zero padding), -∞ for a pooling, and 0 on the way down. The last
convolution, and what follows it, is computed for the unit's own map only.

    chain = Chain(steps, rules)                             # steps: from the pixels up to the layer
    activations, pictures = chain.project(images, units)    # (N,), (N, 3, h, w)
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zfnet.deconv.rules import Pair, Rules
from zfnet.deconv.swapping import Step
from zfnet.deconv.transposed import transpose_convolution
from zfnet.deconv.units import Unit

MEMORY = 2**25  # floats that the windows of one batch of units fill: 128 MB


def cut(images: Tensor, which: Tensor, starts: Tensor, shape: Sequence[int], fill: float = 0.0) -> Tensor:
    """Windows of `shape` at `starts` (N, 2) from images[which]: (N, C, h, w), `fill` beyond the border."""
    windows = gather_windows(images, which, starts, shape)
    outside = beyond_border(starts, shape, (images.shape[2], images.shape[3]), windows.device)
    # in place: a masked_fill by a mask of one channel gives another memory format
    return windows if outside is None else windows.masked_fill_(outside, fill)


def gather_windows(images: Tensor, which: Tensor, starts: Tensor, shape: Sequence[int]) -> Tensor:
    """Windows as `cut` gives them, with the nearest cell beyond the border."""
    height, width = images.shape[2:]
    y = starts[:, 0, None] + torch.arange(shape[0])  # (N, h)
    x = starts[:, 1, None] + torch.arange(shape[1])  # (N, w)
    rows, columns = y.clamp(0, height - 1)[:, :, None], x.clamp(0, width - 1)[:, None, :]
    return images[which[:, None, None], :, rows, columns].permute(0, 3, 1, 2)  # channels last


def beyond_border(starts: Tensor, shape: Sequence[int], size: Pair, device: torch.device) -> Tensor | None:
    """Cells of windows that a map of `size` does not have, (N, 1, h, w); None when it has them all."""
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
    """The steps from the pixels up to a layer, and back."""

    def __init__(self, steps: list[Step], rules: Rules) -> None:
        self.steps, self.rules = steps, rules
        self.last = max(i for i, step in enumerate(steps) if step.kind == "conv")

    @staticmethod
    def takes(steps: list[Step]) -> bool:
        """Whether each map has a way of its own behind the last convolution: no normalisation across maps there."""
        kinds = [step.kind for step in steps]
        return "conv" in kinds and "norm" not in kinds[len(kinds) - kinds[::-1].index("conv") :]

    def project(self, images: Tensor, units: Sequence[Unit]) -> tuple[Tensor, Tensor]:
        """Activations (N,) and pictures (N, 3, h, w) of units of the last step."""
        shapes = self._shapes()
        count = max(1, MEMORY // self._floats(shapes, images.shape[1]))
        with torch.inference_mode():
            parts = [
                self._project(images, units[start : start + count], shapes)
                for start in range(0, len(units), count)
            ]
        if not parts:
            return images.new_zeros(0), images.new_zeros(0, images.shape[1], *shapes[0])
        activations, pictures = zip(*parts, strict=True)
        return torch.cat(activations), torch.cat(pictures)

    def _floats(self, shapes: list[Pair], channels: int) -> int:
        """What the windows of one unit hold, all that come into a step."""
        floats = 0
        for step, shape in zip(self.steps, shapes, strict=False):
            floats += channels * math.prod(shape)
            if step.kind == "conv" and step.weight is not None:
                channels = step.weight.shape[0]
        return floats

    def _shapes(self) -> list[Pair]:
        """Rows and columns of the window that comes into each step, and out of the last."""
        shapes: list[Pair] = [(1, 1)]
        for step in reversed(self.steps):
            above = shapes[0]
            if (w := step.window) is not None:
                above = tuple((above[a] - 1) * w.stride[a] + w.reach(a) for a in (0, 1))  # type: ignore[assignment]
            shapes.insert(0, above)
        return shapes

    def _starts(self, units: Sequence[Unit]) -> list[Tensor]:
        """Where the window that comes into each step starts, (N, 2), and where the unit is."""
        starts = [torch.tensor([(unit.y, unit.x) for unit in units])]
        for step in reversed(self.steps):
            above = starts[0]
            if (w := step.window) is not None:
                above = above * torch.tensor(w.stride) - torch.tensor(w.padding)
            starts.insert(0, above)
        return starts

    def _project(self, images: Tensor, units: Sequence[Unit], shapes: list[Pair]) -> tuple[Tensor, Tensor]:
        starts, maps = self._starts(units), torch.tensor([unit.channel for unit in units])
        values = cut(images, torch.tensor([unit.image for unit in units]), starts[0], shapes[0])
        kept: list[Any] = []
        for i, step in enumerate(self.steps):
            missing = (
                None if step.window is None else beyond_border(starts[i], shapes[i], step.size, values.device)
            )
            if step.kind == "conv":
                if missing is not None and i > 0:
                    values = values.masked_fill_(missing, 0)
                kept.append((values.shape, missing))
                values = _one_map(step, values, maps) if i == self.last else _convolved(step, values)
            elif step.kind == "pool":
                if missing is not None:
                    values = values.masked_fill_(missing, -math.inf)
                w = step.window
                assert w is not None
                shape = values.shape
                values, switches = F.max_pool2d_with_indices(values, w.kernel, w.stride, (0, 0), w.dilation)
                kept.append((shape, missing, switches))
            elif step.kind == "relu":
                values = values.clamp(min=0)
                kept.append(values > 0 if self.rules.asks_for_active else None)
            elif step.kind == "scale":
                kept.append(_of(step.weight, i > self.last, maps))
                values = values * kept[-1] + _of(step.bias, i > self.last, maps)
            else:
                assert step.again is not None
                kept.append((values, step.again))
                values = step.again(values)
        activations = values.flatten()
        r = self.rules.seeded(activations).view(-1, 1, 1, 1)
        for i in reversed(range(len(self.steps))):
            r = self._down(i, r, kept[i], maps)
        return activations, r

    def _down(self, i: int, r: Tensor, kept: Any, maps: Tensor) -> Tensor:
        """R below step i from R above it."""
        step = self.steps[i]
        if step.kind == "relu":
            return self.rules.rectified(r, kept)
        if step.kind == "scale":
            return r * kept
        if step.kind == "norm":
            if self.rules.normalisation == "identity":
                return r
            values, again = kept
            with torch.inference_mode(False), torch.enable_grad():
                inputs = values.clone().requires_grad_()
                return torch.autograd.grad(again(inputs), inputs, r.clone())[0]
        shape, missing = kept[:2]
        if step.kind == "pool":
            assert step.window is not None
            r = self.rules.unpooled(r, kept[2], shape, replace(step.window, padding=(0, 0), ceil=False))
        elif i == self.last:
            r = _one_map_back(step, r, maps, shape)
        else:
            w = step.window
            assert w is not None
            assert step.weight is not None
            r = transpose_convolution(r, step.weight, w, step.groups)
        return r if missing is None else r.masked_fill_(missing, 0)


def _convolved(step: Step, values: Tensor) -> Tensor:
    assert step.window is not None
    assert step.weight is not None
    return F.conv2d(values, step.weight, step.bias, step.window.stride, 0, step.window.dilation, step.groups)


def _of(numbers: Tensor | None, one_map: bool, maps: Tensor) -> Tensor:
    """Numbers of all maps (1, C, 1, 1), or of each unit's own (N, 1, 1, 1)."""
    assert numbers is not None
    return numbers[maps].view(-1, 1, 1, 1) if one_map else numbers.view(1, -1, 1, 1)


def _groups(step: Step, maps: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Which units, and which group of the maps that come in (N, groups, C / groups, ...) each unit sees."""
    assert step.weight is not None
    return torch.arange(len(maps)), maps.to(values.device) // (step.weight.shape[0] // step.groups)


def _one_map(step: Step, values: Tensor, maps: Tensor) -> Tensor:
    """The convolution for one map of each unit: (N, C, h, w) → (N, 1, h', w')."""
    w = step.window
    assert w is not None
    assert step.weight is not None
    if step.groups > 1:
        values = values.unflatten(1, (step.groups, -1))[_groups(step, maps, values)]
    columns = F.unfold(values, w.kernel, w.dilation, 0, w.stride)  # (N, C / groups * kh * kw, cells)
    filters = step.weight[maps].flatten(1)[:, None]  # (N, 1, C / groups * kh * kw)
    rows = (values.shape[2] - w.reach(0)) // w.stride[0] + 1
    out = (filters @ columns).view(len(maps), 1, rows, -1)
    return out if step.bias is None else out + step.bias[maps].view(-1, 1, 1, 1)


def _one_map_back(step: Step, r: Tensor, maps: Tensor, shape: torch.Size) -> Tensor:
    """R (N, 1, h', w') of one map of each unit → below the convolution, `shape` (N, C, h, w)."""
    w = step.window
    assert w is not None
    assert step.weight is not None
    filters = step.weight[maps].flatten(1)[:, :, None]  # (N, C / groups * kh * kw, 1)
    below = F.fold(filters * r.flatten(2), shape[2:], w.kernel, w.dilation, 0, w.stride)
    if step.groups == 1:
        return below
    whole = below.new_zeros(shape).unflatten(1, (step.groups, -1))
    whole[_groups(step, maps, below)] = below
    return whole.flatten(1, 2)
