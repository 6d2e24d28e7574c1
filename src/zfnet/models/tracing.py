"""Traces a forward pass to find the modules that return activations of convolutions.

    >>> import torch
    >>> from torch import nn
    >>> from zfnet.models.tracing import trace
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    >>> passed = trace(model, torch.zeros(1, 3, 8, 8))
    >>> passed.activated()
    ['1']
    >>> passed.before_classifier()
    '2'

A `TorchFunctionMode` follows the tensors from operation to operation, because an activation may be
a module, a function inside another module, a module that is called several times, or a product such
as x * sigmoid(x). A tensor is identified together with its version, because an in-place activation
returns the convolution's own tensor.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from zfnet.models.introspection import capture_outputs, eval_mode, plain_name, user_module

CONVOLUTIONS = {"conv2d", "conv_transpose2d"}
WEIGHTED = CONVOLUTIONS | {
    "linear", "bilinear", "matmul", "bmm", "mm", "addmm", "baddbmm", "einsum", "conv1d", "conv3d",
    "scaled_dot_product_attention", "multi_head_attention_forward",
}  # fmt: skip
# Gates: as a factor of a product they only scale another value.
GATES = {"sigmoid", "hardsigmoid", "tanh", "gt", "ge", "lt", "le"}
ACTIVATIONS = GATES | {
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish",
    "hardswish", "hardtanh", "hardshrink", "softshrink", "tanhshrink", "softplus", "softsign",
    "threshold", "glu", "logsigmoid", "clamp", "clamp_min", "clamp_max", "clip", "maximum",
    "minimum",
}  # fmt: skip
COPIES = {
    "clone",
    "contiguous",
    "detach",
    "alias",
    "to",
    "type",
    "float",
    "half",
    "double",
    "bfloat16",
}
SHAPES = {
    "view",
    "reshape",
    "flatten",
    "unflatten",
    "squeeze",
    "unsqueeze",
    "getitem",
    "expand",
    "view_as",
}
MOVES = {"permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis"}
POOLINGS = {
    "max_pool2d", "max_pool2d_with_indices", "avg_pool2d", "adaptive_avg_pool2d",
    "adaptive_max_pool2d", "lp_pool2d", "mean", "amax", "sum", "boolean_dispatch",
}  # fmt: skip
GLOBAL_POOLINGS = {"adaptive_avg_pool2d", "adaptive_max_pool2d", "mean", "amax", "sum"}
JOINS = {
    "cat", "concat", "concatenate", "stack", "add", "chunk", "split", "dropout", "dropout2d",
    "feature_dropout",
}  # fmt: skip
WITH_NUMBERS = {"add", "sub", "rsub", "mul", "div", "true_divide", "multiply"}
PRIMES = (2, 3, 5, 7, 11, 13)


@dataclass(frozen=True)
class Value:
    """How a tensor was computed from the last operations with weights."""

    roots: frozenset[int]  # indices of those operations
    convolved: bool  # one of them is a convolution
    op: str  # the operation that made it, ignoring changes of shape
    event: int | None = None  # the activation or convolution whose output it is, unchanged
    activated: bool = False  # the output of an activation, or a mean, maximum or part of one
    pooled: bool = False  # pooled over the whole image, as inside a gate
    axis: int = 1  # the axis of the channels


@dataclass(frozen=True)
class WeightedOp:
    """An operation with weights."""

    op: str
    pointwise: bool  # 1 x 1, with a bias
    inputs: Value | None


@dataclass(frozen=True)
class ModuleOutput:
    """A module's output, and the number of operations with weights that had run before."""

    name: str
    value: Value | None
    weighted: int
    maps: bool  # (1, C, H, W)
    leaf: bool


