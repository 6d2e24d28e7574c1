"""What a net's forward pass depends on: is it still the same net, and what is it, for a key on the disk.

snapshot(model)             # by identity, for one process: equal while nothing was exchanged; None: cannot be told
attributes(module)          # by value, for a hash: what was set on a module beside its weights and parts
"""

import functools
import hashlib
import types
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

KNOWN = {"torch", "torchvision", "timm", "zfnet"}  # packages whose modules read nothing but themselves
INTERNAL = frozenset(vars(nn.Module()))
PLAIN = (int, float, complex, str, bytes, bool, type(None), torch.dtype, torch.device, torch.memory_format)
HOOKS = [name for name in INTERNAL if "hooks" in name and "with_kwargs" not in name and "always" not in name]


class _Unknown(Exception):
    """Something that can change without a trace."""


def snapshot(model: nn.Module) -> tuple[Any, ...] | None:
    """All that a forward pass depends on but the values of the weights: modules, attributes, places in memory.

    None where it cannot be told: code that is not of `KNOWN` packages (a class, a function, a hook) may read
    anything. The parts are kept alive as long as the snapshot is.
    """
    if any(
        value for name, value in vars(torch_module).items() if name.startswith("_global_") and "hook" in name
    ):
        return None
    parts: list[Any] = []
    try:
        for module in model.modules():
            kind, own = type(module), vars(module)
            if not (_is_known(kind) and _is_known(kind.forward)) or any(own.get(hooks) for hooks in HOOKS):
                return None
            parts += [_Same(module), kind, kind.forward]
            for name, value in own.items():
                if name not in INTERNAL:
                    parts += [name, _identified(value)]
            for tensors in (own["_parameters"], own["_buffers"]):
                for name, tensor in tensors.items():
                    parts += [name, _identified(tensor)]
    except _Unknown:
        return None
    return tuple(parts)


class _Same:
    """Equal to what holds the same object."""

    __slots__ = ("what",)

    def __init__(self, what: Any) -> None:
        self.what = what

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.what is other.what

    def __hash__(self) -> int:
        return id(self.what)


def _is_known(code: Any) -> bool:
    return (getattr(code, "__module__", None) or "").split(".")[0] in KNOWN


def _identified(value: Any) -> Any:
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Tensor):
        return _Same(value), value.data_ptr(), value.dtype, value.shape, value.stride()
    if isinstance(value, list | tuple | set | frozenset):
        return type(value), tuple(_identified(each) for each in value)
    if isinstance(value, dict):
        return tuple((key, _identified(each)) for key, each in value.items())
    if isinstance(value, nn.Module):
        return _Same(value)
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType) and _is_known(value):
        return value
    if _is_known(type(value)) and not callable(value) and hasattr(value, "__dict__"):
        return _Same(value), _identified(vars(value))
    raise _Unknown


def attributes(module: nn.Module) -> dict[str, Any]:
    """What was set on a module beside its parameters, buffers and parts, as plain containers for JSON.

    Numbers, words and containers by value, tensors and arrays by a hash, functions by their code and what they
    enclose, other objects by their class and their own attributes.
    """
    own = {name: value for name, value in vars(module).items() if name not in INTERNAL and name != "training"}
    hooks = {name: list(vars(module)[name].values()) for name in HOOKS if vars(module).get(name)}
    return {"class": _name(type(module)), **_described({**own, **hooks}, ())}


def digest(tensor: Tensor) -> str:
    """A hash of a tensor's values."""
    flat = tensor.detach().cpu().contiguous().flatten()
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest()


def _name(what: Any) -> str:
    return f"{getattr(what, '__module__', '')}.{getattr(what, '__qualname__', type(what).__qualname__)}"


def _described(value: Any, above: tuple[int, ...]) -> Any:
    if isinstance(value, PLAIN):
        return repr(value)
    if id(value) in above:
        return "itself"
    above = (*above, id(value))
    if isinstance(value, Tensor):
        return [str(value.dtype), list(value.shape), digest(value)]
    if isinstance(value, dict):
        return {str(key): _described(each, above) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_described(each, above) for each in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(_described(each, above)) for each in value)
    if isinstance(value, functools.partial):
        return [_described(each, above) for each in (value.func, value.args, value.keywords)]
    if isinstance(value, types.MethodType):
        return [_described(value.__func__, above), _described(value.__self__, above)]
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if cell != types.CellType()]
        code = value.__code__
        return [
            _name(value),
            code.co_code.hex(),
            repr(code.co_names),
            _constants(code),
            _described(cells, above),
        ]
    if isinstance(value, nn.Module):
        return _name(type(value))
    if hasattr(value, "tobytes"):  # an array
        return [_name(type(value)), hashlib.sha256(value.tobytes()).hexdigest()]
    inside = vars(value) if hasattr(value, "__dict__") and not isinstance(value, type) else {}
    return [_name(value if isinstance(value, type) else type(value)), _described(dict(inside), above)]


def _constants(code: types.CodeType) -> str:
    return repr([each for each in code.co_consts if isinstance(each, (*PLAIN, tuple))])
