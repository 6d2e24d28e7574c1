"""Which axis of a layer's output holds its channels: (B, C, H, W), or (B, H, W, C) as in Swin and within ConvNeXt.

A shape does not say it. `Layout` follows the axes of the images through the operations of one pass: a convolution
gives channels on axis 1, a permutation moves them, a linear layer puts new ones on the last axis.

    with Layout(images) as layout:
        output = model(images)
    layout.check("features.3", output)          # InputError unless axis 1 holds the channels
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from zfnet.errors import InputError

Axis = tuple[
    tuple[str, int], ...
]  # its parts, outermost first: what they count (batch, channels, space) and how many
BATCH, CHANNELS, SPACE = "batch", "channels", "space"

CHANNELS_FIRST = {
    *(
        "convolution",
        "convolution_overrideable",
        "mkldnn_convolution",
        "avg_pool1d",
        "avg_pool2d",
        "avg_pool3d",
    ),
    *("max_pool2d_with_indices", "max_pool3d_with_indices", "_adaptive_avg_pool2d", "adaptive_avg_pool2d"),
    *("adaptive_max_pool2d", "max_unpool2d", "grid_sampler_2d", "pixel_shuffle", "pixel_unshuffle"),
    *("upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_bilinear2d", "upsample_bicubic2d"),
    *("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "native_batch_norm", "_native_batch_norm_legit"),
    *("_native_batch_norm_legit_no_training", "cudnn_batch_norm", "native_group_norm"),
    *("_batch_norm_with_update", "_batch_norm_no_update"),
}
PRODUCTS = {
    "mm": 0,
    "bmm": 0,
    "addmm": 1,
    "baddbmm": 1,
    "linear": 0,
    "matmul": 0,
}  # where the first factor stands
VIEWS = {"view", "_unsafe_view", "reshape", "_reshape_alias", "_reshape_copy", "view_copy"}


class Layout(TorchDispatchMode):
    """Inside, the axes of all that is computed from `images` (B, C, H, W) are followed."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self._axes = WeakTensorKeyDictionary()
        self._axes[images] = _channels_first(images)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        name = func._schema.name.split("::")[-1]
        known = [tensor for tensor in tensors if tensor in self._axes]
        for result in tree_leaves(out):
            if not isinstance(result, Tensor):
                continue
            if name in CHANNELS_FIRST and result.dim() > 2:
                self._axes[result] = _channels_first(result)
            elif known and (axes := self._after(name, args, known, result)) is not None:
                self._axes[result] = axes
        return out

    def check(self, layer: str, output: Tensor) -> None:
        """Raises InputError unless `output` (B, C) or (B, C, H, W) is known to hold its channels on axis 1."""
        if output.dim() != 4:
            return
        axes = self._axes.get(output)
        kinds = [{kind for kind, _ in axis} for axis in axes] if axes is not None else None
        shape = tuple(output.shape)
        if kinds and kinds[3] == {CHANNELS} and CHANNELS not in kinds[1] and SPACE in kinds[1] | kinds[2]:
            raise InputError(
                f"layer {layer!r} gives {shape} in the order (B, H, W, C), channels last: its units are read as "
                "(B, C, H, W) only; name a layer behind a permutation to that order"
            )
        if kinds is None or not (
            (CHANNELS in kinds[1] or not kinds[1]) and all(SPACE in k or not k for k in kinds[2:])
        ):
            raise InputError(
                f"layer {layer!r} gives {shape}, and which axis holds its channels cannot be established: "
                "name a layer that gives the maps of a convolution, (B, C, H, W)"
            )

    def _after(self, name: str, args: Sequence[Any], known: list[Tensor], out: Tensor) -> list[Axis] | None:
        """The axes of what an operation on tensors of `known` axes gives, None where they cannot be told."""
        first = known[0]
        axes: list[Axis] = self._axes[first]
        if name in PRODUCTS:
            return self._product(args[PRODUCTS[name]], args[PRODUCTS[name] + 1], name, out)
        if name in VIEWS:
            return _regrouped(axes, out.shape)
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
            return _regrouped(axes, out.shape)
        if out.dim() == len(axes) - 1 and name in ("select", "mean", "sum", "amax", "unbind", "max", "min"):
            return _without(axes, args)
        operands = [self._axes[tensor] for tensor in known if tensor.dim() == out.dim()]
        if not operands or out.dim() < len(axes):
            return None
        return [_resized([each[i] for each in operands], size) for i, size in enumerate(out.shape)]

    def _product(self, left: Tensor, right: Tensor, name: str, out: Tensor) -> list[Axis] | None:
        """A weight's side gives channels, the other side keeps its axis."""
        axes, other = self._axes.get(left), self._axes.get(right)
        if axes is not None and len(axes) == out.dim():
            last = other[-1] if other is not None and name != "linear" else _one(CHANNELS, out.shape[-1])
            return [*axes[:-1], last]
        if axes is None and other is not None and len(other) == out.dim() > 1:
            return [*other[:-2], _one(CHANNELS, out.shape[-2]), other[-1]]
        return None


def _one(kind: str, size: int) -> Axis:
    return ((kind, size),) if size > 1 else ()


def _channels_first(tensor: Tensor) -> list[Axis]:
    kinds = (BATCH, CHANNELS, *(SPACE,) * (tensor.dim() - 2))
    return [_one(kind, size) for kind, size in zip(kinds, tensor.shape, strict=False)]


def _resized(candidates: list[Axis], size: int) -> Axis:
    """One axis of a pointwise operation, a sum, a padding or a cut: the parts of the operand of this size."""
    for axis in candidates:
        if math.prod(count for _, count in axis) == size:
            return axis
    kinds = {kind for axis in candidates for kind, _ in axis}
    return _one(kinds.pop() if len(kinds) == 1 else "", size)


def _without(axes: list[Axis], args: Sequence[Any]) -> list[Axis] | None:
    given = args[1] if len(args) > 1 else 0
    places = [given] if isinstance(given, int) else list(given or ())
    return [axis for i, axis in enumerate(axes) if i != places[0] % len(axes)] if len(places) == 1 else None


def _regrouped(axes: list[Axis], shape: Sequence[int]) -> list[Axis] | None:
    """The parts of all axes, dealt out to the axes of a view; None where a part is cut unevenly."""
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
