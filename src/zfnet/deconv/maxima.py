"""Maxima other than max pooling of maps: over some axes, adaptive, or in one and three dimensions.

The place of a maximum is a switch, as in max pooling.

    >>> import torch
    >>> from zfnet.deconv.maxima import find_maximum
    >>> from zfnet.deconv.nodes import mark_pixels
    >>> pixels = torch.tensor([[1.0, 3.0], [4.0, 2.0]], requires_grad=True)
    >>> x = pixels * 1
    >>> mark_pixels(x)
    >>> switch = find_maximum(torch.amax, (x, 1), {})
    >>> switch.linear(torch.tensor([[5.0, 6.0], [7.0, 8.0]]))
    tensor([6., 7.])
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zfnet.deconv.functions import Switch
from zfnet.deconv.nodes import depends
from zfnet.deconv.steps import argument

RULE = "max"
AMAX = {torch.amax, Tensor.amax}
MAX = {torch.max, Tensor.max}
MAXIMUM = {torch.maximum, Tensor.maximum, *MAX}  # of two tensors
# The same pooling with indices, and the number of dimensions that these count.
POOLS: dict[Any, tuple[Callable[..., tuple[Tensor, Tensor]], int]] = {
    F.max_pool1d: (F.max_pool1d_with_indices, 1),
    torch.max_pool1d: (F.max_pool1d_with_indices, 1),
    F.max_pool3d: (F.max_pool3d_with_indices, 3),
    torch.max_pool3d: (F.max_pool3d_with_indices, 3),
    F.adaptive_max_pool1d: (F.adaptive_max_pool1d_with_indices, 1),
    F.adaptive_max_pool2d: (F.adaptive_max_pool2d_with_indices, 2),
    F.adaptive_max_pool3d: (F.adaptive_max_pool3d_with_indices, 3),
}
POOLS |= {each: (each, dims) for each, dims in POOLS.values()}


def find_maximum(func: Any, args: Any, kwargs: Any) -> Switch | None:
    """Finds the rule of a maximum of one tensor.

    Args:
        func: the function that is called.
        args: its positional arguments.
        kwargs: its keyword arguments.

    Returns:
        The switch, or None if the call is something else, or does not depend on the pixels.
    """
    if not depends(argument(args, kwargs, 0, "input")):
        return None
    if func in POOLS:
        return _pool(func, args, kwargs)
    dims = argument(args, kwargs, 1, "dim")
    if func in AMAX or (func in MAX and not isinstance(dims, Tensor) and "other" not in kwargs):
        return _over_axes(func, args, kwargs)
    return None


def _pool(func: Any, args: Any, kwargs: Any) -> Switch:
    pool, dims = POOLS[func]
    with torch.no_grad():
        _, indices = pool(*args, **kwargs)

    def linear(z: Tensor) -> Tensor:
        return z.flatten(-dims).gather(-1, indices.flatten(-dims)).view(indices.shape)

    asked = func is pool or kwargs.get("return_indices")
    returns = (lambda values: (values, indices)) if asked else None
    return Switch(argument(args, kwargs, 0, "input"), linear, rule=RULE, returns=returns)


def _over_axes(func: Any, args: Any, kwargs: Any) -> Switch:
    x: Tensor = argument(args, kwargs, 0, "input")
    given = argument(args, kwargs, 1, "dim")
    dims = [given] if isinstance(given, int) else list(given or range(x.dim()))
    places = sorted(dim % x.dim() for dim in dims)
    kept = [1 if place in places else size for place, size in enumerate(x.shape)]
    if not argument(args, kwargs, 2, "keepdim", False):
        kept = [size for place, size in enumerate(x.shape) if place not in places]

    def last(z: Tensor) -> Tensor:
        return z.movedim(places, list(range(-len(places), 0))).flatten(-len(places))

    with torch.no_grad():
        indices = last(x).max(-1, keepdim=True).indices

    def linear(z: Tensor) -> Tensor:
        return last(z).gather(-1, indices).reshape(kept)

    returns = None
    if func in MAX and given is not None:
        returns = lambda values: torch.return_types.max((values, indices.reshape(kept)))  # noqa: E731
    return Switch(x, linear, rule=RULE, returns=returns)
