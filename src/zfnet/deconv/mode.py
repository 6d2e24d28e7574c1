"""A forward pass with the backward pass of the deconvnet: rules replace operations.

ReLU, max pooling and contrast normalization are replaced inside a `TorchFunctionMode`. This covers
modules, functions, in-place calls and shared modules, and the model is neither patched nor hooked.
Every replaced or linear operation stores a `Step` in the metadata of its node in autograd's graph.
graph.py then uses the graph to decide whether a deconvnet exists.

    >>> import torch
    >>> from zfnet.deconv.mode import DeconvMode
    >>> from zfnet.deconv.rules import Rules
    >>> pixels = torch.tensor([-1.0, 2.0], requires_grad=True)
    >>> with DeconvMode(Rules()):
    ...     values = torch.relu(pixels)
    >>> torch.autograd.grad(values, pixels, torch.tensor([3.0, -4.0]))
    (tensor([3., 0.]),)
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from zfnet.deconv.dependence import Dependence
from zfnet.deconv.rules import Rules, WindowSpec
from zfnet.deconv.steps import Step, argument, linear_step, pair, spatial_size
from zfnet.models.layers import contrast_normalization

RELU = {F.relu, torch.relu, Tensor.relu}
RELU_IN_PLACE = {torch.relu_, Tensor.relu_}
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
MULTIPLY = {torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.__mul__, Tensor.__rmul__}
MULTIPLY_IN_PLACE = {Tensor.mul_, Tensor.multiply_, Tensor.__imul__}
WHERE = {torch.where, Tensor.where}
READ_BY_PYTHON = {  # these read a tensor's memory without dispatching an operation
    *(Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.__dlpack__),
    *(torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor),
}
INDEXING = {Tensor.__getitem__, Tensor.__setitem__}
CHAIN_CALLS = {*RELU, *RELU_IN_PLACE, *MAX_POOL, *NORMALIZATION, torch.conv2d, F.batch_norm}


class _Relu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rules: Rules, in_place: bool) -> Tensor:
        ctx.rules, ctx.active = rules, None
        if in_place:
            ctx.mark_dirty(x)
        out = torch.relu_(x) if in_place else torch.relu(x)
        if rules.needs_active:
            ctx.active = out > 0
        return out

    @staticmethod
    def backward(ctx: Any, r: Tensor) -> tuple[Tensor, None, None]:
        return ctx.rules.backward_relu(r, ctx.active), None, None


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
        if func in RELU_IN_PLACE or func in RELU:
            x = argument(args, kwargs, 0, "input")
            in_place = func in RELU_IN_PLACE or argument(args, kwargs, 1, "inplace", False)
            return _record(self._apply(_Relu, x, self.rules, in_place), Step("relu"))
        if (x := self._spelled_relu(func, args)) is not None:
            return _record(
                self._apply(_Relu, x, self.rules, func in MULTIPLY_IN_PLACE), Step("relu")
            )
        if func in MAX_POOL:
            return self._max_pool(func, *args, **kwargs)
        if func in NORMALIZATION:
            return self._normalize(func, *args, **kwargs)
        if self.dependence is not None and (func in READ_BY_PYTHON or func in INDEXING):
            read = _lists_in(args[1]) if func in INDEXING else [args, kwargs]
            if any(
                isinstance(each, Tensor) and self.dependence.depends(each)
                for each in tree_leaves(read)
            ):
                self.dependence.read_by_python(func.__name__)
        out = func(*args, **kwargs)
        self._remember_comparison(func, args, out)
        if isinstance(out, Tensor) and out.grad_fn is not None:
            _record(out, linear_step(func, args, kwargs), getattr(func, "__name__", ""))
        return out

    def trusted(self) -> AbstractContextManager[None]:
        """Marks operations of the rules themselves, which `dependence` need not check."""
        return nullcontext() if self.dependence is None else self.dependence.trusted()

    def _apply(self, rule: type[torch.autograd.Function], *args: Any) -> Any:
        with self.trusted():
            return rule.apply(*args)

    def _spelled_relu(self, func: Any, args: Any) -> Tensor | None:
        """Returns x if the call is x * (x > 0) or where(x > 0, x, 0), with the last comparison."""
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


def _record(out: Tensor, step: Step | None, call: str = "") -> Tensor:
    """Stores the step and the function's name on the node of `out`, if this call made it."""
    node: Any = out.grad_fn
    if node is not None and "call" not in node.metadata:
        node.metadata.update(step=step, call=call)
    return out


def _lists_in(index: Any) -> list[Any]:
    """Returns the lists of an index, whose tensors Python reads."""
    return [
        each for each in (index if isinstance(index, tuple) else (index,)) if isinstance(each, list)
    ]
