"""Finds the axes of a layer's units: (B, C, H, W), (B, H, W, C), tokens (B, T, C), vectors (B, C).

The shape alone does not tell. `Layout` follows the axes of the images through the operations of one
forward pass. A convolution puts channels on axis 1, a permutation moves them, and a linear layer
creates new channels on the last axis. Flattened positions become tokens, and others may be added.

    >>> import torch
    >>> from torch import nn
    >>> from zfnet.models.layout import Layout
    >>> images = torch.zeros(2, 3, 8, 8)
    >>> with Layout(images) as layout:
    ...     maps = nn.Conv2d(3, 4, 2, stride=2)(images)
    ...     tokens = torch.cat([torch.zeros(2, 1, 4), maps.flatten(2).transpose(1, 2)], dim=1)
    >>> layout.find("tokens", tokens)
    UnitAxes(order='BTC', grid=(4, 4), prefix=1, suffix=0)
    >>> layout.find("tokens", tokens).maps(tokens).shape
    torch.Size([2, 4, 4, 4])
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from zfnet.errors import InputError
from zfnet.models.unit_axes import UnitAxes, given_axes

# The parts of an axis, outermost first: their kind and their size.
Axis = tuple[tuple[str, int], ...]
BATCH, CHANNELS, ROWS, COLUMNS, TOKENS = "batch", "channels", "rows", "columns", "tokens"
SPACE = (ROWS, COLUMNS)
KEYS = {kind: f"{kind} of keys" for kind in (ROWS, COLUMNS, TOKENS)}

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
PERMUTING = {"index", "index_select", "gather", "sort", "flip", "roll"}
VIEWS = {"view", "_unsafe_view", "reshape", "_reshape_alias", "_reshape_copy", "view_copy"}


class Layout(TorchDispatchMode):
    """Follows the axes of all tensors that are computed from `images` (B, C, H, W)."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self._axes = WeakTensorKeyDictionary()
        self._axes[images] = _default_axes(images)
        # The grid of tokens by the size of their axis, and the number of tokens before it; None if
        # there are two of this size.
        self._tokens: dict[int, tuple[tuple[int, int], int] | None] = {}
        self._pending: list[Tensor] = []

    def mark(self) -> None:
        """Stores grids on autograd's nodes, which exist only after an operation has returned."""
        for tensor in self._pending:
            node: Any = tensor.grad_fn
            if node is not None:
                node.metadata.setdefault("grid", self.grid(tensor))
        self._pending.clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.mark()
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        name = func._schema.name.split("::")[-1]
        known = [tensor for tensor in tensors if tensor in self._axes]
        for result in tree_leaves(out):
            if not isinstance(result, Tensor):
                continue
            if name in CHANNELS_FIRST and result.dim() > 2:
                self._axes[result] = [*self._batch_of(tensors, result), *_default_axes(result)[1:]]
            elif name == "im2col" and known:
                self._axes[result] = _unfolded(args, result)
            elif known and (axes := self._infer(name, args, known, result)) is not None:
                self._axes[result] = axes
            self._pending.append(result)
        return out

    def grid(self, tensor: Tensor) -> tuple[int, int] | None:
        """Returns (H, W) of a tensor whose axes hold all rows and columns, otherwise None."""
        if (axes := self._axes.get(tensor)) is None:
            return None
        sizes = {ROWS: 1, COLUMNS: 1, BATCH: 1, CHANNELS: 1}
        for axis in axes:
            kinds = {kind for kind, _ in axis}
            if not kinds <= sizes.keys() or (CHANNELS in kinds and len(kinds) > 1):
                return None
            for kind, size in axis:
                sizes[kind] *= size
        return sizes[ROWS], sizes[COLUMNS]

    def find(self, layer: str, output: Tensor, module: nn.Module | None = None) -> UnitAxes:
        """Returns the axes of a layer's output: those that were given, or those recognized.

        Args:
            layer: its name, for messages.
            output: its output.
            module: the module, for which axes may have been given.

        Raises:
            InputError: they are unknown, or those that were given do not fit.
        """
        axes = None if module is None else given_axes(layer, module, output)
        if axes is None and (axes := self.recognize(output)) is None:
            raise InputError(
                f"layer {layer!r} gives {tuple(output.shape)}, and which axes hold its channels "
                f"and positions is unknown: {_remedy(layer, output)}"
            )
        return axes

    def recognize(self, output: Tensor) -> UnitAxes | None:
        """Returns the axes of a layer's output as they follow from its computation, or None."""
        axes = self._axes.get(output)
        if output.dim() == 2:
            return UnitAxes("BC")
        kinds = [{kind for kind, _ in axis} for axis in axes or ()]
        if output.dim() == 4 and kinds:
            if CHANNELS in kinds[3] and not kinds[3] - {CHANNELS} and CHANNELS not in kinds[1]:
                if kinds[1] <= {ROWS} and kinds[2] <= {COLUMNS}:
                    return UnitAxes("BHWC")
            elif kinds[1] <= {CHANNELS} and _along(axes[2], ROWS) and _along(axes[3], COLUMNS):
                return UnitAxes("BCHW")
        if output.dim() == 3 and axes is not None:
            for order, place in (("BTC", 1), ("BCT", 2)):
                if kinds[3 - place] <= {CHANNELS} and (known := self._grid_of(axes[place])):
                    grid, prefix = known
                    suffix = output.shape[place] - prefix - math.prod(grid)
                    return UnitAxes(order, grid, prefix, suffix)
        return None

    def _batch_of(self, tensors: list[Tensor], result: Tensor) -> list[Axis]:
        """Returns axis 0 of the first input, which may hold windows of the image."""
        axes = self._axes.get(tensors[0])
        return axes[:1] if axes and len(result) == len(tensors[0]) else _default_axes(result)[:1]

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
            return _reorder(axes, args[1])
        if name in ("transpose", "transpose_", "t", "numpy_T"):
            i, j = args[1:3] if len(args) > 2 else (0, 1)
            order = list(range(len(axes)))
            if len(order) > 1:
                order[i], order[j] = order[j], order[i]
            return _reorder(axes, order)
        if name in ("unsqueeze", "unsqueeze_"):
            place = args[1] % (len(axes) + 1)
            return [*axes[:place], (), *axes[place:]]
        if name == "stack":
            place = (args[1] if len(args) > 1 else 0) % out.dim()
            return [*axes[:place], _axis("", out.shape[place]), *axes[place:]]
        if name.startswith("squeeze"):
            return _regroup(axes, out.shape)
        if name == "cat":
            return self._concatenated(args, known, out)
        if name == "slice":
            return self._sliced(axes, args, out)
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
        if name in PERMUTING:
            if out.dim() != len(axes):
                return None
            axes = [_permuted(axis) for axis in axes]
            return [_resize([axis], size) for axis, size in zip(axes, out.shape, strict=True)]
        operands = [self._axes[tensor] for tensor in known if tensor.dim() == out.dim()]
        if not operands or out.dim() < len(axes):
            return None
        return [_resize([each[i] for each in operands], size) for i, size in enumerate(out.shape)]

    def _concatenated(
        self, args: Sequence[Any], known: list[Tensor], out: Tensor
    ) -> list[Axis] | None:
        """Infers the axes of joined tensors. Tokens may be added to those of the image."""
        place = (args[1] if len(args) > 1 else 0) % out.dim()
        parts = [self._axes.get(tensor) for tensor in args[0] if tensor.dim() == out.dim()]
        axes = next((each for each in parts if each is not None), None)
        if axes is None:
            return None
        result = [
            _resize([each[i] for each in parts if each is not None], size)
            for i, size in enumerate(out.shape)
        ]
        grids = [None if each is None else self._grid_of(each[place]) for each in parts]
        images = [(i, found) for i, found in enumerate(grids) if found]
        if len(images) == 1 and len(parts) == len(args[0]) and out.dim() == 3:
            ((number, (grid, prefix)),) = images
            before = sum(tensor.shape[place] for tensor in args[0][:number])
            count, found = out.shape[place], (grid, prefix + before)
            self._tokens[count] = found if self._tokens.get(count, found) == found else None
            result[place] = ((TOKENS, out.shape[place]),)
        return result

    def _sliced(self, axes: list[Axis], args: Sequence[Any], out: Tensor) -> list[Axis]:
        """Infers the axes of a slice. The slice after the prefix is the grid again."""
        place = (args[1] if len(args) > 1 else 0) % len(axes)
        start = args[2] if len(args) > 2 and args[2] is not None else 0
        result = [_resize([axis], size) for axis, size in zip(axes, out.shape, strict=True)]
        known = self._grid_of(axes[place])
        if known is not None and axes[place][0][0] == TOKENS:
            grid, prefix = known
            if start == prefix and out.shape[place] == math.prod(grid):
                result[place] = ((ROWS, grid[0]), (COLUMNS, grid[1]))
            elif 0 <= start < prefix and out.shape[place] >= math.prod(grid) + prefix - start:
                self._tokens.setdefault(out.shape[place], (grid, prefix - start))
        return result

    def _grid_of(self, axis: Axis) -> tuple[tuple[int, int], int] | None:
        """Returns the grid of an axis of tokens and the number before it; None for other axes."""
        sizes = {ROWS: 1, COLUMNS: 1}
        order = [kind for kind, _ in axis]
        if order == [TOKENS]:
            return self._tokens.get(axis[0][1])
        if not axis or order != sorted(order, reverse=True) or not set(order) <= sizes.keys():
            return None
        for kind, size in axis:
            sizes[kind] *= size
        return (sizes[ROWS], sizes[COLUMNS]), 0

    def _product(self, left: Tensor, right: Tensor, name: str, out: Tensor) -> list[Axis] | None:
        """Infers the axes of a product: the weight's side becomes channels, the other stays."""
        axes, other = self._axes.get(left), self._axes.get(right)
        if axes is not None and len(axes) == out.dim():
            last = (
                other[-1]
                if other is not None and name != "linear"
                else _axis(CHANNELS, out.shape[-1])
            )
            return _with_keys([*axes[:-1], last])
        if axes is None and other is not None and len(other) == out.dim() > 1:
            return [*other[:-2], _axis(CHANNELS, out.shape[-2]), other[-1]]
        return None


