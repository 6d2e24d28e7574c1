"""Functions that consist of operations with rules: attention as one function, `addcmul`, `lerp`.

>>> import torch
>>> from zfnet.deconv.nodes import mark_pixels
>>> from zfnet.deconv.spelling import find_spelled
>>> pixels = torch.ones(2, requires_grad=True)
>>> x = pixels * 2
>>> mark_pixels(x)
>>> find_spelled(torch.addcmul, (x, x, x.sigmoid()), {}).__name__
'addcmul'
>>> find_spelled(torch.addcmul, (x, x, torch.ones(2)), {})  # linear
"""

import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zfnet.deconv.nodes import depends
from zfnet.deconv.steps import argument

# The function itself calls `has_torch_function`, and would return to the mode for ever.
multi_head_attention_forward = types.FunctionType(
    F.multi_head_attention_forward.__code__,
    {**vars(F), "has_torch_function": lambda *_: False},
    "multi_head_attention_forward",
    F.multi_head_attention_forward.__defaults__,
)


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """Computes input + value * tensor1 * tensor2."""
    product = tensor1 * tensor2
    return input + (product if value == 1 else value * product)


def lerp(input: Tensor, end: Tensor, weight: Tensor) -> Tensor:
    """Computes input + weight * (end - input)."""
    return input + weight * (end - input)


def find_spelled(func: Any, args: Any, kwargs: Any) -> Callable[..., Any] | None:
    """Returns a function that spells out a call which has no rule itself, or None.

    Args:
        func: the function that is called.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    if func is F.multi_head_attention_forward:
        return multi_head_attention_forward
    if "out" in kwargs:
        return None
    if func in (torch.addcmul, Tensor.addcmul):
        factors = [argument(args, kwargs, place, f"tensor{place}") for place in (1, 2)]
        return addcmul if all(depends(each) for each in factors) else None
    if func in (torch.lerp, Tensor.lerp):
        return lerp if depends(argument(args, kwargs, 2, "weight")) else None
    return None
