"""Finds the axis of a layer's channels: axis 1 in (B, C, H, W), the last one in (B, H, W, C).

The shape alone does not tell. `Layout` follows the axes of the images through the operations of one
forward pass: a convolution puts channels on axis 1, a permutation moves them, and a linear layer
creates new channels on the last axis.

    >>> import torch
    >>> from torch import nn
    >>> from zfnet.models.layout import Layout
    >>> images = torch.zeros(2, 3, 8, 8)
    >>> with Layout(images) as layout:
    ...     output = nn.Conv2d(3, 4, 3)(images)
    >>> layout.check("conv", output)
    >>> with Layout(images) as layout:
    ...     output = images.permute(0, 2, 3, 1) + 1
    >>> layout.check("permuted", output)
    Traceback (most recent call last):
    zfnet.errors.InputError: layer 'permuted' gives (2, 8, 8, 3) in the order (B, H, W, C), ...
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from zfnet.errors import InputError

# The parts of an axis, outermost first: their kind (batch, channels, space) and their size.
Axis = tuple[tuple[str, int], ...]
BATCH, CHANNELS, SPACE = "batch", "channels", "space"

CHANNELS_FIRST = {  # operations whose results have their channels on axis 1
    "convolution", "convolution_overrideable", "mkldnn_convolution", "avg_pool1d", "avg_pool2d",
    "avg_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices", "_adaptive_avg_pool2d",
    "adaptive_avg_pool2d", "adaptive_max_pool2d", "max_unpool2d", "grid_sampler_2d",
    "pixel_shuffle", "pixel_unshuffle", "upsample_nearest2d", "_upsample_nearest_exact2d",
    "upsample_bilinear2d", "upsample_bicubic2d", "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa", "native_batch_norm", "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "native_group_norm",
    "_batch_norm_with_update", "_batch_norm_no_update",
}  # fmt: skip
# The position of the first factor.
PRODUCTS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1, "linear": 0, "matmul": 0}
VIEWS = {"view", "_unsafe_view", "reshape", "_reshape_alias", "_reshape_copy", "view_copy"}


class Layout(TorchDispatchMode):
    """Follows the axes of all tensors that are computed from `images` (B, C, H, W)."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self._axes = WeakTensorKeyDictionary()
        self._axes[images] = _default_axes(images)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        name = func._schema.name.split("::")[-1]
        known = [tensor for tensor in tensors if tensor in self._axes]
        for result in tree_leaves(out):
            if not isinstance(result, Tensor):
                continue
            if name in CHANNELS_FIRST and result.dim() > 2:
                self._axes[result] = _default_axes(result)
            elif known and (axes := self._infer(name, args, known, result)) is not None:
                self._axes[result] = axes
        return out

    def check(self, layer: str, output: Tensor) -> None:
        """Checks that a layer's output (B, C) or (B, C, H, W) has its channels on axis 1.

        Raises:
            InputError: the channels are on another axis, or their axis is unknown.
        """
        if output.dim() != 4:
            return
        axes = self._axes.get(output)
        kinds = [{kind for kind, _ in axis} for axis in axes] if axes is not None else None
        shape = tuple(output.shape)
        if (
            kinds
            and kinds[3] == {CHANNELS}
            and CHANNELS not in kinds[1]
            and SPACE in kinds[1] | kinds[2]
        ):
            raise InputError(
                f"layer {layer!r} gives {shape} in the order (B, H, W, C), channels last: only (B, "
                "C, H, W) "
                "is supported; name a layer after a permutation to that order"
            )
        if kinds is None or not (
            (CHANNELS in kinds[1] or not kinds[1]) and all(SPACE in k or not k for k in kinds[2:])
        ):
            raise InputError(
                f"layer {layer!r} gives {shape}, and which axis holds its channels cannot be "
                "established: "
                "name a layer that gives the feature maps of a convolution, (B, C, H, W)"
            )

    def _infer(
        self, name: str, args: Sequence[Any], known: list[Tensor], out: Tensor
    ) -> list[Axis] | None:
        """Infers the axes of an operation's result from tensors with `known` axes, if possible."""
        first = known[0]
        axes: list[Axis] = self._axes[first]
        if name in PRODUCTS:
            return self._product(args[PRODUCTS[name]], args[PRODUCTS[name] + 1], name, out)
        if name in VIEWS:
            return _regroup(axes, out.shape)
        if name in ("permute", "permute_copy"):
            return [axes[i] for i in args[1]]
        if name in ("transpose", "transpose_", "t", "numpy_T"):
            i, j = args[1:3] if len(args) > 2 else (0, 1)
            order = list(range(len(axes)))
            if len(order) > 1:
                order[i], order[j] = order[j], order[i]
            return [axes[i] for i in order]
        if name in ("unsqueeze", "unsqueeze_"):
            place = args[1] % (len(axes) + 1)
            return [*axes[:place], (), *axes[place:]]
        if name.startswith("squeeze"):
            return _regroup(axes, out.shape)
        if out.dim() == len(axes) - 1 and name in (
            "select",
            "mean",
            "sum",
            "amax",
            "unbind",
            "max",
            "min",
        ):
            return _remove_axis(axes, args)
        operands = [self._axes[tensor] for tensor in known if tensor.dim() == out.dim()]
        if not operands or out.dim() < len(axes):
            return None
        return [_resize([each[i] for each in operands], size) for i, size in enumerate(out.shape)]

    def _product(self, left: Tensor, right: Tensor, name: str, out: Tensor) -> list[Axis] | None:
        """Infers the axes of a product: the weight's side becomes channels, the other stays."""
        axes, other = self._axes.get(left), self._axes.get(right)
        if axes is not None and len(axes) == out.dim():
            last = (
                other[-1]
                if other is not None and name != "linear"
                else _axis(CHANNELS, out.shape[-1])
            )
            return [*axes[:-1], last]
        if axes is None and other is not None and len(other) == out.dim() > 1:
            return [*other[:-2], _axis(CHANNELS, out.shape[-2]), other[-1]]
        return None


