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

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from zfnet.deconv.activations import Rectifier, find_rectifier
from zfnet.deconv.attention import find_attention
from zfnet.deconv.comparisons import Comparisons, find_squared_relu
from zfnet.deconv.convolution import Convolve, is_worth
from zfnet.deconv.dependence import Dependence
from zfnet.deconv.functions import ApplySwitch, MaxPool, Rectify, Scale, Switch
from zfnet.deconv.gates import SPELLED, find_product
from zfnet.deconv.maxima import MAXIMUM, RULE, find_maximum
from zfnet.deconv.nodes import depends
from zfnet.deconv.normalizations import find_normalization
from zfnet.deconv.notes import note, note_part, record, remember_source
from zfnet.deconv.products import IN_PLACE, are_functions_of_one
from zfnet.deconv.rules import Rules, WindowSpec
from zfnet.deconv.spelling import find_spelled
from zfnet.deconv.steps import Step, argument, linear_step, pair, spatial_size
from zfnet.models.layers import contrast_normalization

MAX_POOL = {F.max_pool2d, F.max_pool2d_with_indices, torch.max_pool2d}
NORMALIZATION = {F.local_response_norm, contrast_normalization}
READ_BY_PYTHON = {  # these read a tensor's memory without dispatching an operation
    *(Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.__dlpack__),
    *(torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor),
}
LINEAR_IN_PLACE = {
    *(Tensor.__setitem__, Tensor.copy_, Tensor.add_, Tensor.sub_, Tensor.__iadd__, Tensor.__isub__),
    *(Tensor.zero_, Tensor.fill_, Tensor.index_copy_, Tensor.index_add_),
}
LINEAR = {torch.conv2d, F.batch_norm}
INDEXING = {Tensor.__getitem__, Tensor.__setitem__}
CHAIN_CALLS = {*MAX_POOL, *NORMALIZATION, torch.conv2d, F.batch_norm}


