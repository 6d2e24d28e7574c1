"""A forward pass whose way back is the deconvnet's: each rule takes a call's place as the call happens.

ReLU, max pooling and contrast normalisation are exchanged inside a TorchFunctionMode, so that modules,
functions, in-place and shared ones are all caught and the model is neither patched nor hooked. Every call
that matters leaves a `Step` on its node of autograd's graph; what the graph holds beside them decides
whether the net has a deconvnet (graph.py).

    with DeconvMode(rules):
        values = model(images)
    torch.autograd.grad(values, images, seed)       # the deconvnet's projection of `seed`
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from zfnet.deconv.dependence import Dependence
from zfnet.deconv.rules import Pair, Rules, WindowSpec
from zfnet.models.layers import contrast_normalization

RELU = {F.relu, torch.relu, Tensor.relu}
RELU_IN_PLACE = {torch.relu_, Tensor.relu_}
MAX_POOL = {F.max_pool2d, F.max_pool2d_with_indices, torch.max_pool2d}
NORMALISATION = {F.local_response_norm, contrast_normalization}
POSITIVE = {torch.gt, Tensor.gt, Tensor.__gt__, torch.ge, Tensor.ge, Tensor.__ge__}
CASTS = {Tensor.float, Tensor.double, Tensor.half, Tensor.bfloat16, Tensor.to, Tensor.type, Tensor.type_as}
MULTIPLY = {torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.__mul__, Tensor.__rmul__}
MULTIPLY_IN_PLACE = {Tensor.mul_, Tensor.multiply_, Tensor.__imul__}
WHERE = {torch.where, Tensor.where}
READ_BY_PYTHON = {  # they read a tensor's memory, or one in a list, and dispatch nothing
    *(Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.__dlpack__),
    *(torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor),
}
INDEXING = {Tensor.__getitem__, Tensor.__setitem__}
STEPS = {*RELU, *RELU_IN_PLACE, *MAX_POOL, *NORMALISATION, torch.conv2d, F.batch_norm}


def is_step(func: Any) -> bool:
    """Whether a call is one of those that make up a chain."""
    return func in STEPS


@dataclass(frozen=True)
class Step:
    """One call as the windows need it: what kind it is, its window, and how to do it again."""

    kind: str  # conv, pool, relu, norm, scale, average, pad
    window: WindowSpec | None = None
    weight: Tensor | None = None  # conv: (out, in / groups, kh, kw); scale: (C,)
    bias: Tensor | None = None  # (out,); scale: (C,)
    groups: int = 1
    again: Callable[[Tensor], Tensor] | None = None  # norm: the same call on another tensor
    size: Pair = (0, 0)  # of the map that comes in
    scaling: Callable[[], tuple[Tensor, Tensor]] | None = None  # scale: its weight and bias as they are now

    def now(self) -> "Step":
        """The step with the model's weights as they are now; all others are the model's own memory."""
        if self.scaling is None:
            return self
        weight, bias = self.scaling()
        return replace(self, weight=weight, bias=bias)


def _pair(value: Any) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


class _Relu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rules: Rules, in_place: bool) -> Tensor:
        ctx.rules, ctx.active = rules, None
        if in_place:
            ctx.mark_dirty(x)
        out = torch.relu_(x) if in_place else torch.relu(x)
        if rules.asks_for_active:
            ctx.active = out > 0
        return out

    @staticmethod
    def backward(ctx: Any, r: Tensor) -> tuple[Tensor, None, None]:
        return ctx.rules.rectified(r, ctx.active), None, None


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, window: WindowSpec, rules: Rules) -> tuple[Tensor, Tensor]:
        out, switches = F.max_pool2d_with_indices(
            x, window.kernel, window.stride, window.padding, window.dilation, window.ceil
        )
        ctx.mark_non_differentiable(switches)
        ctx.switches, ctx.shape, ctx.window, ctx.rules = switches, x.shape, window, rules
        return out, switches

    @staticmethod
    def backward(ctx: Any, r: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        return ctx.rules.unpooled(r, ctx.switches, ctx.shape, ctx.window), None, None


class _Normalisation(torch.autograd.Function):
    """One node for the whole call, the identity or its gradient on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Callable[[Tensor], Tensor], rules: Rules) -> Tensor:
        ctx.local = None
        if rules.normalisation == "identity":
            return call(x)
        with torch.enable_grad():
            inputs = x.detach().requires_grad_()
            ctx.local = inputs, call(inputs)
        return ctx.local[1].detach()

    @staticmethod
    def backward(ctx: Any, r: Tensor) -> tuple[Tensor, None, None]:
        if ctx.local is None:
            return r, None, None
        inputs, outputs = ctx.local
        return torch.autograd.grad(outputs, inputs, r)[0], None, None


