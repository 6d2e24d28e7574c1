"""What autograd's graph of a swapped forward pass says: is there a deconvnet, what does a unit see, is it a chain.

A deconvnet exists where everything between the pixels and a layer is one of the rules or linear in the
values that depend on the pixels. Receptive fields grow on the way back, along one axis: units of a layer
that see cells `start + jump·i ... + field - 1` of a map see, below a window of kernel k, stride s, padding p,

    jump' = jump·s      start' = start·s - p      field' = (field - 1)·s + k

and the union where branches meet. What mixes all positions (a mean, a linear layer) sees the whole map.

    nodes = on_path(output.grad_fn, leaf)
    [find_trouble(node, inputs) for node, inputs in nodes]       # names, or None, of what has no deconvnet
    trace_graph(nodes).fields, trace_graph(nodes).chain
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from zfnet.deconv.dependence import HIDDEN
from zfnet.deconv.swapping import Step
from zfnet.errors import InputError

# Nodes of autograd's graph, without "Backward0": linear in their one input that depends on the pixels ...
POINTWISE = {
    "Add",
    "Sub",
    "Neg",
    "NativeBatchNorm",
    "CudnnBatchNorm",
    "MiopenBatchNorm",
    "Clone",
    "ToCopy",
    "Alias",
}
FACTORS = {  # where the two factors stand among a node's inputs: linear while only one depends on the pixels
    **dict.fromkeys(("Mul", "Div", "Mm", "Bmm", "Mv", "Dot", "Linear", "MkldnnLinear"), (0, 1)),
    **dict.fromkeys(("Convolution", "ConvolutionOverrideable", "MkldnnConvolution"), (0, 1)),
    **dict.fromkeys(("Addmm", "Addbmm", "Baddbmm", "Addmv"), (1, 2)),
}
BATCH_NORM = {"NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm"}  # input, γ, β: linear in the first
ELEMENTWISE = {"Mul", "Div"}
MIXING = {
    *(
        "Addmm",
        "Addbmm",
        "Baddbmm",
        "Addmv",
        "Mm",
        "Bmm",
        "Mv",
        "Dot",
        "Linear",
        "MkldnnLinear",
        "View",
        "UnsafeView",
        "ReshapeAlias",
        "Expand",
    ),
    *("Permute", "Transpose", "T", "Stack", "Unbind", "Slice", "Select", "Split", "SplitWithSizes", "Index"),
    *(
        "Narrow",
        "Squeeze",
        "Unsqueeze",
        "Mean",
        "Sum",
        "AvgPool2D",
        "AdaptiveAvgPool2D",
        "MkldnnAdaptiveAvgPool2D",
    ),
    *(
        "Convolution",
        "ConvolutionOverrideable",
        "MkldnnConvolution",
        "ConstantPadNd",
        "ReflectionPad2D",
        "ReplicationPad2D",
        "AsStrided",
    ),
    *(
        "UpsampleNearest2D",
        "UpsampleBilinear2D",
        "PixelShuffle",
        "PixelUnshuffle",
        "Repeat",
        "Roll",
        "Flip",
        "Cat",
    ),
}
RULES = {"_Relu", "_MaxPool", "_Normalisation"}
CHANNELWISE = {"Cat", "Slice", "Split", "Select", "Unsqueeze"}  # where they act on axis 1: maps
CHAIN = {"conv", "relu", "pool", "norm", "scale"}


@dataclass(frozen=True)
class Field:
    """What the units of a layer see of a map below, along one axis; `whole`: all of it."""

    jump: int = 1
    start: int = 0
    field: int = 1
    whole: bool = False

    def below(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> "Field":
        if self.whole:
            return self
        field = (self.field - 1) * stride + (kernel - 1) * dilation + 1
        return Field(self.jump * stride, self.start * stride - padding, field)

    def joined(self, other: "Field") -> "Field":
        if self.whole or other.whole or self.jump != other.jump:
            return Field(whole=True)
        start = min(self.start, other.start)
        return Field(self.jump, start, max(self.start + self.field, other.start + other.field) - start)

    def cells(self, index: int, size: int) -> range:
        """What unit `index` sees, beyond the border too."""
        first = self.start + index * self.jump
        return range(size) if self.whole else range(first, first + self.field)


@dataclass(frozen=True)
class Path:
    """The way from a layer to the pixels: fields (vertical, horizontal), and its steps from the pixels up if
    it is a chain of convolutions, rectifiers, poolings and normalisations."""

    fields: tuple[Field, Field]
    chain: list[Step] | None


def kind(node: Any) -> str:
    """The operation of a node: MulBackward0 → Mul, _ReluBackward → _Relu."""
    return node.name().split("::")[-1].rstrip("0123456789").removesuffix("Backward")


def _ordered(root: Any) -> list[Any]:
    """All nodes behind `root`, each after those that feed on it."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, finished = stack.pop()
        if finished:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(below, False) for below, _ in node.next_functions if below is not None]
    return order[::-1]