class Trace(TorchFunctionMode):
    """The record of one forward pass.

    Args:
        linear: whether a model without recorded activations may be treated as linear.
    """

    def __init__(self, linear: bool) -> None:
        super().__init__()
        self.linear = linear
        self.weighted: list[WeightedOp] = []
        self.events: list[str] = []  # activations and convolutions
        self.gates: set[int] = set()  # events that only scale another value
        self.ran: list[ModuleOutput] = []
        self.counts: Counter[str] = Counter()
        self.output: Any = None
        self._values = WeakTensorKeyDictionary()

    def record(self, name: str, module: nn.Module, output: Tensor) -> None:
        """Records a module's output."""
        self.counts[name] += 1
        leaf = not list(module.children())
        self.ran.append(
            ModuleOutput(name, self.value(output), len(self.weighted), output.dim() == 4, leaf)
        )

    def value(self, tensor: Any) -> Value | None:
        """Returns what is known of a tensor, or None if it was changed since."""
        if not isinstance(tensor, Tensor):
            return None
        value, version = self._values.get(tensor, (None, None))
        return value if version == _version(tensor) else None

    def activated(self) -> list[str]:
        """Returns the modules that run once and return the activation of a convolution, in order.

        If several modules return the same activation, the innermost counts. Gates
        (squeeze-and-excitation) are left out, and so is the classifier of a model that ends with a
        1x1 convolution and global pooling. In a model without any activation, the convolutions
        themselves count.
        """
        ops = set(self.events) | {each.op for each in self.weighted}
        linear = self.linear and ops <= CONVOLUTIONS | {"linear"}
        names: dict[int, str] = {}
        for ran in self.ran:
            value = ran.value
            if not (ran.maps and self._is_named(ran)) or value is None or value.event is None:
                continue
            wanted = value.activated or linear
            if wanted and value.convolved and not value.pooled and value.axis == 1:
                names.setdefault(value.event, ran.name)
        found = [name for event, name in sorted(names.items()) if event not in self.gates]
        classifiers = {name for name in names.values() if self._is_classifier(name)}
        return [name for name in found if name not in classifiers] or found

    def before_classifier(self) -> str | None:
        """Returns the last module before the last operation with weights, or None.

        If that operation sees activations, the module must return activations.
        """
        if len(self.weighted) < 2:
            return None
        last = len(self.weighted) - 1
        inputs = self.weighted[last].inputs
        any_sign = inputs is None or not inputs.activated
        before = [
            ran
            for ran in self.ran
            if 0 < ran.weighted <= last
            and self._is_named(ran)
            and ran.value
            and (ran.value.activated or any_sign)
        ]
        same = [ran for ran in before if ran.value is before[-1].value]
        return (
            next((ran.name for ran in reversed(same) if ran.leaf), same[-1].name) if same else None
        )

    def _is_named(self, ran: ModuleOutput) -> bool:
        """Whether a module has a name and has run once."""
        return bool(ran.name) and self.counts[ran.name] == 1

    def _is_classifier(self, name: str) -> bool:
        """Whether a module returns the output of a final 1x1 convolution with a bias."""
        value = next(ran.value for ran in self.ran if ran.name == name)
        ends = (
            isinstance(self.output, Tensor)
            and self.output.dim() == 2
            and self.weighted[-1].pointwise
        )
        return ends and value is not None and value.roots == {len(self.weighted) - 1}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").partition(".")[0].strip("_")
        if name in ("get", "set"):  # attributes, such as x.shape
            return func(*args, **kwargs)
        tensors = list(_tensors((args, kwargs)))
        before = [(each, self.value(each)) for each in tensors]
        out = func(*args, **kwargs)
        results = [
            each for each in _tensors(out) if each.is_floating_point() or each.dtype == torch.bool
        ]
        known = [value for _, value in before if value is not None]
        if not results or not (known or name in WEIGHTED):
            return out
        if any(
            results[0] is each and value is not None and self.value(each) == value
            for each, value in before
        ):
            return out  # dropout in eval mode, or a copy that was not needed
        value = self._infer(name, before, results[0])
        if name in MOVES and value.axis < tensors[0].dim() <= len(PRIMES):
            value = replace(
                value, axis=_permuted_axis(func, args, kwargs, tensors[0].dim(), value.axis)
            )
        for each in results:
            self._values[each] = (value, _version(each))
        return out

    def _infer(
        self, name: str, inputs: Sequence[tuple[Tensor, Value | None]], result: Tensor
    ) -> Value:
        """Infers the value of an operation's result."""
        known = [value for _, value in inputs if value is not None]
        if name in WEIGHTED:
            return self._weighted(name, inputs)
        first = known[0]
        roots = (
            frozenset().union(*(value.roots for value in known if not value.activated))
            or first.roots
        )
        small = result.dim() < 4 or result.shape[-2:] == (1, 1)
        channels = result.dim() == 4 and result.shape[1:2] == inputs[0][0].shape[1:2]
        value = Value(
            roots,
            any(each.convolved for each in known),
            first.op if name in SHAPES | MOVES | COPIES else name,
            pooled=small
            and (all(each.pooled for each in known) or (name in GLOBAL_POOLINGS and channels)),
            axis=1 if name in SHAPES else first.axis,
        )
        if name in ACTIVATIONS:
            return self._activation(name, first)
        if name in ("mul", "multiply", "where") and len(known) > 1:
            return self._product(value, known)
        if name in COPIES or (name in WITH_NUMBERS and len(inputs) == 1):
            return replace(first, pooled=value.pooled)
        if name in SHAPES | MOVES | POOLINGS | JOINS and all(each.activated for each in known):
            return replace(value, activated=True)
        return value

    def _weighted(self, name: str, inputs: Sequence[tuple[Tensor, Value | None]]) -> Value:
        seen, convolution = inputs[0][1], name in CONVOLUTIONS
        pointwise = convolution and len(inputs) > 2 and inputs[1][0].shape[-2:] == (1, 1)
        self.weighted.append(WeightedOp(name, pointwise, seen))
        event = self._event(name) if convolution else None
        number, pooled = len(self.weighted) - 1, seen is not None and seen.pooled
        return Value(frozenset({number}), convolution, name, event, pooled=pooled)

    def _activation(self, name: str, value: Value) -> Value:
        """Returns the value of an activation's output."""
        return replace(value, op=name, event=self._event(name), activated=True)

    def _product(self, value: Value, factors: Sequence[Value]) -> Value:
        """Infers the value of a product: x * sigmoid(x) is an activation, others are gates."""
        gates = [each for each in factors if each.activated and each.event is not None]
        sums = [each for each in factors if not each.activated]
        own = [
            each
            for each in gates
            if any(each.roots == x.roots and each.convolved == x.convolved for x in sums)
        ]
        self.gates |= {each.event for each in gates if each in own or each.op in GATES}  # type: ignore[misc]
        if own:
            return self._activation("product", sums[0])
        return replace(value, activated=all(each.activated for each in factors))

    def _event(self, name: str) -> int:
        self.events.append(name)
        return len(self.events) - 1


