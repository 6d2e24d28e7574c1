"""Analyzes autograd's graph of a forward pass: is there a deconvnet, and what does a unit see?

A deconvnet exists if every operation between the pixels and a layer has a rule, or is linear in the
values that depend on the pixels. Receptive fields are computed from the layer down, along each
axis: if the units of the layer see the cells start + jump·i ... start + jump·i + field - 1 of a map
above a window with kernel k, stride s and padding p, then below it

    jump' = jump·s      start' = start·s - p      field' = (field - 1)·s + k

Where branches meet, the field is their union. Operations that mix all positions (a mean, a linear
layer) see the whole map.

    >>> from zfnet.deconv.graph import Field
    >>> pooled = Field().below(kernel=3, stride=1, padding=1)  # a convolution
    >>> pooled.below(kernel=3, stride=2, padding=0)  # a pooling below it
    Field(jump=2, start=-2, field=7, whole=False)
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from zfnet.deconv.dependence import HIDDEN
from zfnet.deconv.nodes import (
    ADDITIVE,
    BATCH_NORM,
    CHANNELWISE,
    ELEMENTWISE,
    FACTORS,
    RESHAPING,
    SUPPORTED,
    call_name,
    kind,
)
from zfnet.deconv.steps import Step
from zfnet.errors import InputError

CHAIN = {"conv", "relu", "activation", "pool", "norm", "scale"}


@dataclass(frozen=True)
class Field:
    """The cells of a lower map that the units of a layer see, along one axis.

    Attributes:
        jump: cells between the fields of neighboring units.
        start: first cell that unit 0 sees.
        field: number of cells that a unit sees.
        whole: whether every unit sees the whole map.
    """

    jump: int = 1
    start: int = 0
    field: int = 1
    whole: bool = False

    def below(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> "Field":
        """Returns the field below one more sliding window."""
        if self.whole:
            return self
        field = (self.field - 1) * stride + (kernel - 1) * dilation + 1
        return Field(self.jump * stride, self.start * stride - padding, field)

    def union(self, other: "Field") -> "Field":
        """Returns the field of units that see both fields."""
        if self.whole or other.whole or self.jump != other.jump:
            return Field(whole=True)
        start = min(self.start, other.start)
        return Field(
            self.jump, start, max(self.start + self.field, other.start + other.field) - start
        )

    def cells(self, index: int, size: int) -> range:
        """Returns the cells that unit `index` sees, including those beyond the border."""
        first = self.start + index * self.jump
        return range(size) if self.whole else range(first, first + self.field)

    def cell(self, index: int, count: int, size: int) -> tuple[int, int]:
        """Returns the first and the last cell, exclusive, at the position of unit `index`.

        These are the `jump` cells in the middle of what it sees. If the units see the whole map,
        each of the `count` units has an equal part of it.

        Example:
            >>> Field(whole=True).cell(1, count=4, size=32), Field(8, -6, 20).cell(1, 4, 32)
            ((8, 16), (8, 16))
        """
        if self.whole:
            return index * size // count, (index + 1) * size // count
        first = self.start + index * self.jump + (self.field - self.jump) // 2
        return max(0, first), min(size, first + self.jump)


@dataclass(frozen=True)
class Path:
    """The path from a layer to the pixels.

    Attributes:
        fields: what its units see of the image, (vertical, horizontal).
        chain: the steps from the pixels up, if the path is a chain of convolutions, ReLUs, poolings
            and normalizations; otherwise None.
        extended: the extended rules on the path, by name, with the number of their uses.
        switched: whether anything on the path is a switch: a max pooling, a gate, attention or
            statistics of the image. Otherwise the projection is the same for every image. True for
            a layer below the second rectifier, whose projections are filters.
        local: whether the units see no more than their fields, not even by gates or statistics.
    """

    fields: tuple[Field, Field]
    chain: list[Step] | None
    extended: dict[str, int]
    switched: bool
    local: bool


def _topological_order(root: Any) -> list[Any]:
    """Returns all nodes that `root` depends on, each after the nodes that depend on it."""
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


def nodes_on_path(
    root: Any, pixels: Tensor, hidden: Callable[[Tensor], bool] = lambda _: False
) -> list[tuple[Any, list[Any]]]:
    """Finds the nodes between `root` and the leaf `pixels`, in topological order.

    Args:
        root: the node of a layer's output.
        pixels: a leaf of the graph.
        hidden: whether another leaf depends on the pixels, or is random, unknown to autograd. Nodes
            on the path that use such values are marked.

    Returns:
        Pairs of a node and its inputs on the path. The leaf comes last.

    Raises:
        InputError: `root` does not depend on the pixels.
    """
    order = _topological_order(root)
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
                node.metadata.setdefault(
                    "gate", f"{call_name(node)} with {HIDDEN} ({inherited[0]})"
                )
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
    """Computes the fields and the chain of a path from `nodes_on_path`."""
    fields: dict[Any, tuple[Field, Field]] = {nodes[0][0]: (Field(), Field())}
    chain: list[Step] | None = []
    for node, inputs in nodes[:-1]:
        step = node.metadata.get("step")
        below = _fields_below(node, step, fields[node], inputs)
        for other in inputs:
            known = fields.get(other)
            fields[other] = (
                below if known is None else (known[0].union(below[0]), known[1].union(below[1]))
            )
        if len(inputs) > 1 or (
            step.kind not in CHAIN if step else kind(node) not in ("Clone", "Alias")
        ):
            chain = None
        elif chain is not None and step is not None:
            chain.append(step)
    extended = Counter(rule for node, _ in nodes if (rule := _rule(node)))
    steps = chain[::-1] if chain is not None else None
    found = fields[nodes[-1][0]]
    local = not any(field.whole for field in found) and all(
        node.metadata.get("local", True) for node, _ in nodes
    )
    rectifiers = sum(kind(node) == "Rectify" for node, _ in nodes)
    switched = rectifiers < 2 or any(_is_switch(node) for node, _ in nodes)
    return Path(found, steps, dict(extended), switched, local)


def _rule(node: Any) -> str | None:
    """Returns the name of the extended rule of a node, if it has one."""
    return node.metadata.get("rule")


def _is_switch(node: Any) -> bool:
    """Whether what a node does with R depends on the image."""
    return kind(node) == "MaxPool" or (kind(node) != "Rectify" and _rule(node) is not None)


def find_trouble(node: Any, inputs: list[Any]) -> str | None:
    """Returns why a node has no deconvnet, or None if it has one.

    Args:
        node: a node of autograd's graph.
        inputs: its inputs on the path.
    """
    name = kind(node)
    if gate := node.metadata.get("gate"):
        return gate
    places = [place for place, (below, _) in enumerate(node.next_functions) if below in inputs]
    if name in BATCH_NORM and inputs and getattr(node, "_saved_training", False):
        return "batch normalization by the statistics of the batch"
    together = name in FACTORS and all(place in places for place in FACTORS[name])
    second = name in BATCH_NORM or name in ("Div", "GridSampler2D")  # nonlinear in their second
    if together or (second and 1 in places):
        return f"{call_name(node)} of two values that both depend on the pixels"
    if name in SUPPORTED or not inputs or (name == "CopySlices" and node.metadata.get("known")):
        return None
    return node.metadata.get("call", name.lower())


def _fields_below(
    node: Any, step: Step | None, above: tuple[Field, Field], inputs: list[Any]
) -> tuple[Field, Field]:
    name = kind(node)
    if step is not None and step.window is not None:
        w = step.window
        vertical, horizontal = (
            above[axis].below(w.kernel[axis], w.stride[axis], w.padding[axis], w.dilation[axis])
            for axis in (0, 1)
        )
        return vertical, horizontal
    of_channels = name in CHANNELWISE and getattr(node, "_saved_dim", 0) in (1, 2**64 - 3)
    pointwise = step is not None or name == "Rectify" or node.metadata.get("pointwise")
    stays = name in RESHAPING and node.metadata.get("grid") is not None
    stays = stays and all(each.metadata.get("grid") == node.metadata["grid"] for each in inputs)
    if pointwise or name in ADDITIVE or name in ELEMENTWISE or of_channels or stays:
        return above
    return Field(whole=True), Field(whole=True)
