"""Notes on the nodes of autograd's graph: which operation made a value, and by which rule.

Notes are stored in the metadata of a node, where graph.py and products.py read them:

    call        name of the function, as the model called it
    step        the `Step` of an operation with a window, a scale or a rectifier, or None
    rule        name of the extended rule, or None
    source      (x, version of x) for x * 0.5 and x / 2
    pointwise   whether each element is computed from the same element of the input
    local       whether a switch at a position depends on that position only
    bounded     whether a rectifier has an upper bound
    queries     the numbers of the outputs that were queries or weights of attention
    known       whether the last change to a part of a tensor was linear or has a rule

>>> import torch
>>> from zfnet.deconv.notes import record
>>> value = record(torch.ones(1, requires_grad=True) * 2, None, "mul")
>>> value.grad_fn.metadata["call"]
'mul'
"""

from typing import Any

from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from zfnet.deconv.nodes import VIEWS, edges_below, kind
from zfnet.deconv.products import DIVIDE, MULTIPLY
from zfnet.deconv.steps import Step


def record(out: Tensor, step: Step | None, call: str = "", rule: str | None = None) -> Tensor:
    """Stores what made a value on its node, unless another call made it.

    Args:
        out: the value.
        step: what it did.
        call: name of the function.
        rule: name of the extended rule.

    Returns:
        `out`.
    """
    node: Any = out.grad_fn
    if node is not None and "call" not in node.metadata:
        node.metadata.update(step=step, call=call, rule=rule)
    return out


def note(out: Tensor, **facts: Any) -> None:
    """Stores facts on the node of `out`, if it has one."""
    node: Any = out.grad_fn
    if node is not None:
        node.metadata.update(facts)


def note_part(x: Tensor) -> None:
    """Notes that the last change to a part of a tensor, if x is one, was a rule or linear."""
    if x._is_view() and x._base is not None:
        note(x._base, known=True)


def note_query(x: Tensor) -> None:
    """Notes that a value, and what it is a view of, was a query or a weight of attention."""
    start = get_gradient_edge(x)
    views = edges_below((start.node, start.output_nr), lambda edge: kind(edge[0]) in VIEWS)
    for node, output in views:
        node.metadata.setdefault("queries", set()).add(output)


def remember_source(func: Any, args: Any, out: Any) -> None:
    """Stores x on the node of x * 0.5 or x / 2, the results of a call."""
    if (func in MULTIPLY or func in DIVIDE) and len(args) == 2 and isinstance(out, Tensor):
        x, factor = args
        if isinstance(x, Tensor) and isinstance(factor, int | float) and factor > 0:
            note(out, source=(x, x._version))


def sources(x: Tensor) -> list[Tensor]:
    """Returns x and, if x is a positive multiple of another value, this one too, and so on."""
    found = [x]
    node: Any = x.grad_fn
    while node is not None and (known := node.metadata.get("source")):
        source, version = known
        if source._version != version:
            break
        found.append(source)
        node = source.grad_fn
    return found
