"""Finds values that depend on the pixels although autograd treats them as constants.

A detached gate, a mask from a comparison and an index from an argmax depend on the image, but have
no gradient. `Dependence` sees every operation of a forward pass below autograd and follows the
memory that the pixels reach. Where such a value meets one that autograd follows, the node of that
operation is marked, and graph.py reports it by name. Random values are treated in the same way.

    >>> import torch
    >>> from zfnet.deconv.dependence import Dependence
    >>> pixels = torch.ones(2, requires_grad=True)
    >>> with Dependence(pixels) as dependence:
    ...     output = pixels * pixels.detach().sigmoid()
    >>> dependence.mark()
    >>> output.grad_fn.metadata["gate"]
    'mul with a value that depends on the pixels and has no gradient'
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SHAPE_ONLY = {  # these use the shape of a tensor, not its values
    *(
        "empty_like",
        "zeros_like",
        "ones_like",
        "full_like",
        "rand_like",
        "randn_like",
        "randint_like",
    ),
    *("new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided"),
}
HIDDEN = "a value that depends on the pixels and has no gradient"
RANDOM = "a random value"


class Dependence(TorchDispatchMode):
    """Follows everything that is computed from `pixels` inside the block."""

    def __init__(self, pixels: Tensor) -> None:
        super().__init__()
        # Storage address → a weak reference, which prevents reuse of the address, and a reason.
        self._memory: dict[int, tuple[StorageWeakRef, str]] = {}
        self._pending: list[tuple[Tensor, str]] = []
        self._control = ""  # a value that Python has read: later operations may depend on it
        self._trusted = False
        self._follow(pixels, "")

    @contextmanager
    def trusted(self) -> Iterator[None]:
        """Runs one of the deconvnet's own rules: operations without a gradient are intended."""
        before, self._trusted = self._trusted, True
        try:
            yield
        finally:
            self._trusted = before

    def depends(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on the pixels, or is random."""
        return _address(tensor) in self._memory

    def hidden(self, tensor: Tensor) -> str:
        """Returns why autograd does not know how a tensor depends on the pixels, or ""."""
        if (known := self._memory.get(_address(tensor))) is None:
            return ""
        return known[1] or ("" if tensor.requires_grad else HIDDEN)

    def sees(self, values: Any) -> bool:
        """Whether autograd knows how tensors in nested `values` depend on the pixels."""
        tensors = [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
        return not self._control and not any(self.hidden(each) for each in tensors)

    def read_by_python(self, what: str) -> None:
        """Notes that the function `what` has made values of the image available to Python."""
        self._control = self._control or f"{what}: a value of the image that Python has read"

    def mark(self) -> None:
        """Marks autograd's nodes, which exist only after an operation has returned."""
        for tensor, reason in self._pending:
            node: Any = tensor.grad_fn
            if node is not None:
                node.metadata.setdefault("gate", reason)
        self._pending.clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.mark()
        name = func._schema.name.split("::")[-1]
        random = _is_random(func, args, kwargs or {})
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        sources = [] if name in SHAPE_ONLY else [tensor for tensor in given if self.depends(tensor)]
        recorded = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
        reasons = [reason for tensor in sources if (reason := self.hidden(tensor))]
        out = func(*args, **(kwargs or {}))
        results = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        if not sources and not random:
            return out
        if self._trusted:
            self._follow_all([*results, *_written(func, args, kwargs)], "")
            return out
        if sources and not results and out is not None:
            self.read_by_python(name)
        reason = RANDOM if random else reasons[0] if reasons and not recorded else ""
        for tensor in _written(func, args, kwargs):
            changed = "" if recorded else f"{name.rstrip('_')} in place that autograd does not see"
            self._follow(
                tensor, (reason if random else changed) if self.depends(tensor) else reason
            )
        self._follow_all(results, reason)
        if recorded and (reasons or self._control or random):
            gate = (
                f"{name} with {reasons[0]}"
                if reasons
                else self._control or f"{name}, which is random"
            )
            self._pending += [(result, gate) for result in results]
        return out

    def _follow_all(self, tensors: list[Tensor], reason: str) -> None:
        for tensor in tensors:
            self._follow(tensor, reason)

    def _follow(self, tensor: Tensor, reason: str) -> None:
        address = _address(tensor)
        if address not in self._memory:
            self._memory[address] = StorageWeakRef(tensor.untyped_storage()), reason
        elif reason:
            self._memory[address] = self._memory[address][0], reason


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _is_random(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether an operation draws random numbers. In evaluation, attention and RReLU draw none."""
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return False
    given = {argument.name: argument.default_value for argument in func._schema.arguments}
    given |= dict(zip(given, args, strict=False)) | kwargs
    return given.get("dropout_p", 1.0) != 0 and given.get("training", True) is not False


def _written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """Returns the tensors that an operation writes to."""
    found: list[Tensor] = []
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[place] if place < len(args) else (kwargs or {}).get(argument.name)
            found += [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
    return found
