"""Where a net is a chain: its steps from the pixels up to the first branch or mixture of positions, and the rest.

    trunk = find_prefix(model, image)                  # trunk.steps: convolutions, rectifiers, poolings, ...
    logits = trunk.head(features)                   # the rest of the model, on what comes out of the trunk

The rest is the model itself: its first calls are skipped, and the last of them gives the features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from zfnet.deconv.graph import CHAIN, find_trouble, kind, on_path
from zfnet.deconv.rules import Rules
from zfnet.deconv.swapping import DeconvMode, Step, is_step
from zfnet.deconv.tracing import traced_forward
from zfnet.models.introspection import find_modules
from zfnet.models.outputs import check_classes


class _Injected(TorchFunctionMode):
    """The steps that follow each other from `blank`, `count` of them, are skipped; the last gives `features`."""

    def __init__(self, count: int, blank: Tensor, features: Tensor) -> None:
        super().__init__()
        self.left, self.current, self.features = count, blank, features

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.left and is_step(func) and (args[0] if args else kwargs.get("input")) is self.current:
            self.left -= 1
            self.current = self.current.view_as(self.current) if self.left else self.features
            return self.current
        return (_linear if func is F.linear else func)(*args, **kwargs)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The linear layer without gradient, in oneDNN's product where torch has it: twice as fast as the default on CPUs
    that are not Intel's, and equal within rounding."""
    plain = input.device.type != "cpu" or not input.dtype == weight.dtype == torch.float32
    if plain or torch.is_grad_enabled() or not torch.backends.mkldnn.is_available():
        return F.linear(input, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")


@dataclass(frozen=True)
class Prefix:
    """The steps of the chain, and after how many of them each layer asked for stands, if it is one of them."""

    model: nn.Module
    steps: list[Step]
    after: dict[str, int]

    def head(self, features: Tensor) -> Tensor:
        """What the model makes of features (N, C, h, w) of its trunk; run it in eval mode."""
        blank = features.new_zeros(1).expand(len(features), 3, 1, 1)
        with _Injected(len(self.steps), blank, features):
            return self.model(blank)

    def holds(self, features: Tensor, logits: Tensor) -> bool:
        """Whether the head gives on features what the model gives on their images: it may work on its input in ways
        that no step says."""
        try:
            found = self.head(features.clone())
        except (RuntimeError, ValueError, TypeError, AssertionError):
            return False
        return found.shape == logits.shape and torch.allclose(found, logits, rtol=1e-3, atol=1e-4)


def find_prefix(model: nn.Module, image: Tensor, layers: Sequence[str] = ()) -> Prefix:
    """The chain at the bottom of `model`, for images like `image` (1, 3, H, W); it may be empty."""
    ends: dict[str, Any] = {}

    def read(layer: str, output: Tensor) -> None:
        ends[layer] = get_gradient_edge(output).node if output.requires_grad else None

    mode = DeconvMode(Rules(others="gradient"))
    with traced_forward(model, mode, image, find_modules(model, layers), read) as (pixels, inputs):
        out = model(inputs)
    check_classes(type(model).__name__, out, len(image))
    assert mode.dependence is not None
    nodes = on_path(out.grad_fn, pixels, mode.dependence.depends)
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
        return Prefix(model, [], {})
    return Prefix(model, steps, after)
