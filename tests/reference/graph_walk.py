"""The extended rules on any model: a walk down autograd's own graph, node by node.

The model runs naturally, in float64 and without any mode of the deconvnet. Then R starts at the
node of the layer's output and goes down in topological order. Each node passes R on by its own
backward function, with these exceptions:

    rectifiers, squared ReLU    max(R, 0); "guided" masks it by the output; "gradient" is natural
    normalizations              R·γ/σ, with the σ that the node has saved
    sigmoid, tanh, softmax, ... nothing: their output is a gate, which is constant
    x·g(x)                      a rectifier of x
    gated rectifiers            a product of a rectifier's output and another value: R goes to the
                                other value
    attention in one node       R goes to the values, not to queries and keys
    filters made of the image   constant

Not covered: convolutions as the last gate of a product (h * linear(pool(h))) and other products
that the deconvnet refuses, contrast normalization, custom autograd functions, the options `unpool`,
activations in place on views (autograd hides them in CopySlices), PReLU in one node with a slope
that is itself computed from the image, and gates that are rectified twice. Where windows of a max
pooling share their maximum, autograd adds up, which is unpool="sum".

    projections = walk(model, images, "layer2", units)
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from zfnet.deconv import Unit
from zfnet.models.unit_axes import UnitAxes

Edge = tuple[Any, int]
Mask = Callable[[Any], Tensor]


def from_input(node: Any) -> Tensor:
    return node._saved_self > 0


def from_result(node: Any) -> Tensor:
    return node._saved_result > 0


def either(node: Any) -> Tensor:
    return getattr(node, "_saved_self", getattr(node, "_saved_result", None)) > 0


def prelu(node: Any) -> Tensor:
    x, weight = node._saved_self, node._saved_weight
    return torch.nn.functional.prelu(x, weight.flatten()) > 0


RECTIFIERS: dict[str, Mask] = {
    "ReluBackward": from_result,
    "GeluBackward": from_input,
    "SiluBackward": from_input,
    "MishBackward": from_input,
    "HardswishBackward": from_input,
    "SoftplusBackward": lambda node: torch.ones_like(node._saved_self, dtype=torch.bool),
    "EluBackward": either,
    "CeluBackward": either,
    "LeakyReluBackward": either,
    "PreluKernelBackward": prelu,
    "RreluWithNoiseBackward": either,
}
BOUNDED = {"HardtanhBackward": "_saved_min_val", "ClampBackward": "_saved_min"}
THRESHOLDS = {"ThresholdBackward": "_saved_threshold", "ClampMinBackward": "_saved_min"}
GATES = {
    "SigmoidBackward", "HardsigmoidBackward", "TanhBackward", "SoftmaxBackward", "ErfBackward",
    "SafeSoftmaxBackward", "RsqrtBackward", "ReciprocalBackward", "SqrtBackward", "PowBackward",
    "ExpBackward", "LogSoftmaxBackward", "LinalgVectorNormBackward", "NormBackward",
    "ClampMinBackward", "MaskedSoftmaxBackward",
}  # fmt: skip
SIGMOIDAL = {"SigmoidBackward", "HardsigmoidBackward", "TanhBackward", "ErfBackward"}
MOVES = {
    "ViewBackward", "UnsafeViewBackward", "CloneBackward", "ExpandBackward", "UnsqueezeBackward",
    "SqueezeBackward", "PermuteBackward", "TransposeBackward", "SliceBackward", "SplitBackward",
    "MulBackward", "DivBackward", "AddBackward", "ReshapeAliasBackward", "ToCopyBackward",
    "RsubBackward", "NegBackward", "SubBackward", "TBackward", "AliasBackward", "UnbindBackward",
    "SelectBackward", "SplitWithSizesBackward", "MeanBackward", "SumBackward",
}  # fmt: skip
POINTWISE = SIGMOIDAL | {*RECTIFIERS} | {
    "MulBackward", "DivBackward", "AddBackward", "PowBackward", "CloneBackward", "HardtanhBackward",
    "RsubBackward", "SubBackward", "NegBackward", "ClampBackward",
}  # fmt: skip


def name_of(node: Any) -> str:
    return node.name().split("::")[-1].rstrip("0123456789")


def rectified(node: Any) -> Tensor | None:
    """Where a rectifier's output is positive; None for a node that is none."""
    name = name_of(node)
    if name in RECTIFIERS:
        return RECTIFIERS[name](node)
    if name in BOUNDED and (getattr(node, BOUNDED[name]) or 0) == 0:
        return node._saved_self > 0 if getattr(node, BOUNDED[name]) is not None else None
    if name in THRESHOLDS and getattr(node, THRESHOLDS[name]) >= 0:
        return node._saved_self > getattr(node, THRESHOLDS[name])
    if name == "PowBackward" and name_of(below(node)[0][0]) == "ReluBackward":  # squared ReLU
        return node._saved_self > 0 if node._saved_exponent == 2 else None
    return None


