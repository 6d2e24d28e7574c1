"""Recognizes rectifiers: ReLU in all its spellings, and the activation functions that resemble it.

    >>> import torch
    >>> from torch.nn import functional as F
    >>> from zfnet.deconv.activations import find_rectifier
    >>> found = find_rectifier(F.leaky_relu_, (torch.ones(2), 0.1), {})
    >>> found.name, found.in_place, found.is_relu
    ('LeakyReLU', True, False)

A rectifier passes positive values on and suppresses negative ones. The paper's nets only have ReLU.
GELU, SiLU and the others are extended rules: going down, they are treated like ReLU.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zfnet.deconv.steps import argument

RELU = {F.relu, torch.relu, Tensor.relu}
RELU_IN_PLACE = {torch.relu_, Tensor.relu_}
NAMES: dict[Any, str] = {
    **dict.fromkeys((F.gelu,), "GELU"),
    **dict.fromkeys((F.silu,), "SiLU"),
    **dict.fromkeys((F.mish,), "Mish"),
    **dict.fromkeys((F.hardswish,), "Hardswish"),
    **dict.fromkeys((F.softplus,), "Softplus"),
    **dict.fromkeys((F.leaky_relu,), "LeakyReLU"),
    **dict.fromkeys((F.prelu, torch.prelu, Tensor.prelu), "PReLU"),
    **dict.fromkeys((F.elu,), "ELU"),
    **dict.fromkeys((F.selu, torch.selu), "SELU"),
    **dict.fromkeys((F.celu, torch.celu), "CELU"),
    **dict.fromkeys((F.relu6,), "ReLU6"),
}
OUT_OF_PLACE: dict[Any, Any] = {
    F.leaky_relu_: F.leaky_relu,
    F.elu_: F.elu,
    F.selu_: F.selu,
    torch.selu_: F.selu,
    F.celu_: F.celu,
    torch.celu_: F.celu,
    F.hardtanh_: F.hardtanh,
    F.threshold_: F.threshold,  # type: ignore[attr-defined]
    torch.threshold_: F.threshold,
    torch.clamp_: torch.clamp,
    Tensor.clamp_: torch.clamp,
    torch.clamp_min_: torch.clamp_min,
    Tensor.clamp_min_: torch.clamp_min,
    torch.clip_: torch.clamp,
    Tensor.clip_: torch.clamp,
}
CLAMP = {torch.clamp, Tensor.clamp, torch.clip, Tensor.clip}
CLAMP_MIN = {torch.clamp_min, Tensor.clamp_min}
THRESHOLD = {F.threshold, torch.threshold}
# Functions whose last positional argument may be `inplace`.
INPLACE_LAST = {
    *(F.silu, F.mish, F.hardswish, F.leaky_relu, F.elu, F.selu, F.celu, F.relu6, F.hardtanh),
    F.threshold,
}


@dataclass(frozen=True)
class Rectifier:
    """A call of a rectifier.

    Attributes:
        name: "ReLU", "GELU", ...
        x: its input.
        op: computes its output, not in place.
        in_place: whether the call overwrites its input.
        bounded: whether its output has an upper bound, as that of ReLU6.
        slope: its derivative at x; None if that of `op` is to be used.
    """

    name: str
    x: Tensor
    op: Callable[[Tensor], Tensor]
    in_place: bool = False
    bounded: bool = False
    slope: Tensor | None = None

    @property
    def is_relu(self) -> bool:
        """Whether it is exactly ReLU."""
        return self.name == "ReLU"


def find_rectifier(func: Any, args: Any, kwargs: Any) -> Rectifier | None:
    """Recognizes the call of a rectifier.

    Args:
        func: the function.
        args: its positional arguments.
        kwargs: its keyword arguments.

    Returns:
        The rectifier, or None if the call is something else.
    """
    in_place = func in OUT_OF_PLACE or func in RELU_IN_PLACE
    func = torch.relu if func in RELU_IN_PLACE else OUT_OF_PLACE.get(func, func)
    found = _name_of(func, args, kwargs)
    if found is None:
        return None
    name, bounded = found
    x = argument(args, kwargs, 0, "input")
    if "self" in kwargs and x is None:
        x = kwargs["self"]
    if not isinstance(x, Tensor):
        return None
    if name == "ReLU":
        asked = func is F.relu and argument(args, kwargs, 1, "inplace", False)
        return Rectifier(name, x, torch.relu, in_place or bool(asked))
    words = {key: value for key, value in kwargs.items() if key not in ("input", "inplace")}
    in_place = in_place or bool(kwargs.get("inplace", False))
    rest = args[1:]
    if rest and isinstance(rest[-1], bool) and func in INPLACE_LAST:
        in_place, rest = in_place or rest[-1], rest[:-1]
    return Rectifier(name, x, partial(_call, func, rest, words), in_place, bounded)


def _call(func: Any, rest: Any, words: Any, x: Tensor) -> Tensor:
    return func(x, *rest, **words)


def _name_of(func: Any, args: Any, kwargs: Any) -> tuple[str, bool] | None:
    """Returns the name of a rectifier and whether it is bounded, or None."""
    if func in RELU:
        return "ReLU", False
    if func in NAMES:
        return NAMES[func], func is F.relu6
    if func is F.rrelu and not argument(args, kwargs, 3, "training", False):
        return "RReLU", False
    if func is F.hardtanh:
        low = argument(args, kwargs, 1, "min_val", -1.0)
        high = argument(args, kwargs, 2, "max_val", 1.0)
        return ("ReLU6" if high == 6 else f"clamp(0, {high:g})", True) if low == 0 else None
    if func in CLAMP:
        low, high = argument(args, kwargs, 1, "min"), argument(args, kwargs, 2, "max")
        if not _is_number(low) or low != 0 or not (high is None or _is_number(high)):
            return None
        if high is None:
            return "ReLU", False
        return "ReLU6" if high == 6 else f"clamp(0, {high:g})", True
    if func in CLAMP_MIN:
        low = argument(args, kwargs, 1, "min")
        return ("ReLU", False) if _is_number(low) and low == 0 else None
    if func in THRESHOLD:
        low, value = argument(args, kwargs, 1, "threshold"), argument(args, kwargs, 2, "value")
        if low == 0 and value == 0:
            return "ReLU", False
        return ("Threshold", False) if low > 0 and value == 0 else None
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
