"""Finds the prefix of a network that is a chain of layers, and runs the rest on given features.

The chain ends at the first branch or operation that mixes all positions. The rest is the model
itself, whose first calls are skipped; the last of them returns the features.

    >>> import torch
    >>> from zfnet.analysis.occlusion.prefix import find_prefix
    >>> from zfnet.models import ZFNET, ConvNet
    >>> net = ConvNet(ZFNET, num_classes=10, image_size=64).eval()
    >>> prefix = find_prefix(net, torch.zeros(1, 3, 64, 64), ["conv5"])
    >>> [step.kind for step in prefix.steps[:4]], prefix.after
    (['conv', 'relu', 'pool', 'norm'], {'conv5': 14})
    >>> prefix.head(torch.zeros(2, 256, 1, 1)).shape
    torch.Size([2, 10])
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from zfnet.deconv.activations import find_rectifier
from zfnet.deconv.graph import CHAIN, find_trouble, nodes_on_path
from zfnet.deconv.mode import CHAIN_CALLS, DeconvMode
from zfnet.deconv.nodes import kind
from zfnet.deconv.rules import Rules
from zfnet.deconv.steps import Step
from zfnet.deconv.tracing import traced_forward
from zfnet.models.introspection import find_modules
from zfnet.models.outputs import read_classes


class _Injection(TorchFunctionMode):
    """Skips the first `count` steps after `blank`; the last of them returns `features`."""

    def __init__(self, count: int, blank: Tensor, features: Tensor) -> None:
        super().__init__()
        self.left, self.current, self.features = count, blank, features

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        known = func in CHAIN_CALLS or find_rectifier(func, args, kwargs) is not None
        if self.left and known and (args[0] if args else kwargs.get("input")) is self.current:
            self.left -= 1
            self.current = self.current.view_as(self.current) if self.left else self.features
            return self.current
        return (_linear if func is F.linear else func)(*args, **kwargs)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Computes a linear layer without gradient by oneDNN's matrix product, if torch has it.

    It is twice as fast as torch's default on CPUs not made by Intel, and equal up to rounding.
    """
    plain = input.device.type != "cpu" or not input.dtype == weight.dtype == torch.float32
    if plain or torch.is_grad_enabled() or not torch.backends.mkldnn.is_available():
        return F.linear(input, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")


@dataclass(frozen=True)
class Prefix:
    """The prefix of a model.

    Attributes:
        model: the whole model.
        read: reads logits (N, classes) from its outputs.
        steps: of the chain, from the pixels up.
        after: layer → the number of steps after which it stands, for layers in the chain.
    """

    model: nn.Module
    read: Callable[[Any], Tensor]
    steps: list[Step]
    after: dict[str, int]

    def head(self, features: Tensor) -> Any:
        """Runs the rest of the model, in eval mode, on features (N, C, h, w) of the prefix."""
        blank = features.new_zeros(1).expand(len(features), 3, 1, 1)
        with _Injection(len(self.steps), blank, features):
            return self.model(blank)

    def reproduces(self, features: Tensor, logits: Tensor) -> bool:
        """Whether the head reproduces the model's logits from features.

        It does not if the model uses its input in other ways than through the chain.
        """
        try:
            found = self.read(self.head(features.clone()))
        except (RuntimeError, ValueError, TypeError, AssertionError):
            return False
        return found.shape == logits.shape and torch.allclose(found, logits, rtol=1e-3, atol=1e-4)


def find_prefix(
    model: nn.Module,
    image: Tensor,
    layers: Sequence[str] = (),
    read: Callable[[Any], Tensor] | None = None,
) -> Prefix:
    """Finds the chain at the start of a model.

    Args:
        model: any model.
        image: (1, C, H, W).
        layers: names of layers to locate in the chain.
        read: reads logits (1, classes) from the outputs; None if these are the outputs.

    Returns:
        The prefix, which may be empty.
    """
    ends: dict[str, Any] = {}
    logits_of = read or partial(read_classes, type(model).__name__)

    def record(layer: str, output: Tensor) -> None:
        ends[layer] = get_gradient_edge(output).node if output.requires_grad else None

    mode = DeconvMode(Rules(others="gradient"))
    with traced_forward(model, mode, image, find_modules(model, layers), record) as (
        pixels,
        inputs,
    ):
        out = logits_of(model(inputs))
    assert mode.dependence is not None
    if out.grad_fn is None:  # the score has no gradient
        return Prefix(model, logits_of, [], {})
    nodes = nodes_on_path(out.grad_fn, pixels, mode.dependence.depends)
    readers: dict[Any, int] = {}
    for _, below in nodes:
        for node in below:
            readers[node] = readers.get(node, 0) + 1
    steps: list[Step] = []
    places: dict[Any, int] = {}
    previous = nodes[-1][0]
    for node, below in reversed(nodes[:-1]):
        step = node.metadata.get("step")
        alias = step is None and kind(node) in ("Clone", "Alias")
        alone = below == [previous] and readers[previous] == 1 and not find_trouble(node, below)
        if not alone or not (alias or (step and step.kind in CHAIN)):
            break
        steps += [] if alias else [step]
        places[node] = len(steps)
        previous = node
    after = {layer: places[node] for layer, node in ends.items() if node in places}
    if not all(after.values()):  # a layer before the first step
        return Prefix(model, logits_of, [], {})
    return Prefix(model, logits_of, steps, after)
