"""A forward pass with the backward pass of the deconvnet: rules replace operations.

Rectifiers, max pooling, normalizations, gates and attention are replaced inside a
`TorchFunctionMode`. This covers modules, functions, in-place calls and shared modules, and the
model is neither patched nor hooked. Every replaced or linear operation stores a `Step` in the
metadata of its node in autograd's graph, and every extended rule its name. graph.py then uses the
graph to decide whether a deconvnet exists.

    >>> import torch
    >>> from zfnet.deconv.mode import DeconvMode
    >>> from zfnet.deconv.rules import Rules
    >>> pixels = torch.tensor([-1.0, 2.0], requires_grad=True)
    >>> with DeconvMode(Rules()):
    ...     values = torch.relu(pixels)
    >>> torch.autograd.grad(values, pixels, torch.tensor([3.0, -4.0]))
    (tensor([3., 0.]),)
"""

import types
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from zfnet.deconv.activations import Rectifier, find_rectifier
from zfnet.deconv.attention import attention_weights
from zfnet.deconv.dependence import Dependence
from zfnet.deconv.normalizations import find_normalization
from zfnet.deconv.products import (
    DIVIDE,
    ELEMENTWISE,
    FILTERS,
    IN_PLACE,
    MATRIX,
    MULTIPLY,
    MULTIPLY_IN_PLACE,
    OUT_OF_PLACE,
    PRODUCTS,
    depends_on_pixels,
    find_value,
    is_function_of,
    is_rectifying,
)
from zfnet.deconv.rules import Rules, WindowSpec
from zfnet.deconv.steps import Step, argument, linear_step, pair, spatial_size
from zfnet.models.layers import contrast_normalization

Map = Callable[[Tensor], Tensor]

MAXIMUM = {torch.maximum, Tensor.maximum, torch.max, Tensor.max}
SQUARE = {torch.square, Tensor.square, torch.pow, Tensor.pow, Tensor.__pow__}
MAX_POOL = {F.max_pool2d, F.max_pool2d_with_indices, torch.max_pool2d}
NORMALIZATION = {F.local_response_norm, contrast_normalization}
POSITIVE = {torch.gt, Tensor.gt, Tensor.__gt__, torch.ge, Tensor.ge, Tensor.__ge__}
CASTS = {
    Tensor.float,
    Tensor.double,
    Tensor.half,
    Tensor.bfloat16,
    Tensor.to,
    Tensor.type,
    Tensor.type_as,
}
WHERE = {torch.where, Tensor.where}
READ_BY_PYTHON = {  # these read a tensor's memory without dispatching an operation
    *(Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.__dlpack__),
    *(torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor),
}
LINEAR_IN_PLACE = {
    *(Tensor.__setitem__, Tensor.copy_, Tensor.add_, Tensor.sub_, Tensor.__iadd__, Tensor.__isub__),
    *(Tensor.zero_, Tensor.fill_, Tensor.index_copy_, Tensor.index_add_),
}
INDEXING = {Tensor.__getitem__, Tensor.__setitem__}
SPELLED = "x * g(x)"  # the name of a rectifier whose op only knows the values of this pass
CHAIN_CALLS = {*MAX_POOL, *NORMALIZATION, torch.conv2d, F.batch_norm}


class _Rectifier(torch.autograd.Function):
    """Any rectifier. On the way down, R passes as the rules say."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rectifier: Rectifier, rules: Rules) -> Tensor:
        in_place = rectifier.in_place and rectifier.is_relu  # without a copy
        out = torch.relu_(x) if in_place else rectifier.op(x)
        ctx.rules, ctx.slope = rules, rectifier.slope
        if ctx.slope is None:
            ctx.slope = rules.slope(rectifier.op, x, out)
        if rectifier.in_place:
            ctx.mark_dirty(x)
        if rectifier.in_place and not in_place:
            return x.copy_(out)
        return out

    @staticmethod
    def backward(ctx: Any, r: Tensor) -> tuple[Tensor, None, None]:
        return ctx.rules.backward_relu(r, ctx.slope), None, None


class _Switched(torch.autograd.Function):
    """Computes `op`. On the way down, R passes through `linear` instead."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, linear: Map, op: Map | None, in_place: bool) -> Tensor:
        with torch.enable_grad():
            inputs = x.detach().requires_grad_()
            ctx.linear = inputs, linear(inputs)
        out = op(x) if op is not None else ctx.linear[1].detach().clone()
        if in_place:
            ctx.mark_dirty(x)
            return x.copy_(out)
        return out

    @staticmethod
    def backward(ctx: Any, r: Tensor) -> tuple[Tensor, None, None, None]:
        inputs, outputs = ctx.linear
        return torch.autograd.grad(outputs, inputs, r, retain_graph=True)[0], None, None, None


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
        return ctx.rules.backward_max_pool(r, ctx.switches, ctx.shape, ctx.window), None, None