def trace(model: nn.Module, image: Tensor) -> Trace:
    """Traces a forward pass in eval mode. The model is left unchanged.

    Args:
        model: any model.
        image: an input (1, C, H, W).
    """
    model = user_module(model)
    modules = hookable(model)
    passed = Trace(linear=len(modules) == len(list(model.modules())))

    def read(name: str, output: Tensor) -> None:
        passed.record(plain_name(name), modules[name], output)

    with (
        torch.inference_mode(False),
        torch.no_grad(),
        eval_mode(model),
        capture_outputs(modules, read, needed=()),
    ):
        image = image.clone()
        with passed:
            passed.output = model(image)
    return passed


def hookable(model: nn.Module) -> dict[str, nn.Module]:
    """Returns all modules by name, except scripted ones, which accept no hooks."""
    return {
        name: each
        for name, each in model.named_modules()
        if not isinstance(each, torch.jit.ScriptModule)
    }


def _tensors(values: Any) -> Iterator[Tensor]:
    """Yields the tensors in nested arguments, lists and mappings."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for each in values:
            yield from _tensors(each)
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _permuted_axis(func: Any, args: Any, kwargs: Any, dims: int, axis: int) -> int:
    """Returns the position of an axis after a permutation."""
    shape = func(torch.empty(PRIMES[:dims], device="meta"), *args[1:], **kwargs).shape
    return list(shape).index(PRIMES[axis]) if axis < dims else axis
