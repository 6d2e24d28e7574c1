"""The rules of products: activations that are spelled out, gates, attention and dynamic filters.

>>> import torch
>>> from zfnet.deconv.gates import find_product
>>> from zfnet.deconv.nodes import mark_pixels
>>> from zfnet.deconv.rules import Rules
>>> pixels = torch.ones(2, requires_grad=True)
>>> x = pixels * 2
>>> mark_pixels(x)
>>> find_product(torch.mul, (x, x.mean().sigmoid()), {}, Rules()).rule
'gate'
>>> find_product(torch.mul, (x, x.sigmoid()), {}, Rules()).name  # SiLU
'x * g(x)'
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten, tree_unflatten

from zfnet.deconv.activations import Rectifier
from zfnet.deconv.functions import Switch
from zfnet.deconv.nodes import depends
from zfnet.deconv.notes import note_query, sources
from zfnet.deconv.products import (
    DIVIDE,
    ELEMENTWISE,
    FILTERS,
    IN_PLACE,
    MATRIX,
    OUT_OF_PLACE,
    PRODUCTS,
    SAMPLING,
    find_value,
    is_function_of,
    is_rectifying,
)
from zfnet.deconv.rules import Rules
from zfnet.deconv.steps import argument

SPELLED = "x * g(x)"  # the name of a rectifier whose op only knows the values of this pass


def find_product(func: Any, args: Any, kwargs: Any, rules: Rules) -> Rectifier | Switch | None:
    """Finds the rule of a product of values that depend on the image.

    Args:
        func: the function that is called.
        args: its positional arguments.
        kwargs: its keyword arguments.
        rules: the variants of the rules.

    Returns:
        A rectifier for x * g(x), a switch for other products with a gate, or None.
    """
    if func is F.glu and rules.others != "gradient":
        return _gated_linear_unit(args, kwargs)
    if func not in PRODUCTS | FILTERS | SAMPLING:
        return None
    leaves, spec = tree_flatten((args, kwargs))
    places = [place for place, leaf in enumerate(leaves) if depends(leaf)]
    if len(places) < 2 or kwargs.get("rounding_mode"):
        return None
    factors = [leaves[place] for place in places]
    in_place = func in IN_PLACE
    call = OUT_OF_PLACE.get(func, func)
    if func in ELEMENTWISE and len(factors) == 2:
        pairs = [factors] if func in DIVIDE else [factors, factors[::-1]]
        for scaled, gate in pairs:
            for x in sources(scaled):
                if is_function_of(gate, x) and _rectifies(func, gate, x):
                    if in_place and x is not leaves[0]:
                        return None  # another tensor than x is overwritten
                    return _spelled(call(*args, **kwargs), x, in_place, rules)
    if rules.others == "gradient":
        return None
    if func in FILTERS | SAMPLING | DIVIDE:
        value = 0 if places == [0, 1] else None
    else:
        value = find_value(factors, func in ELEMENTWISE)
    if value is None or (in_place and places[value] != 0):
        return None
    fixed = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]

    def linear(z: Tensor) -> Tensor:
        fixed[places[value]] = z
        given, words = tree_unflatten(fixed, spec)
        return call(*given, **words)

    x = factors[value]
    if func in MATRIX:
        for factor in factors[:value] + factors[value + 1 :]:
            note_query(factor)
    return Switch(x, linear, None, _name(func), in_place, pointwise=func in ELEMENTWISE)


def _name(func: Any) -> str:
    """Returns the name of the rule of a product."""
    if func in SAMPLING:
        return "sampling grid"
    return "dynamic filter" if func in FILTERS else "attention" if func in MATRIX else "gate"


def _rectifies(func: Any, gate: Tensor, x: Tensor) -> bool:
    """Whether x * gate, or x / gate, suppresses negative values of x."""
    with torch.no_grad():
        return is_rectifying(gate.reciprocal() if func in DIVIDE else gate, x)


def _spelled(out: Tensor, x: Tensor, in_place: bool, rules: Rules) -> Rectifier:
    """Returns the rectifier x * g(x) with the output `out`, whose slope is that of autograd."""
    slope = None
    if rules.relu == "gradient":
        slope = torch.autograd.grad(out, x, torch.ones_like(out), retain_graph=True)[0]
    value = out.detach()
    return Rectifier(SPELLED, x, lambda _: value.clone(), in_place, slope=slope)


def _gated_linear_unit(args: Any, kwargs: Any) -> Switch:
    x, dim = argument(args, kwargs, 0, "input"), argument(args, kwargs, 1, "dim", -1)
    value, gate = x.chunk(2, dim)
    gate = gate.detach().sigmoid()
    return Switch(value, lambda z: z * gate, None, "gate", pointwise=True)
