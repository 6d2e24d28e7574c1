"""Finding a model's layers, and reading them while it runs, without a trace left on it.

    with evaluating(model), reading(model, {"features.6": module}, read):
        model(images)                       # read("features.6", output) as soon as that module has run

`read` returns True when the model need not run on.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from zfnet.errors import InputError
from zfnet.models.net import ConvNet


class _Enough(Exception):
    """Ends a forward pass that has given all that was asked for."""


def found(model: nn.Module, layers: Sequence[str]) -> dict[str, nn.Module]:
    """The module of each layer by name; a ConvNet's stages (conv3, fc6) are their units. InputError if unknown."""
    modules = dict(model.named_modules(remove_duplicate=False))
    result = {}
    for layer in layers:
        name = model.units(layer) if isinstance(model, ConvNet) and layer in model.table else layer
        if not layer or name not in modules:
            some = list(model.table) if isinstance(model, ConvNet) else _examples(model)
            raise InputError(f"layer {layer!r} is not in {type(model).__name__}: it has {', '.join(some)}")
        result[layer] = modules[name]
    return result


def _examples(model: nn.Module) -> list[str]:
    """Up to 12 names, of convolutions and linear layers first."""
    with_weights = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    names = with_weights or [name for name, _ in model.named_modules() if name]
    return names if len(names) <= 12 else [*names[:6], "...", *names[-5:]]


def run_order(model: nn.Module, image: Tensor) -> list[str]:
    """The names of the modules without parts, in the order in which one image (1, 3, H, W) runs them."""
    leaves = {name: module for name, module in model.named_modules() if name and not list(module.children())}
    order: list[str] = []
    with torch.inference_mode(), evaluating(model), reading(leaves, lambda layer, _: order.append(layer)):
        model(image)
    return order


def lot(total: int, count: int) -> Tensor:
    """`count` of `total` numbers, the same in every run and smaller counts within larger ones: sorted, int64."""
    order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
    return order[:count].sort().values


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; every module's own mode again afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def reading(
    modules: dict[str, nn.Module],
    read: Callable[[str, Tensor], bool | None],
    needed: Collection[str] | None = None,
) -> Iterator[None]:
    """Calls `read(layer, output)` when a module of `modules` has run; ends the block when it returns True.

    What gives no tensor is passed over, but for those `needed` (None: all), where it is an InputError. The hook is
    torch's global one: nothing is registered on the model.
    """
    names: dict[nn.Module, list[str]] = {}
    for layer, module in modules.items():
        names.setdefault(module, []).append(layer)

    def hook(module: nn.Module, _: Any, output: Any) -> None:
        for layer in names.get(module, ()):
            if isinstance(output, Tensor):
                enough = read(layer, output)
            elif needed is None or layer in needed:
                raise InputError(f"layer {layer!r} gives a {type(output).__name__}, not one tensor of units")
            else:
                enough = False
            if enough:
                raise _Enough

    handle = register_module_forward_hook(hook)
    try:
        with suppress(_Enough):
            yield
    finally:
        handle.remove()


def check_called_once(model: nn.Module, modules: dict[str, nn.Module], image: Tensor) -> None:
    """Runs one image (1, 3, H, W) to the end; InputError for a layer that runs more than once, or never."""
    calls = dict.fromkeys(modules, 0)

    def read(layer: str, _: Tensor) -> None:
        calls[layer] += 1

    with reading(modules, read):
        try:
            model(image)
        except RuntimeError:
            if not all(calls.values()):  # what comes behind the layers need not fit this size of image
                raise
    for layer, count in calls.items():
        if count != 1:
            how = f"runs {count} times" if count else "never runs"
            raise InputError(f"layer {layer!r} {how} in one pass: name a module that runs once")