def on_path(
    root: Any, pixels: Tensor, hidden: Callable[[Tensor], bool] = lambda _: False
) -> list[tuple[Any, list[Any]]]:
    """The nodes between `root` and the leaf `pixels`, which comes last, each with those that it reads there.

    `hidden(leaf)` says whether another leaf depends on the pixels, or is random, without autograd knowing it; a node
    on the path that reads what was made of it is marked. InputError when `root` does not depend on the pixels.
    """
    order = _ordered(root)
    depends: dict[Any, bool] = {}
    gates: dict[Any, str] = {}
    for node in reversed(order):
        variable = getattr(node, "variable", None)
        below = [each for each, _ in node.next_functions if each is not None]
        depends[node] = variable is pixels or any(depends[each] for each in below)
        if variable is not None and variable is not pixels and hidden(variable):
            gates[node] = HIDDEN
        elif inherited := [gates[each] for each in below if each in gates and not depends[each]]:
            gates[node] = inherited[0]
            if depends[node]:
                node.metadata.setdefault("gate", f"{_called(node)} with {HIDDEN} ({inherited[0]})")
        if not depends[node] and (gate := node.metadata.get("gate")):
            gates[node] = gate
    if not depends[root]:
        raise InputError("the layer does not depend on the pixels")
    return [
        (node, [below for below, _ in node.next_functions if below is not None and depends[below]])
        for node in order
        if depends[node]
    ]


def trace_graph(nodes: list[tuple[Any, list[Any]]]) -> Path:
    """The fields and the chain of the nodes on a path."""
    fields: dict[Any, tuple[Field, Field]] = {nodes[0][0]: (Field(), Field())}
    chain: list[Step] | None = []
    for node, inputs in nodes[:-1]:
        step = node.metadata.get("step")
        below = _fields_below(node, step, fields[node])
        for other in inputs:
            known = fields.get(other)
            fields[other] = below if known is None else (known[0].joined(below[0]), known[1].joined(below[1]))
        if len(inputs) > 1 or (step.kind not in CHAIN if step else kind(node) not in ("Clone", "Alias")):
            chain = None
        elif chain is not None and step is not None:
            chain.append(step)
    return Path(fields[nodes[-1][0]], chain[::-1] if chain is not None else None)


def find_trouble(node: Any, inputs: list[Any]) -> str | None:
    """The name of an operation that has no deconvnet, of a node and what it reads on the path."""
    name = kind(node)
    if gate := node.metadata.get("gate"):
        return gate
    places = [place for place, (below, _) in enumerate(node.next_functions) if below in inputs]
    if name in BATCH_NORM and inputs and getattr(node, "_saved_training", False):
        return "batch normalisation by the batch itself"
    together = name in FACTORS and all(place in places for place in FACTORS[name])
    if together or (name == "Div" and 1 in places) or (name in BATCH_NORM and 1 in places):
        return f"{_called(node)} of two values that both depend on the pixels"
    if name in RULES or name in MIXING or name in POINTWISE or name in FACTORS or not inputs:
        return None
    return node.metadata.get("call", name.lower())


def _called(node: Any) -> str:
    """The function that made a node, as the caller spelt it."""
    return node.metadata.get("call") or kind(node).lower()


def _fields_below(node: Any, step: Step | None, above: tuple[Field, Field]) -> tuple[Field, Field]:
    name = kind(node)
    if step is not None and step.window is not None:
        w = step.window
        vertical, horizontal = (
            above[axis].below(w.kernel[axis], w.stride[axis], w.padding[axis], w.dilation[axis])
            for axis in (0, 1)
        )
        return vertical, horizontal
    of_channels = name in CHANNELWISE and getattr(node, "_saved_dim", 0) in (1, 2**64 - 3)
    if step is not None or name in POINTWISE or name in ELEMENTWISE or of_channels:
        return above
    return Field(whole=True), Field(whole=True)
