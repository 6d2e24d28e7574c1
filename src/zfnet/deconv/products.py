"""Products of two values that both depend on the image: which factor is the gate?

A gate scales another value: the weights of squeeze-and-excitation, of attention, or the activated
half of a gated linear unit. It is the output of a nonlinear function, perhaps reshaped or scaled by
constants, and the value that it scales is not. Or it is smaller than the value, and broadcast. A
gate is a switch: it is constant on the way down, and R passes through the value.

A product x * g(x) with a function g of each element of x is itself an activation function, such as
SiLU spelled x * sigmoid(x).

    >>> import torch
    >>> from zfnet.deconv.nodes import mark_pixels
    >>> from zfnet.deconv.products import find_value, is_function_of
    >>> pixels = torch.ones(2, requires_grad=True)
    >>> x = pixels * 2
    >>> mark_pixels(x)
    >>> find_value([x, (x.mean() * 3).sigmoid()])
    0
    >>> is_function_of(torch.sigmoid(1.7 * x), x), is_function_of(x.mean().sigmoid(), x)
    (True, False)
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional as F

from zfnet.deconv.nodes import ADDITIVE, MIXING, Edge, depends_on_pixels, edges_below, kind

MULTIPLY = {torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.__mul__, Tensor.__rmul__}
MULTIPLY_IN_PLACE = {Tensor.mul_, Tensor.multiply_, Tensor.__imul__}
DIVIDE = {torch.div, torch.divide, torch.true_divide, Tensor.div, Tensor.divide, Tensor.true_divide}
DIVIDE |= {Tensor.__truediv__}
DIVIDE_IN_PLACE = {Tensor.div_, Tensor.divide_, Tensor.true_divide_, Tensor.__itruediv__}
DIVIDE |= DIVIDE_IN_PLACE
MATRIX = {
    *(torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.mm, Tensor.mm),
    *(torch.mv, Tensor.mv, torch.einsum),
}
FILTERS = {F.linear, torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose2d}
SAMPLING = {F.grid_sample, torch.grid_sampler}  # of a map, at places that may depend on the image
ELEMENTWISE = MULTIPLY | MULTIPLY_IN_PLACE | DIVIDE
PRODUCTS = ELEMENTWISE | MATRIX
IN_PLACE = MULTIPLY_IN_PLACE | DIVIDE_IN_PLACE
OUT_OF_PLACE: dict[Any, Any] = {
    **dict.fromkeys(MULTIPLY_IN_PLACE, torch.mul),
    **dict.fromkeys(DIVIDE_IN_PLACE, torch.div),
}

# What made a value, from what is scaled to what scales: values that attention has summed, a linear
# operation, a rectifier, one with an upper bound, and any other nonlinear operation.
CONTEXT, LINEAR, RECTIFIED, BOUNDED, GATE = range(5)
SHAPED = ADDITIVE | MIXING | {"Mul", "Div"} | {"ApplySwitch"}
WEIGHTED = {
    "Convolution", "ConvolutionOverrideable", "MkldnnConvolution", "Mm", "Bmm", "Mv", "Linear",
    "MkldnnLinear", "Addmm", "Addbmm", "Baddbmm", "Addmv", "MaxPool",
    "NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "Scale", "Convolve",
}  # fmt: skip
SIGMOIDAL = {"Sigmoid", "Hardsigmoid", "HardSigmoid", "Tanh", "Erf", "Rectify", "Hardtanh"}
POINTWISE = {  # nodes that compute each element from the same element of their inputs
    "Mul", "Div", "Add", "Sub", "Rsub", "Neg", "Clone", "ToCopy", "Alias", "Sigmoid", "Hardsigmoid",
    "HardSigmoid", "Tanh", "Exp", "Softplus", "Erf", "Pow", "Sqrt", "Rsqrt", "Reciprocal", "Abs",
    "Log1P", "Log", "Clamp", "ClampMin", "ClampMax", "Hardtanh", "Rectify", "Expm1", "Square",
    "LogSigmoid", "Maximum", "Minimum",
}  # fmt: skip


def find_value(factors: Sequence[Tensor], elementwise: bool = True) -> int | None:
    """Finds the factor that the others scale.

    Args:
        factors: at least two tensors that depend on the image by autograd.
        elementwise: whether elements are multiplied, otherwise matrices. Then a smaller factor,
            which scales many elements of the other, is a gate too. The rectified half of a gated
            linear unit is a gate only for a value of the same shape.

    Returns:
        Its index. None if the others are not all gates: no factor is the output of a nonlinear
        function, or two are alike.
    """
    edges = [(edge.node, edge.output_nr) for edge in map(get_gradient_edge, factors)]
    for through in (False, not elementwise):
        ranks = [_rank(edge, elementwise, through) for edge in edges]
        if elementwise and len({factor.shape for factor in factors}) > 1:
            largest = max(factor.numel() for factor in factors)
            ranks = [
                (LINEAR if rank == RECTIFIED else rank) if factor.numel() == largest else GATE
                for rank, factor in zip(ranks, factors, strict=True)
            ]
        value = min(range(len(factors)), key=ranks.__getitem__)
        others = [rank for place, rank in enumerate(ranks) if place != value]
        if min(others) > ranks[value]:
            return value
    return None


def _rank(start: Edge, elementwise: bool, through: bool) -> int:
    """Returns what made the value of an edge: the lowest of the ranks above.

    With `through`, operations with weights do not count, as those that mix heads of attention.
    """
    lowest = LINEAR if elementwise else CONTEXT

    def enter(edge: Edge) -> bool:
        if edge[0].metadata.get("rule") == "attention" or _is_query(edge):
            return False
        return kind(edge[0]) in SHAPED or (through and kind(edge[0]) in WEIGHTED)

    ranks: list[int] = []
    for edge in edges_below(start, enter):
        own = None if enter(edge) else GATE if _is_query(edge) else _own_rank(edge[0], lowest)
        if own == lowest:
            return own
        if own is not None:
            ranks.append(own)
    return min(ranks, default=LINEAR)


def _is_query(edge: Edge) -> bool:
    """Whether a value was used as a query or a weight of attention before, and is a gate again."""
    return edge[1] in edge[0].metadata.get("queries", ())


def _own_rank(node: Any, attention: int) -> int | None:
    """Returns the rank of an operation itself, or None if it does not depend on the pixels."""
    if kind(node) == "Rectify":
        return BOUNDED if node.metadata.get("bounded") else RECTIFIED
    if node.metadata.get("rule") == "attention":
        return attention
    if not depends_on_pixels(node):
        return None
    return LINEAR if kind(node) in WEIGHTED or kind(node) == "AccumulateGrad" else GATE


def is_function_of(gate: Tensor, x: Tensor) -> bool:
    """Whether each element of `gate` is a sigmoidal function of the same element of x."""
    if gate.shape != x.shape or x.grad_fn is None:
        return False
    start, end = get_gradient_edge(gate), get_gradient_edge(x)
    end_edge: Edge = (end.node, end.output_nr)
    reached, sigmoidal = False, False
    for edge in edges_below((start.node, start.output_nr), lambda each: each != end_edge):
        if edge == end_edge:
            reached = True
        elif kind(edge[0]) == "AccumulateGrad":
            if "pixels" in edge[0].metadata:
                return False
        elif kind(edge[0]) in POINTWISE or not depends_on_pixels(edge[0]):
            sigmoidal = sigmoidal or kind(edge[0]) in SIGMOIDAL
        else:
            return False
    return reached and sigmoidal


def are_functions_of_one(a: Tensor, b: Tensor) -> bool:
    """Whether elements of a and b are functions of the same element of one value, as x and x / 2.

    The larger one of them is an activation function.
    """
    first, second = (
        {
            edge
            for edge in edges_below((start.node, start.output_nr), _is_pointwise)
            if not _is_pointwise(edge) and depends_on_pixels(edge[0])
        }
        for start in map(get_gradient_edge, (a, b))
    )
    return not first.isdisjoint(second)


def _is_pointwise(edge: Edge) -> bool:
    return kind(edge[0]) in POINTWISE


def is_rectifying(gate: Tensor, x: Tensor) -> bool:
    """Whether x * gate suppresses negative values of x, judged by the values of this pass.

    It does not for x * tanh(x) or x * (1 - sigmoid(x)).
    """
    positive, slack = x > 0, 1e-3 * gate.abs().max()
    if not positive.any() or positive.all():
        return bool(gate.min() >= -slack)
    return bool(gate.min() >= -slack and gate[positive].mean() > gate[~positive].mean())
