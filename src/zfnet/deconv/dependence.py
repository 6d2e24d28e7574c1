"""What depends on the pixels, whether autograd knows it or not.

A gate that was detached, a mask from a comparison, an index from an argmax: they multiply or choose, and depend on
the image, but autograd takes them for constants. `Dependence` sees every operation of a pass below autograd and
follows the memory that the pixels reach. Where such a value meets one that autograd follows, the node of the meeting
is marked, and graph.py refuses the way through it by name. What is drawn at random is treated alike.

    with Dependence(pixels) as dependence:
        output = model(pixels)
    dependence.mark()
    node.metadata["gate"]                       # "mul with a value that depends on the pixels ..."
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SHAPE_ONLY = {  # these ask a tensor for its shape, not for its values
    *("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "randint_like"),
    *("new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided"),
}
HIDDEN = "a value that depends on the pixels and has no gradient"
RANDOM = "a random value"


class Dependence(TorchDispatchMode):
    """Inside, all that is computed from `pixels` is followed through its memory."""

    def __init__(self, pixels: Tensor) -> None:
        super().__init__()
        self._memory: dict[
            int, tuple[StorageWeakRef, str]
        ] = {}  # a weak reference keeps an address from its reuse
        self._pending: list[tuple[Tensor, str]] = []
        self._control = ""  # a number of the image that Python has read: what follows may depend on it
        self._trusted = False
        self._follow(pixels, "")

    @contextmanager
    def rule(self) -> Iterator[None]:
        """Inside, one of the deconvnet's own rules runs: what it does without autograd is right."""
        before, self._trusted = self._trusted, True
        try:
            yield
        finally:
            self._trusted = before

    def depends(self, tensor: Tensor) -> bool:
        return _address(tensor) in self._memory

    def hidden(self, tensor: Tensor) -> str:
        """Why autograd does not say all of what `tensor` owes to the image; "" if it does."""
        if (known := self._memory.get(_address(tensor))) is None:
            return ""
        return known[1] or ("" if tensor.requires_grad else HIDDEN)

    def read_by_python(self, what: str) -> None:
        self._control = self._control or f"{what}: a number of the image that Python has read"

    def mark(self) -> None:
        """Leaves what was found on autograd's nodes, which exist only when an operation has returned."""
        for tensor, reason in self._pending:
            node: Any = tensor.grad_fn
            if node is not None:
                node.metadata.setdefault("gate", reason)
        self._pending.clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.mark()
        name = func._schema.name.split("::")[-1]
        random = torch.Tag.nondeterministic_seeded in func.tags
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
            self._follow(tensor, (reason if random else changed) if self.depends(tensor) else reason)
        self._follow_all(results, reason)
        if recorded and (reasons or self._control or random):
            gate = f"{name} with {reasons[0]}" if reasons else self._control or f"{name}, which is random"
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


def _written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """The arguments that an operation writes to."""
    found: list[Tensor] = []
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[place] if place < len(args) else (kwargs or {}).get(argument.name)
            found += [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
    return found
