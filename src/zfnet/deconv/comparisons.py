"""Recognizes rectifiers that are spelled out: x * (x > 0), where(x > 0, x, 0), maximum(x, 0).

A mask is a tensor of its own. `Comparisons` remembers the last one and what it was made of.

    >>> import torch
    >>> from zfnet.deconv.comparisons import Comparisons
    >>> x = torch.tensor([-1.0, 2.0])
    >>> mask, comparisons = torch.gt(x, 0), Comparisons()
    >>> comparisons.remember(torch.gt, (x, 0), mask)
    >>> comparisons.find_relu(torch.mul, (x, mask)).name
    'ReLU'
"""

from typing import Any

import torch
from torch import Tensor

from zfnet.deconv.activations import Rectifier
from zfnet.deconv.maxima import MAXIMUM
from zfnet.deconv.nodes import depends
from zfnet.deconv.products import MULTIPLY, MULTIPLY_IN_PLACE

POSITIVE = {torch.gt, Tensor.gt, Tensor.__gt__, torch.ge, Tensor.ge, Tensor.__ge__}
SQUARE = {torch.square, Tensor.square, torch.pow, Tensor.pow, Tensor.__pow__}
WHERE = {torch.where, Tensor.where}
CASTS = {
    *(Tensor.float, Tensor.double, Tensor.half, Tensor.bfloat16),
    *(Tensor.to, Tensor.type, Tensor.type_as),
}


class Comparisons:
    """The last comparison of a value with 0 in a forward pass."""

    def __init__(self) -> None:
        self._last: tuple[Tensor, Tensor, int] | None = None  # x > 0, x, and the version of x

    def remember(self, func: Any, args: Any, out: Any) -> None:
        """Remembers the call of a function if it compares with 0, or casts the last comparison."""
        compares = func in POSITIVE and len(args) == 2 and isinstance(args[0], Tensor)
        if compares and _is_zero(args[1]):
            self._last = out, args[0], args[0]._version
        elif self._last is not None and func in CASTS and args[0] is self._last[0]:
            self._last = out, *self._last[1:]

    def find_relu(self, func: Any, args: Any) -> Rectifier | None:
        """Recognizes a ReLU that is spelled out.

        Args:
            func: the function that is called.
            args: its positional arguments.

        Returns:
            The rectifier, or None if the call is something else.
        """
        if func in MAXIMUM and len(args) == 2 and all(isinstance(each, Tensor) for each in args):
            for x, other in (args, args[::-1]):
                if not depends(other) and _is_zero(other) and x.shape == other.shape:
                    return Rectifier("ReLU", x, torch.relu)
        if self._last is None or len(args) < 2:
            return None
        mask, x, version = self._last
        in_place = func in MULTIPLY_IN_PLACE
        if func in MULTIPLY or in_place:
            factors = {id(args[0]), id(args[1])} == {id(mask), id(x)}
            matches = factors and (not in_place or args[0] is x)
        elif func in WHERE and len(args) == 3:
            condition, kept = (args[1], args[0]) if func is Tensor.where else args[:2]
            matches = condition is mask and kept is x and _is_zero(args[2])
        else:
            matches = False
        matches = matches and x._version == version
        return Rectifier("ReLU", x, torch.relu, in_place) if matches else None


def find_squared_relu(func: Any, args: Any) -> Rectifier | None:
    """Recognizes the square of the output of a ReLU.

    Args:
        func: the function that is called.
        args: its positional arguments.
    """
    if func not in SQUARE or not args or not isinstance(args[0], Tensor):
        return None
    squares = func in (torch.square, Tensor.square) or args[1:] == (2,)
    node: Any = args[0].grad_fn
    step = node.metadata.get("step") if node is not None else None
    if not squares or step is None or step.kind != "relu":
        return None
    return Rectifier("squared ReLU", args[0], torch.square)


def _is_zero(value: Any) -> bool:
    if isinstance(value, Tensor):
        return not value.any()
    return isinstance(value, int | float) and value == 0