def below(node: Any) -> list[Edge]:
    return [(each, place) for each, place in node.next_functions if each is not None]


def activated(edge: Edge) -> int:
    """How likely a value is a gate: 2 made by a sigmoid or the like, 1 by a rectifier, else 0."""
    node = edge[0]
    name = name_of(node)
    if rectified(node) is not None:
        return 2 if name in BOUNDED else 1
    if name in GATES:
        return 2
    return min((activated(each) for each in below(node)), default=0) if name in MOVES else 0


def sources(edge: Edge) -> list[Edge]:
    """A value, what it is a multiple of, and so on."""
    found = [edge]
    while name_of(found[-1][0]) in ("MulBackward", "DivBackward"):
        if len(lower := below(found[-1][0])) > 1:
            break
        found += lower
    return found


def function_of(gate: Edge, x: Edge) -> bool:
    """Whether a gate is computed from x alone, element by element, by a sigmoid or the like."""
    stack, sigmoidal, reached = [gate], False, False
    while stack:
        edge = stack.pop()
        if edge == x:
            reached = True
            continue
        if name_of(edge[0]) not in POINTWISE:
            return False
        sigmoidal |= name_of(edge[0]) in SIGMOIDAL or rectified(edge[0]) is not None
        stack += below(edge[0])
    return sigmoidal and reached


def normalized(node: Any, R: Tensor) -> Tensor | None:
    """R·γ/σ for a normalization by statistics of the image; None for other nodes."""
    name = name_of(node)
    if name == "NativeLayerNormBackward":
        weight = node._saved_weight
        return R * node._saved_result2 * (1 if weight is None else weight)
    if name == "NativeGroupNormBackward":
        groups, weight = node._saved_group, node._saved_weight
        each = R.unflatten(1, (groups, -1))
        sigma = node._saved_result2.view(len(R), groups, *(1,) * (each.dim() - 2))
        R = (each * sigma).flatten(1, 2)
        return R if weight is None else R * weight.view(-1, *(1,) * (R.dim() - 2))
    if name == "NativeBatchNormBackward" and node._saved_training:  # instance norm
        scale, weight = node._saved_result2, node._saved_weight
        return R * (scale if weight is None else scale * weight).view(-1, *(1,) * (R.dim() - 2))
    return None


class Walk:
    """One natural pass of a model up to a layer, and walks down from there.

    Args:
        model: any model, in float64. A copy of it runs.
        images: (B, C, H, W).
        layer: name of a layer.
        axes: of the layer's units.
    """

    def __init__(self, model: nn.Module, images: Tensor, layer: str, axes: UnitAxes) -> None:
        model = copy.deepcopy(model).eval().requires_grad_(False)
        self.axes = axes
        self.pixels = images.clone().requires_grad_()
        kept: list[tuple[Edge, Tensor]] = []

        def keep(_: object, __: object, output: Tensor) -> None:
            edge = get_gradient_edge(output)
            kept.append(((edge.node, edge.output_nr), output.detach().clone()))

        model.get_submodule(layer).register_forward_hook(keep)
        model(self.pixels * 1)
        ((self.edge, self.values),) = kept
        self.order = topological(self.edge[0])

    def down(self, seed: Tensor, relu: str = "deconv") -> Tensor:
        """Brings R down from `seed`, a signal at the layer, to the pixels."""
        signals: dict[Any, list[Tensor | None]] = {self.edge[0]: padded(self.edge, seed)}
        with torch.no_grad():
            for node in self.order:
                if node not in signals:
                    continue
                if getattr(node, "variable", None) is self.pixels:
                    return signals[node][0]  # type: ignore[return-value]
                for (lower, place), R in passed(node, signals.pop(node), relu):
                    known = signals.setdefault(lower, padded((lower, place), None))
                    known[place] = R if known[place] is None else known[place] + R
        return torch.zeros_like(self.pixels)

    def unit(self, unit: Unit, relu: str = "deconv", seed: str = "activation") -> Tensor:
        """Returns the projection (C, H, W) of one unit."""
        start, place = torch.zeros_like(self.values), (unit.channel, unit.y, unit.x)
        value = self.axes.maps(self.values)[unit.image][place]
        self.axes.maps(start)[unit.image][place] = 1 if seed == "forced" else value.clamp(min=0)
        return self.down(start, relu)[unit.image]


