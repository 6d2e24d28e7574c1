"""Normalization by statistics of the image: layer, group, instance, RMS and L2 norm.

The mean and the deviation, or the norm, depend on the image. They are switches: on the way down
they are constant, and R is multiplied by γ/σ.

    >>> import torch
    >>> from torch.nn import functional as F
    >>> from zfnet.deconv.normalizations import find_normalization
    >>> x = torch.tensor([[1.0, 3.0]])
    >>> found = find_normalization(F.layer_norm, (x, [2]), {"eps": 0.0})
    >>> found.name, found.scale
    ('LayerNorm', tensor([[1.]]))
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Normalization:
    """A call of a normalization.

    Attributes:
        name: "LayerNorm", ...
        x: its input.
        scale: γ/σ, broadcast to the input's shape.
        is_local: whether only the last axis is normalized, usually the channels of one position.
    """

    name: str
    x: Tensor
    scale: Tensor
    is_local: bool = False


def find_normalization(func: Any, args: Any, kwargs: Any) -> Normalization | None:
    """Recognizes the call of a normalization by statistics of each image.

    Args:
        func: the function.
        args: its positional arguments.
        kwargs: its keyword arguments.

    Returns:
        The normalization, or None if the call is something else.
    """
    if (describe := FUNCTIONS.get(func)) is None:
        return None
    with torch.no_grad():
        return describe(*args, **kwargs)


def _given(args: Any, kwargs: Any, names: str, **defaults: Any) -> dict[str, Any]:
    """Returns the arguments of a call by name."""
    return {**defaults, **dict(zip(names.split(), args, strict=False)), **kwargs}


def _layer_norm(*args: Any, **kwargs: Any) -> Normalization:
    given = _given(args, kwargs, "input normalized_shape weight bias eps", weight=None, eps=1e-5)
    x, dims = given["input"], _last_dims(given["normalized_shape"])
    scale = (x.var(dims, correction=0, keepdim=True) + given["eps"]).rsqrt()
    return Normalization("LayerNorm", x, _times(scale, given["weight"]), len(dims) == 1)


def _rms_norm(*args: Any, **kwargs: Any) -> Normalization:
    given = _given(args, kwargs, "input normalized_shape weight eps", weight=None, eps=None)
    x, dims, eps = given["input"], _last_dims(given["normalized_shape"]), given["eps"]
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    scale = (x.square().mean(dims, keepdim=True) + eps).rsqrt()
    return Normalization("RMSNorm", x, _times(scale, given["weight"]), len(dims) == 1)


def _group_norm(*args: Any, **kwargs: Any) -> Normalization:
    given = _given(args, kwargs, "input num_groups weight bias eps", weight=None, eps=1e-5)
    x = given["input"]
    groups = x.unflatten(1, (given["num_groups"], -1))
    deviation = groups.var(tuple(range(2, groups.dim())), correction=0, keepdim=True)
    scale = (deviation + given["eps"]).rsqrt().expand_as(groups).flatten(1, 2)
    return Normalization("GroupNorm", x, _times(scale, _on_axis_1(given["weight"], x)))


def _instance_norm(*args: Any, **kwargs: Any) -> Normalization | None:
    names = "input running_mean running_var weight bias use_input_stats momentum eps"
    given = _given(args, kwargs, names, weight=None, use_input_stats=True, eps=1e-5)
    if not given["use_input_stats"]:
        return None
    x = given["input"]
    variance = x.var(tuple(range(2, x.dim())), correction=0, keepdim=True)
    scale = (variance + given["eps"]).rsqrt()
    return Normalization("InstanceNorm", x, _times(scale, _on_axis_1(given["weight"], x)))


def _normalize(*args: Any, **kwargs: Any) -> Normalization | None:
    given = _given(args, kwargs, "input p dim eps out", p=2.0, dim=1, eps=1e-12, out=None)
    if given["out"] is not None:
        return None
    x = given["input"]
    norm = x.norm(given["p"], given["dim"], keepdim=True).clamp_min(given["eps"])
    return Normalization("normalize", x, norm.reciprocal())


FUNCTIONS: dict[Any, Callable[..., Normalization | None]] = {
    F.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    torch.rms_norm: _rms_norm,
    F.group_norm: _group_norm,
    torch.group_norm: _group_norm,
    F.instance_norm: _instance_norm,
    torch.instance_norm: _instance_norm,
    F.normalize: _normalize,
}


def _times(scale: Tensor, weight: Tensor | None) -> Tensor:
    return scale if weight is None else scale * weight


def _on_axis_1(weight: Tensor | None, x: Tensor) -> Tensor | None:
    """Returns weights (C,) of the channels in a shape that broadcasts to x (B, C, ...)."""
    return None if weight is None else weight.view(-1, *(1,) * (x.dim() - 2))


def _last_dims(shape: Any) -> tuple[int, ...]:
    return tuple(range(-(1 if isinstance(shape, int) else len(shape)), 0))