def _axis(kind: str, size: int) -> Axis:
    return ((kind, size),) if size > 1 else ()


def _default_axes(tensor: Tensor) -> list[Axis]:
    kinds = (BATCH, CHANNELS, *(SPACE,) * (tensor.dim() - 2))
    return [_axis(kind, size) for kind, size in zip(kinds, tensor.shape, strict=False)]


def _resize(candidates: list[Axis], size: int) -> Axis:
    """Returns the parts of an axis of a new size: those of an operand of this size, if any."""
    for axis in candidates:
        if math.prod(count for _, count in axis) == size:
            return axis
    kinds = {kind for axis in candidates for kind, _ in axis}
    return _axis(kinds.pop() if len(kinds) == 1 else "", size)


def _remove_axis(axes: list[Axis], args: Sequence[Any]) -> list[Axis] | None:
    given = args[1] if len(args) > 1 else 0
    places = [given] if isinstance(given, int) else list(given or ())
    return (
        [axis for i, axis in enumerate(axes) if i != places[0] % len(axes)]
        if len(places) == 1
        else None
    )


def _regroup(axes: list[Axis], shape: Sequence[int]) -> list[Axis] | None:
    """Distributes the parts of all axes over those of a view; None if one cannot be divided."""
    parts = [part for axis in axes for part in axis][::-1]
    result: list[Axis] = []
    for size in shape:
        axis, left = [], size
        while left > 1:
            if not parts:
                return None
            kind, count = parts.pop()
            if left % count == 0:
                axis.append((kind, count))
                left //= count
            elif count % left == 0:
                axis.append((kind, left))
                parts.append((kind, count // left))
                left = 1
            else:
                return None
        result.append(tuple(axis))
    return result if not parts else None