class DeconvMode(TorchFunctionMode):
    """Inside, the rules stand in for their calls, and each call's node carries its Step.

    `dependence` follows the pass beside it, if there is one.
    """

    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self.rules = rules
        self.dependence: Dependence | None = None
        self._compared: tuple[Tensor, Tensor, int] | None = None  # x > 0, x, and how often x was written then
        self._ordinary: dict[int, tuple[Tensor, Tensor]] = {}  # inference tensors and their copies

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = self._trackable(args), self._trackable(kwargs or {})
        if func in RELU_IN_PLACE or func in RELU:
            x = _argument(args, kwargs, 0, "input")
            in_place = func in RELU_IN_PLACE or _argument(args, kwargs, 1, "inplace", False)
            return _left(self._rule(_Relu, x, self.rules, in_place), Step("relu"))
        if (x := self._rectified(func, args)) is not None:
            return _left(self._rule(_Relu, x, self.rules, func in MULTIPLY_IN_PLACE), Step("relu"))
        if func in MAX_POOL:
            return self._max_pool(func, *args, **kwargs)
        if func in NORMALISATION:
            return self._normalisation(func, *args, **kwargs)
        if self.dependence is not None and (func in READ_BY_PYTHON or func in INDEXING):
            read = _in_lists(args[1]) if func in INDEXING else [args, kwargs]
            if any(isinstance(each, Tensor) and self.dependence.depends(each) for each in tree_leaves(read)):
                self.dependence.read_by_python(func.__name__)
        out = func(*args, **kwargs)
        self._compare(func, args, out)
        if isinstance(out, Tensor) and out.grad_fn is not None:
            _left(out, _step(func, args, kwargs), getattr(func, "__name__", ""))
        return out

    def own(self) -> AbstractContextManager[None]:
        """Inside, a rule runs, or what watches it: nothing of the model's."""
        return nullcontext() if self.dependence is None else self.dependence.rule()

    def _rule(self, rule: type[torch.autograd.Function], *args: Any) -> Any:
        with self.own():
            return rule.apply(*args)

    def _rectified(self, func: Any, args: Any) -> Tensor | None:
        """x, if a call is x * (x > 0) or where(x > 0, x, 0), spelt with one comparison of this very x."""
        if self._compared is None or len(args) < 2:
            return None
        mask, x, version = self._compared
        if func in MULTIPLY or func in MULTIPLY_IN_PLACE:
            factors = {id(args[0]), id(args[1])} == {id(mask), id(x)}
            found = factors and (func in MULTIPLY or args[0] is x)
        elif func in WHERE and len(args) == 3:
            condition, kept = (args[1], args[0]) if func is Tensor.where else args[:2]
            found = condition is mask and kept is x and self._is_zero(args[2])
        else:
            found = False
        return x if found and x._version == version else None

    def _compare(self, func: Any, args: Any, out: Any) -> None:
        """Remembers the last comparison with 0, as it is or as a number."""
        if func in POSITIVE and len(args) == 2 and isinstance(args[0], Tensor) and self._is_zero(args[1]):
            self._compared = out, args[0], args[0]._version
        elif self._compared is not None and func in CASTS and args[0] is self._compared[0]:
            self._compared = out, *self._compared[1:]

    def _is_zero(self, value: Any) -> bool:
        with self.own():
            return (
                not value.any()
                if isinstance(value, Tensor)
                else isinstance(value, int | float) and value == 0
            )

    def _trackable(self, values: Any) -> Any:
        """Arguments of a call, with copies in place of inference tensors, which autograd does not take."""
        if isinstance(values, dict):
            return {key: self._trackable(value) for key, value in values.items()}
        if isinstance(values, tuple | list) and type(values) in (tuple, list):
            return type(values)(self._trackable(value) for value in values)
        if not isinstance(values, Tensor) or not values.is_inference():
            return values
        if id(values) not in self._ordinary:
            self._ordinary[id(values)] = values, values.clone()
        return self._ordinary[id(values)][1]

    def _max_pool(
        self,
        func: Any,
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        kernel = _pair(kernel_size)
        strides = _pair(stride) if stride else kernel
        window = WindowSpec(kernel, strides, _pair(padding), _pair(dilation), ceil_mode)
        out, switches = self._rule(_MaxPool, input, window, self.rules)
        _left(out, Step("pool", window, size=_size(input)))
        return (out, switches) if return_indices or func is F.max_pool2d_with_indices else out

    def _normalisation(self, func: Any, *args: Any, **kwargs: Any) -> Tensor:
        rest = {key: value for key, value in kwargs.items() if key != "input"}

        def call(x: Tensor) -> Tensor:
            return func(x, *args[1:], **rest)

        x = _argument(args, kwargs, 0, "input")
        return _left(self._rule(_Normalisation, x, call, self.rules), Step("norm", again=call))


def _left(out: Tensor, step: Step | None, call: str = "") -> Tensor:
    """Leaves the step, and the call's name, on the node that made `out`, unless an earlier call made it."""
    node: Any = out.grad_fn
    if node is not None and "call" not in node.metadata:
        node.metadata.update(step=step, call=call)
    return out


def _in_lists(index: Any) -> list[Any]:
    """The lists of an index, whose tensors Python reads."""
    return [each for each in (index if isinstance(index, tuple) else (index,)) if isinstance(each, list)]


def _argument(args: Any, kwargs: Any, position: int, name: str, default: Any = None) -> Any:
    return args[position] if len(args) > position else kwargs.get(name, default)


def _size(x: Tensor) -> Pair:
    return (x.shape[-2], x.shape[-1])


def _step(func: Any, args: Any, kwargs: Any) -> Step | None:
    """The Step of a linear call, where it has a window or a scale of its own."""
    name = getattr(func, "__name__", "")
    if func is torch.conv2d:
        weight = _argument(args, kwargs, 1, "weight")
        stride, dilation = (
            _pair(_argument(args, kwargs, position, word, 1))
            for position, word in ((3, "stride"), (5, "dilation"))
        )
        kernel = _pair(tuple(weight.shape[2:]))
        padding = _argument(args, kwargs, 4, "padding", 0)
        if isinstance(padding, str):
            reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
            if padding == "same" and any(r % 2 for r in reach):
                return None  # padded on one side more than on the other
            padding = [r // 2 for r in reach] if padding == "same" else 0
        window = WindowSpec(kernel, stride, _pair(padding), dilation)
        return Step(
            "conv",
            window,
            weight.detach(),
            None if (bias := _argument(args, kwargs, 2, "bias")) is None else bias.detach(),
            _argument(args, kwargs, 6, "groups", 1),
            size=_size(_argument(args, kwargs, 0, "input")),
        )
    if name == "avg_pool2d":
        kernel = _pair(_argument(args, kwargs, 1, "kernel_size"))
        stride = _argument(args, kwargs, 2, "stride")
        window = WindowSpec(
            kernel, _pair(stride) if stride else kernel, _pair(_argument(args, kwargs, 3, "padding", 0))
        )
        return Step("average", window, size=_size(_argument(args, kwargs, 0, "input")))
    if name == "pad" and _argument(args, kwargs, 2, "mode", "constant") == "constant":
        sides = _argument(args, kwargs, 1, "pad")  # left, right, top, bottom
        if len(sides) == 4 and not _argument(args, kwargs, 3, "value"):
            window = WindowSpec((1, 1), padding=(sides[2], sides[0]))
            return Step("pad", window, size=_size(_argument(args, kwargs, 0, "input")))
    if func is F.batch_norm:
        words = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
        given = {**dict(zip(words, args, strict=False)), **kwargs}
        return None if given.get("training") else Step("scale", scaling=_scaling(given)).now()
    return None


def _scaling(given: dict[str, Any]) -> Callable[[], tuple[Tensor, Tensor]]:
    """Gives what a batch norm multiplies by and adds, (C,) each, from the tensors of its call."""
    mean, variance, eps = given["running_mean"], given["running_var"], given.get("eps", 1e-5)
    gamma, beta = (None if given.get(word) is None else given[word].detach() for word in ("weight", "bias"))

    def scaling() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            scale = (variance + eps).rsqrt() if gamma is None else (variance + eps).rsqrt() * gamma
            return scale, -mean * scale if beta is None else beta - mean * scale

    return scaling
