"""Detects changes of a model: by identity within a process, by value across processes.

>>> from torch import nn
>>> from zfnet.models.snapshot import attributes, snapshot
>>> model = nn.Sequential(nn.ReLU())
>>> before = snapshot(model)
>>> before == snapshot(model)
True
>>> model[0] = nn.GELU()
>>> before == snapshot(model)
False
>>> attributes(model[0])
{'class': 'torch.nn.modules.activation.GELU', 'approximate': "'none'"}
"""

import functools
import hashlib
import types
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from zfnet.fingerprint import digest

KNOWN = {"torch", "torchvision", "timm", "zfnet"}  # packages of self-contained modules
INTERNAL = frozenset(vars(nn.Module()))
PLAIN = (
    int,
    float,
    complex,
    str,
    bytes,
    bool,
    type(None),
    torch.dtype,
    torch.device,
    torch.memory_format,
)
HOOKS = [
    name
    for name in INTERNAL
    if "hooks" in name and "with_kwargs" not in name and "always" not in name
]


class _Unknown(Exception):
    """Raised for a value whose changes cannot be detected."""


def snapshot(model: nn.Module) -> tuple[Any, ...] | None:
    """Captures everything that a forward pass depends on, except the values of the weights.

    Two snapshots are equal as long as no module, attribute or tensor was replaced. A snapshot keeps
    the parts of the model alive.

    Returns:
        The snapshot, or None if the model contains classes, functions or hooks from other packages
        than KNOWN: these may depend on anything.
    """
    if any(
        value
        for name, value in vars(torch_module).items()
        if name.startswith("_global_") and "hook" in name
    ):
        return None
    parts: list[Any] = []
    try:
        for module in model.modules():
            kind, own = type(module), vars(module)
            if not (_is_known(kind) and _is_known(kind.forward)) or any(
                own.get(hooks) for hooks in HOOKS
            ):
                return None
            parts += [_Same(module), kind, kind.forward]
            for name, value in own.items():
                if name not in INTERNAL:
                    parts += [name, _identify(value)]
            for tensors in (own["_parameters"], own["_buffers"]):
                for name, tensor in tensors.items():
                    parts += [name, _identify(tensor)]
    except _Unknown:
        return None
    return tuple(parts)


class _Same:
    """Compares an object by identity."""

    __slots__ = ("what",)

    def __init__(self, what: Any) -> None:
        self.what = what

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.what is other.what

    def __hash__(self) -> int:
        return id(self.what)


def _is_known(code: Any) -> bool:
    return (getattr(code, "__module__", None) or "").split(".")[0] in KNOWN


def _identify(value: Any) -> Any:
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Tensor):
        return _Same(value), value.data_ptr(), value.dtype, value.shape, value.stride()
    if isinstance(value, list | tuple | set | frozenset):
        return type(value), tuple(_identify(each) for each in value)
    if isinstance(value, dict):
        return tuple((key, _identify(each)) for key, each in value.items())
    if isinstance(value, nn.Module):
        return _Same(value)
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType) and _is_known(
        value
    ):
        return value
    if _is_known(type(value)) and not callable(value) and hasattr(value, "__dict__"):
        return _Same(value), _identify(vars(value))
    raise _Unknown


def attributes(module: nn.Module) -> dict[str, Any]:
    """Describes a module's class, attributes and hooks as plain containers for JSON.

    Parameters, buffers and children are left out. Tensors and arrays are described by a hash,
    functions by their code and closure, other objects by their class and attributes.
    """
    own = {
        name: value
        for name, value in vars(module).items()
        if name not in INTERNAL and name != "training"
    }
    hooks = {name: list(vars(module)[name].values()) for name in HOOKS if vars(module).get(name)}
    return {"class": _name(type(module)), **_describe({**own, **hooks}, ())}


def net_fingerprint(net: nn.Module) -> str:
    """Returns a digest of a model's modules, their attributes, and the values of all tensors."""
    modules = [[name, attributes(module)] for name, module in net.named_modules()]
    tensors = [
        [name, digest(tensor)] for name, tensor in [*net.named_parameters(), *net.named_buffers()]
    ]
    return f"{type(net).__name__} {digest(modules, tensors)}"


def _name(what: Any) -> str:
    name = getattr(what, "__qualname__", type(what).__qualname__)
    return f"{getattr(what, '__module__', '')}.{name}"


def _describe(value: Any, above: tuple[int, ...]) -> Any:
    if isinstance(value, PLAIN):
        return repr(value)
    if id(value) in above:
        return "itself"
    above = (*above, id(value))
    if isinstance(value, Tensor):
        return digest(value)
    if isinstance(value, dict):
        return {str(key): _describe(each, above) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_describe(each, above) for each in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(_describe(each, above)) for each in value)
    if isinstance(value, functools.partial):
        return [_describe(each, above) for each in (value.func, value.args, value.keywords)]
    if isinstance(value, types.MethodType):
        return [_describe(value.__func__, above), _describe(value.__self__, above)]
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if cell != types.CellType()]
        code = value.__code__
        return [
            _name(value),
            code.co_code.hex(),
            repr(code.co_names),
            _constants(code),
            _describe(cells, above),
        ]
    if isinstance(value, nn.Module):
        return _name(type(value))
    if hasattr(value, "tobytes"):  # an array
        return [_name(type(value)), hashlib.sha256(value.tobytes()).hexdigest()]
    inside = vars(value) if hasattr(value, "__dict__") and not isinstance(value, type) else {}
    return [
        _name(value if isinstance(value, type) else type(value)),
        _describe(dict(inside), above),
    ]


def _constants(code: types.CodeType) -> str:
    return repr([each for each in code.co_consts if isinstance(each, (*PLAIN, tuple))])