def _remedy(layer: str, output: Tensor) -> str:
    """Says how to give the axes of a layer, or which layers to name instead."""
    choices = {4: ("BHWC", "", "BCHW"), 3: ("BTC", "@ROWSxCOLUMNS", "BCT or TBC")}
    if output.dim() not in choices:
        return (
            "name a layer that gives (B, C, H, W), (B, H, W, C), tokens (B, T, C) of the image or "
            "vectors (B, C)"
        )
    order, grid, others = choices[output.dim()]
    return (
        f"give them as axes={{{layer}:{order}{grid}}}, or {others} instead of {order}; in Python "
        "with zfnet.models.set_axes"
    )


def _with_keys(axes: list[Axis]) -> list[Axis]:
    """Names the positions on the last axis of a product keys, if the rows are positions as well.

    So they are in the weights of attention. Otherwise they are the positions.
    """
    rows = {kind for axis in axes[1:-1] for kind, _ in axis}
    names = KEYS if rows & KEYS.keys() else {key: kind for kind, key in KEYS.items()}
    return [*axes[:-1], tuple((names.get(kind, kind), size) for kind, size in axes[-1])]


def _axis(kind: str, size: int) -> Axis:
    return ((kind, size),) if size > 1 else ()


def _unfolded(args: Sequence[Any], result: Tensor) -> list[Axis]:
    """Returns the axes of windows (B, C * kh * kw, rows * columns) that `im2col` cuts out."""
    image, kernel, dilation, padding, stride = args
    height, width = (
        (image.shape[2 + i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i in (0, 1)
    )
    batch, channels = _default_axes(result)[:2]
    return [batch, channels, (*_axis(ROWS, height), *_axis(COLUMNS, width))]


def _default_axes(tensor: Tensor) -> list[Axis]:
    space = (*("",) * (tensor.dim() - 4), *SPACE) if tensor.dim() > 3 else ("",)
    kinds = (BATCH, CHANNELS, *space)
    return [_axis(kind, size) for kind, size in zip(kinds, tensor.shape, strict=False)]


def _resize(candidates: list[Axis], size: int) -> Axis:
    """Returns the parts of an axis of a new size: those of an operand of this size, if any."""
    for axis in candidates:
        if math.prod(count for _, count in axis) == size:
            return axis
    kinds = {kind for axis in candidates for kind, _ in axis}
    return _axis(kinds.pop() if len(kinds) == 1 else "", size)


def _along(axis: Axis, kind: str) -> bool:
    """Whether an axis holds rows or columns. Channels may lie between them, as in pixel shuffle."""
    return not axis or (axis[0][0] == kind and {each for each, _ in axis} <= {kind, CHANNELS})


def _permuted(axis: Axis) -> Axis:
    """Returns an axis after a permutation of its cells: tokens no longer lie in rows of a grid."""
    kinds = {kind for kind, _ in axis}
    return tuple(("", size) for _, size in axis) if {*SPACE} <= kinds or TOKENS in kinds else axis


def _reorder(axes: list[Axis], order: Sequence[int]) -> list[Axis]:
    """Permutes axes. Rows or columns that would be read in another order are no longer known."""
    result = [axes[i] for i in order]
    places = [i % len(axes) for i in order]
    for kind in SPACE:
        of_kind = [place for place in places if any(part[0] == kind for part in axes[place])]
        if of_kind != sorted(of_kind):
            result = [tuple(("" if k == kind else k, n) for k, n in axis) for axis in result]
    return result


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