class _Normalization(torch.autograd.Function):
    """One node for the whole operation. Its backward pass is the identity or the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, op: Callable[[Tensor], Tensor], rules: Rules) -> Tensor:
        ctx.local = None
        if rules.normalization == "identity":
            return op(x)
        with torch.enable_grad():
            inputs = x.detach().requires_grad_()
            ctx.local = inputs, op(inputs)
        return ctx.local[1].detach()

    @staticmethod
    def backward(ctx: Any, r: Tensor) -> tuple[Tensor, None, None]:
        if ctx.local is None:
            return r, None, None
        inputs, outputs = ctx.local
        return torch.autograd.grad(outputs, inputs, r)[0], None, None


class DeconvMode(TorchFunctionMode):
    """Replaces operations by the deconvnet's rules inside the block, and records their steps.

    Args:
        rules: the variants of the rules.
    """

    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self.rules = rules
        self.dependence: Dependence | None = None  # set by traced_forward
        self._compared: tuple[Tensor, Tensor, int] | None = None  # x > 0, x, and the version of x
        self._copies: dict[int, tuple[Tensor, Tensor]] = {}  # inference tensors and their copies

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = self._copy_inference(args), self._copy_inference(kwargs or {})
        if (rectifier := self._find_rectifier(func, args, kwargs)) is not None:
            return self._rectify(rectifier)
        if func in MAX_POOL:
            return self._max_pool(func, *args, **kwargs)
        if func in NORMALIZATION:
            return self._normalize(func, *args, **kwargs)
        if not self.rules.strict and (out := self._extended(func, args, kwargs)) is not None:
            return out
        if self.dependence is not None and (func in READ_BY_PYTHON or func in INDEXING):
            read = _lists_in(args[1]) if func in INDEXING else [args, kwargs]
            if any(
                isinstance(each, Tensor) and self.dependence.depends(each)
                for each in tree_leaves(read)
            ):
                self.dependence.read_by_python(func.__name__)
        out = func(*args, **kwargs)
        self._remember_comparison(func, args, out)
        _remember_source(func, args, out)
        if isinstance(out, Tensor) and out.grad_fn is not None:
            _record(out, linear_step(func, args, kwargs), getattr(func, "__name__", ""))
        if func in LINEAR_IN_PLACE:
            _note_part(args[0])
        return out

    def trusted(self) -> AbstractContextManager[None]:
        """Marks operations of the rules themselves, which `dependence` need not check."""
        return nullcontext() if self.dependence is None else self.dependence.trusted()

    def _apply(self, rule: type[torch.autograd.Function], *args: Any) -> Any:
        recorded = torch.is_grad_enabled() and args[0].requires_grad
        with self.trusted() if recorded else nullcontext():
            return rule.apply(*args)

    def _find_rectifier(self, func: Any, args: Any, kwargs: Any) -> Rectifier | None:
        """Recognizes a rectifier, also as x * (x > 0), where(x > 0, x, 0) or maximum(x, 0)."""
        found = find_rectifier(func, args, kwargs)
        if found is not None and not self._depends_on_others(found.x, args, kwargs):
            return found if found.is_relu or not self.rules.strict else None
        if func in MAXIMUM and len(args) == 2 and all(isinstance(each, Tensor) for each in args):
            for x, other in (args, args[::-1]):
                if not self._depends(other) and self._is_zero(other) and x.shape == other.shape:
                    return Rectifier("ReLU", x, torch.relu)
        if func in SQUARE and not self.rules.strict and self._is_squared_relu(func, args):
            return Rectifier("squared ReLU", args[0], torch.square)
        if self._compared is None or len(args) < 2:
            return None
        mask, x, version = self._compared
        in_place = func in MULTIPLY_IN_PLACE
        if func in MULTIPLY or in_place:
            factors = {id(args[0]), id(args[1])} == {id(mask), id(x)}
            matches = factors and (not in_place or args[0] is x)
        elif func in WHERE and len(args) == 3:
            condition, kept = (args[1], args[0]) if func is Tensor.where else args[:2]
            matches = condition is mask and kept is x and self._is_zero(args[2])
        else:
            matches = False
        matches = matches and x._version == version
        return Rectifier("ReLU", x, torch.relu, in_place) if matches else None

    def _is_squared_relu(self, func: Any, args: Any) -> bool:
        """Whether the call squares the output of a ReLU."""
        if not args or not isinstance(args[0], Tensor):
            return False
        squares = func in (torch.square, Tensor.square) or args[1:] == (2,)
        node: Any = args[0].grad_fn
        step = node.metadata.get("step") if node is not None else None
        return squares and step is not None and step.kind == "relu"

    def _rectify(self, rectifier: Rectifier) -> Tensor:
        out = self._apply(_Rectifier, rectifier.x, rectifier, self.rules)
        if rectifier.in_place:
            _note_part(rectifier.x)
        if rectifier.is_relu:
            return _record(out, Step("relu"))
        step = None if rectifier.name == SPELLED else Step("activation", op=rectifier.op)
        _record(out, step, rule=rectifier.name)
        _note(out, bounded=rectifier.bounded)
        return out

    def _extended(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Applies an extended rule, or returns None if the call has none."""
        found = find_normalization(func, args, kwargs)
        if found is not None and not self._depends_on_others(found.x, args, kwargs):
            x, scale = found.x, found.scale
            op = _with_input(func, args, kwargs, x)
            linear = op if self.rules.normalization == "gradient" else lambda z: z * scale
            out = self._switch(x, linear, op, found.name, pointwise=True)
            _note(out, local=found.is_local)
            return out
        if func is F.pad and argument(args, kwargs, 2, "mode") == "circular":
            x = argument(args, kwargs, 0, "input")
            return self._switch(x, _with_input(func, args, kwargs, x), None, None)
        if func in PRODUCTS or func in FILTERS:
            return self._product(func, args, kwargs)
        if self.rules.others == "gradient":
            return None
        if func is F.multi_head_attention_forward:
            with self:
                return _ATTENTION_BODY(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **kwargs)
        if func is F.glu:
            value, gate = argument(args, kwargs, 0, "input").chunk(
                2, argument(args, kwargs, 1, "dim", -1)
            )
            gate = gate.detach().sigmoid()
            return self._switch(value, lambda z: z * gate, None, "gate", pointwise=True)
        return None

    def _product(self, func: Any, args: Any, kwargs: Any) -> Tensor | None:
        """Applies the rule of a product of values that depend on the image, or returns None."""
        leaves, spec = tree_flatten((args, kwargs))
        places = [place for place, leaf in enumerate(leaves) if self._depends(leaf)]
        if len(places) < 2 or kwargs.get("rounding_mode"):
            return None
        factors = [leaves[place] for place in places]
        in_place = func in IN_PLACE
        call = OUT_OF_PLACE.get(func, func)
        if func in ELEMENTWISE and len(factors) == 2:
            pairs = [factors] if func in DIVIDE else [factors, factors[::-1]]
            for scaled, gate in pairs:
                for x in _sources(scaled):
                    if is_function_of(gate, x) and self._rectifies(func, gate, x):
                        if in_place and x is not leaves[0]:
                            return None  # another tensor than x is overwritten
                        return self._rectify(self._spelled(call, args, kwargs, x, in_place))
        if self.rules.others == "gradient":
            return None
        if func in FILTERS or func in DIVIDE:
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

        rule = "dynamic filter" if func in FILTERS else "attention" if func in MATRIX else "gate"
        x = factors[value]
        out = self._switch(x, linear, None, rule, in_place, pointwise=func in ELEMENTWISE)
        if out.shape != x.shape:
            _note(out, pointwise=False)
        return out

    def _rectifies(self, func: Any, gate: Tensor, x: Tensor) -> bool:
        """Whether x * gate, or x / gate, suppresses negative values of x."""
        with self.trusted(), torch.no_grad():
            return is_rectifying(gate.reciprocal() if func in DIVIDE else gate, x)

    def _spelled(self, call: Any, args: Any, kwargs: Any, x: Tensor, in_place: bool) -> Rectifier:
        """Returns the rectifier x * g(x), whose slope is that of autograd."""
        out = call(*args, **kwargs)
        slope = None
        if self.rules.relu == "gradient":
            ones = torch.ones_like(out)
            slope = torch.autograd.grad(out, x, ones, retain_graph=True)[0]
        value = out.detach()
        return Rectifier(SPELLED, x, lambda _: value.clone(), in_place, slope=slope)

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor | None:
        """Applies the rule of attention: its weights are constant, and R passes through `value`."""
        if dropout_p or not self._depends(value):
            return None
        with torch.no_grad(), self.trusted():
            weights = attention_weights(query, key, attn_mask, is_causal, scale)
        repeats = query.shape[-3] // value.shape[-3] if enable_gqa else 1

        def linear(z: Tensor) -> Tensor:
            return weights @ (z.repeat_interleave(repeats, -3) if repeats > 1 else z)

        def op(z: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(
                query, key, z, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa
            )

        return self._switch(value, linear, op, "attention")

    def _switch(
        self,
        x: Tensor,
        linear: Map,
        op: Map | None,
        rule: str | None,
        in_place: bool = False,
        pointwise: bool = False,
    ) -> Tensor:
        """Returns op(x), or linear(x) without `op`. On the way down, R passes through `linear`."""
        out = self._apply(_Switched, x, linear, op, in_place)
        if in_place:
            _note_part(x)
        _record(out, None, rule=rule)
        _note(out, pointwise=pointwise, local=rule is None)
        return out

    def _depends_on_others(self, x: Tensor, args: Any, kwargs: Any) -> bool:
        """Whether an argument other than x, such as a weight, depends on the pixels."""
        return any(self._depends(each) for each in tree_leaves((args, kwargs)) if each is not x)

    def _depends(self, value: Any) -> bool:
        """Whether a value is a tensor that depends on the pixels by autograd."""
        return isinstance(value, Tensor) and depends_on_pixels(value.grad_fn)

    def _remember_comparison(self, func: Any, args: Any, out: Any) -> None:
        """Remembers the last comparison with 0, and its result after a cast."""
        if (
            func in POSITIVE
            and len(args) == 2
            and isinstance(args[0], Tensor)
            and self._is_zero(args[1])
        ):
            self._compared = out, args[0], args[0]._version
        elif self._compared is not None and func in CASTS and args[0] is self._compared[0]:
            self._compared = out, *self._compared[1:]

    def _is_zero(self, value: Any) -> bool:
        with self.trusted():
            return (
                not value.any()
                if isinstance(value, Tensor)
                else isinstance(value, int | float) and value == 0
            )

    def _copy_inference(self, values: Any) -> Any:
        """Replaces inference tensors, which autograd does not accept, by copies."""
        if isinstance(values, dict):
            return {key: self._copy_inference(value) for key, value in values.items()}
        if isinstance(values, tuple | list) and type(values) in (tuple, list):
            return type(values)(self._copy_inference(value) for value in values)
        if not isinstance(values, Tensor) or not values.is_inference():
            return values
        if id(values) not in self._copies:
            self._copies[id(values)] = values, values.clone()
        return self._copies[id(values)][1]

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
        kernel = pair(kernel_size)
        strides = pair(stride) if stride else kernel
        window = WindowSpec(kernel, strides, pair(padding), pair(dilation), ceil_mode)
        out, switches = self._apply(_MaxPool, input, window, self.rules)
        _record(out, Step("pool", window, size=spatial_size(input)))
        return (out, switches) if return_indices or func is F.max_pool2d_with_indices else out

    def _normalize(self, func: Any, *args: Any, **kwargs: Any) -> Tensor:
        rest = {key: value for key, value in kwargs.items() if key != "input"}

        def op(x: Tensor) -> Tensor:
            return func(x, *args[1:], **rest)

        x = argument(args, kwargs, 0, "input")
        return _record(self._apply(_Normalization, x, op, self.rules), Step("norm", op=op))


def _record(out: Tensor, step: Step | None, call: str = "", rule: str | None = None) -> Tensor:
    """Stores what made `out` on its node, if this call made it: step, function, extended rule."""
    node: Any = out.grad_fn
    if node is not None and "call" not in node.metadata:
        node.metadata.update(step=step, call=call, rule=rule)
    return out


def _note(out: Tensor, **facts: Any) -> None:
    """Stores facts on the node of `out`, if it has one."""
    node: Any = out.grad_fn
    if node is not None:
        node.metadata.update(facts)


def _note_part(x: Tensor) -> None:
    """Notes that the last change to a part of a tensor, if x is one, was a rule or linear."""
    if x._is_view() and x._base is not None:
        _note(x._base, known=True)


def _remember_source(func: Any, args: Any, out: Any) -> None:
    """Stores x on the node of x * 0.5 or x / 2."""
    if (func in MULTIPLY or func in DIVIDE) and len(args) == 2 and isinstance(out, Tensor):
        x, factor = args
        if isinstance(x, Tensor) and isinstance(factor, int | float) and factor > 0:
            _note(out, source=(x, x._version))


def _sources(x: Tensor) -> list[Tensor]:
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


def _with_input(func: Any, args: Any, kwargs: Any, x: Tensor) -> Map:
    """Returns the call as a function of its argument x."""

    def call(z: Tensor) -> Tensor:
        given = [z if each is x else each for each in args]
        return func(*given, **{key: z if each is x else each for key, each in kwargs.items()})

    return call


# The function itself calls `has_torch_function`, and would return to the mode for ever.
_ATTENTION_BODY = types.FunctionType(
    F.multi_head_attention_forward.__code__,
    {**vars(F), "has_torch_function": lambda *_: False},
    "multi_head_attention_forward",
    F.multi_head_attention_forward.__defaults__,
)


def _lists_in(index: Any) -> list[Any]:
    """Returns the lists of an index, whose tensors Python reads."""
    return [
        each for each in (index if isinstance(index, tuple) else (index,)) if isinstance(each, list)
    ]