def topological(root: Any) -> list[Any]:
    """All nodes below `root`, each before those that it depends on."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, finished = stack.pop()
        if finished:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack += [(node, True), *((each, False) for each, _ in below(node))]
    return order[::-1]


def padded(edge: Edge, R: Tensor | None) -> list[Tensor | None]:
    """A signal for each output of a node: R for that of the edge, nothing for the others."""
    count = max(edge[1] + 1, len(getattr(edge[0], "_input_metadata", ())))
    return [R if place == edge[1] else None for place in range(count)]


def reduced(edge: Edge, R: Tensor) -> Tensor:
    """R for a value that was broadcast: autograd's engine, not the node, sums over the copies."""
    return R.sum_to_size(edge[0]._input_metadata[edge[1]].shape)


def passed(node: Any, signals: list[Tensor | None], relu: str) -> list[tuple[Edge, Tensor]]:
    """What a node hands to the nodes below it."""
    name, R, edges = name_of(node), signals[0], below(node)
    mask = rectified(node)
    if mask is not None and relu != "gradient":
        assert R is not None
        return [(edges[0], R.clamp(min=0) * (mask if relu == "guided" else 1))]
    if mask is None and name in GATES:
        return []
    if name == "GluBackward":
        value, gate = node._saved_self.chunk(2, node._saved_dim)
        assert R is not None
        return [(edges[0], torch.cat([R * gate.sigmoid(), 0 * value], node._saved_dim))]
    if R is not None and (scaled := normalized(node, R)) is not None:
        return [(edges[0], scaled)]
    given = node(*signals)
    given = given if isinstance(given, tuple) else (given,)
    result = [
        (edge, reduced(edge, signal))
        for edge, signal in zip(node.next_functions, given, strict=True)
        if edge[0] is not None and signal is not None
    ]
    if "ScaledDotProduct" in name:
        values = node.next_functions[2]
        return [(edge, signal) for edge, signal in result if edge == values][-1:]
    if name in ("ConvolutionBackward", "MkldnnConvolutionBackward"):
        return [(edge, signal) for edge, signal in result if edge != node.next_functions[1]]
    if name in ("MulBackward", "DivBackward", "BmmBackward", "MmBackward") and len(edges) == 2:
        return product(node, R, result, relu)
    return result


def product(
    node: Any, R: Tensor | None, result: list[tuple[Edge, Tensor]], relu: str
) -> list[tuple[Edge, Tensor]]:
    """A product of two values that depend on the image: a rectifier, or a value and its gate."""
    first, second = below(node)
    assert R is not None
    pairs = [(first, second), (second, first)][: 1 if name_of(node) == "DivBackward" else 2]
    pairs = pairs if name_of(node) in ("MulBackward", "DivBackward") else []
    for x, gate in [(source, gate) for factor, gate in pairs for source in sources(factor)]:
        if function_of(gate, x):
            if relu == "gradient":
                ends = GradientEdge(node, 0), GradientEdge(*x)
                with torch.enable_grad():
                    return [(x, torch.autograd.grad(*ends, R, retain_graph=True)[0])]
            output = node._saved_self * node._saved_other  # the sign of a quotient is the same
            mask = output > 0 if relu == "guided" else 1
            return [(x, R.clamp(min=0) * mask)]
    ranks = activated(first), activated(second)
    if name_of(node) == "DivBackward":
        ranks = 0, 2
    value = first if ranks[0] < ranks[1] else second
    if ranks[0] == ranks[1]:
        raise NotImplementedError(f"{node.name()}: which factor is the gate?")
    return [(edge, signal) for edge, signal in result if edge == value]


def walk(
    model: nn.Module,
    images: Tensor,
    layer: str,
    units: Sequence[Unit],
    axes: UnitAxes | None = None,
    relu: str = "deconv",
) -> Tensor:
    """Returns the projections (N, C, H, W) of units."""
    down = Walk(model, images, layer, axes or UnitAxes("BCHW"))
    return torch.stack([down.unit(unit, relu) for unit in units])