class DeconvMode(TorchFunctionMode):
    """Replaces operations by the deconvnet's rules inside the block, and records their steps.

    Args:
        rules: the variants of the rules.
    """

    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self.rules = rules
        self.dependence: Dependence | None = None  # set by traced_forward
        self._comparisons = Comparisons()
        self._copies: dict[int, tuple[Tensor, Tensor]] = {}  # inference tensors and their copies

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = self._copy_inference(args), self._copy_inference(kwargs or {})
        if (rectifier := self._find_rectifier(func, args, kwargs)) is not None:
            return self._rectify(rectifier)
        if func in MAX_POOL:
            return self._max_pool(func, *args, **kwargs)
        if func in NORMALIZATION:
            return self._normalize(func, args, kwargs)
        if func in LINEAR and (linear := self._apply_linear(func, args, kwargs)) is not None:
            return linear
        if not self.rules.strict:
            if self.rules.others == "refuse":
                if (spelled := find_spelled(func, args, kwargs)) is not None:
                    with self:
                        return spelled(*args, **kwargs)
                two = func in MAXIMUM and len(args) == 2 and all(depends(each) for each in args)
                if two and not are_functions_of_one(*args):
                    return self._maximum(*args)
            with self.trusted():
                found = self._find_extended(func, args, kwargs)
            if found is not None:
                return self._rectify(found) if isinstance(found, Rectifier) else self._switch(found)
        self._check_reading(func, args, kwargs)
        out = func(*args, **kwargs)
        with self.trusted():
            self._comparisons.remember(func, args, out)
        remember_source(func, args, out)
        if isinstance(out, Tensor) and out.grad_fn is not None:
            record(out, linear_step(func, args, kwargs), getattr(func, "__name__", ""))
        if self._is_linear_in_place(func, args, kwargs):
            note_part(args[0])
            if func is Tensor.__setitem__:
                note(args[0], known=True)
        return out

    def trusted(self) -> AbstractContextManager[None]:
        """Marks operations of the rules themselves, which `dependence` need not check."""
        return nullcontext() if self.dependence is None else self.dependence.trusted()

    def _find_rectifier(self, func: Any, args: Any, kwargs: Any) -> Rectifier | None:
        """Recognizes a rectifier, also as x * (x > 0), where(x > 0, x, 0) or maximum(x, 0)."""
        found = find_rectifier(func, args, kwargs)
        if found is not None and not _depends_on_others(found.x, args, kwargs):
            return found if found.is_relu or not self.rules.strict else None
        if not self.rules.strict and (squared := find_squared_relu(func, args)) is not None:
            return squared
        with self.trusted():
            return self._comparisons.find_relu(func, args)

    def _find_extended(self, func: Any, args: Any, kwargs: Any) -> Switch | Rectifier | None:
        """Finds the extended rule of a call, or returns None if it has none."""
        found = find_normalization(func, args, kwargs)
        if found is not None and not _depends_on_others(found.x, args, kwargs):
            x, scale = found.x, found.scale
            op = _with_input(func, args, kwargs, x)
            linear = op if self.rules.normalization == "gradient" else lambda z: z * scale
            return Switch(x, linear, op, found.name, pointwise=True, local=found.is_local)
        if func is F.pad and argument(args, kwargs, 2, "mode") == "circular":
            x = argument(args, kwargs, 0, "input")
            return Switch(x, _with_input(func, args, kwargs, x), local=True)
        if self.rules.others == "refuse" and func is F.scaled_dot_product_attention:
            return find_attention(*args, **kwargs)
        if self.rules.others == "refuse" and self.rules.unpool == "sum":
            return find_maximum(func, args, kwargs) or find_product(func, args, kwargs, self.rules)
        return find_product(func, args, kwargs, self.rules)

    def _rectify(self, rectifier: Rectifier) -> Tensor:
        out = self._apply(Rectify, rectifier.x, rectifier, self.rules)
        if rectifier.in_place:
            note_part(rectifier.x)
        if rectifier.is_relu:
            return record(out, Step("relu"))
        step = None if rectifier.name == SPELLED else Step("activation", op=rectifier.op)
        record(out, step, rule=rectifier.name)
        note(out, bounded=rectifier.bounded)
        return out

    def _switch(self, switch: Switch) -> Any:
        out = self._apply(ApplySwitch, switch.x, switch)
        if switch.in_place:
            note_part(switch.x)
        record(out, None, rule=switch.rule)
        note(out, pointwise=switch.pointwise and out.shape == switch.x.shape, local=switch.local)
        return out if switch.returns is None else switch.returns(out)

    def _maximum(self, a: Tensor, b: Tensor) -> Tensor:
        """The larger of two values that depend on the image. Which one it is, is a switch."""
        with self.trusted():
            out = torch.where(a.detach() >= b.detach(), a, b)
        record(out, None, rule=RULE)
        note(out, pointwise=True)
        return out

    def _normalize(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Contrast normalization: on the way down the identity, or its gradient."""
        x = argument(args, kwargs, 0, "input")
        op = _with_input(func, args, kwargs, x)
        gradient = self.rules.normalization == "gradient"
        switch = Switch(x, op) if gradient else Switch(x, lambda z: z, op)
        return record(self._apply(ApplySwitch, x, switch), Step("norm", op=op))

    def _apply_linear(self, func: Any, args: Any, kwargs: Any) -> Tensor | None:
        """A convolution or batch norm by fixed statistics; None if it is another call."""
        x, step = argument(args, kwargs, 0, "input"), linear_step(func, args, kwargs)
        if step is None or step.weight is None or _depends_on_others(x, args, kwargs):
            return None
        if self.dependence is not None:
            others = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
            if any(self.dependence.depends(each) for each in others if each is not x):
                return None
            if not self.dependence.sees(x):
                return None
        if step.kind == "scale":
            out = self._apply(Scale, x, _with_input(func, args, kwargs, x), step.weight)
        elif x.dim() == 4 and is_worth(step):
            out = self._apply(Convolve, x, step)
        else:
            return None
        return record(out, step, func.__name__)

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
        out, switches = self._apply(MaxPool, input, window, self.rules)
        record(out, Step("pool", window, size=spatial_size(input)))
        return (out, switches) if return_indices or func is F.max_pool2d_with_indices else out

    def _is_linear_in_place(self, func: Any, args: Any, kwargs: Any) -> bool:
        """Whether a call changes a tensor in place, and only autograd's values are used for it."""
        linear = func in LINEAR_IN_PLACE or (func in IN_PLACE and not depends(args[1]))
        return linear and (self.dependence is None or self.dependence.sees([args[1:], kwargs]))

    def _apply(self, rule: type[torch.autograd.Function], *args: Any) -> Any:
        recorded = torch.is_grad_enabled() and args[0].requires_grad
        with self.trusted() if recorded else nullcontext():
            return rule.apply(*args)

    def _check_reading(self, func: Any, args: Any, kwargs: Any) -> None:
        """Reports calls by which Python reads values that depend on the pixels."""
        if self.dependence is None or not (func in READ_BY_PYTHON or func in INDEXING):
            return
        read = _lists_in(args[1]) if func in INDEXING else [args, kwargs]
        if any(
            isinstance(each, Tensor) and self.dependence.depends(each) for each in tree_leaves(read)
        ):
            self.dependence.read_by_python(func.__name__)

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


def _depends_on_others(x: Tensor, args: Any, kwargs: Any) -> bool:
    """Whether an argument other than x, such as a weight, depends on the pixels."""
    return any(depends(each) for each in tree_leaves((args, kwargs)) if each is not x)


def _with_input(func: Any, args: Any, kwargs: Any, x: Tensor) -> Callable[[Tensor], Tensor]:
    """Returns the call as a function of its argument x."""

    def call(z: Tensor) -> Tensor:
        given = [z if each is x else each for each in args]
        return func(*given, **{key: z if each is x else each for key, each in kwargs.items()})

    return call


def _lists_in(index: Any) -> list[Any]:
    """Returns the lists of an index, whose tensors Python reads."""
    return [
        each for each in (index if isinstance(index, tuple) else (index,)) if isinstance(each, list)
    ]
