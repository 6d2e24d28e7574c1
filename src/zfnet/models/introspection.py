"""Finding a model's layers, and reading them while it runs, without a trace left on it.

    with eval_mode(model), capture_outputs({"features.6": module}, read):
        model(images)                       # read("features.6", output) as soon as that module has run

`read` returns True when the model need not run on. Threads may share a model: a hook acts for its own thread only.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, nn

from zfnet.errors import InputError
from zfnet.models.convnet import ConvNet
from zfnet.models.eager import uncompiled
from zfnet.models.layout import Layout

COMPILED = "_orig_mod"  # what torch.compile puts into the names of a net's modules

_lock = threading.Lock()
_evaluated: dict[nn.Module, int] = {}  # modules in eval mode for so many users, in training mode otherwise


class _Enough(Exception):
    """Ends a forward pass that has given all that was asked for."""


def find_modules(model: nn.Module, layers: Sequence[str]) -> dict[str, nn.Module]:
    """The module of each layer by name; a ConvNet's stages (conv3, fc6) are their units. InputError if unknown.

    Names of a compiled net are known with and without `_orig_mod.`.
    """
    model = user_module(model)
    modules = dict(model.named_modules(remove_duplicate=False))
    modules |= {plain: each for name, each in modules.items() if (plain := plain_name(name)) not in modules}
    result = {}
    for layer in layers:
        plain = plain_name(layer)
        name = model.units(plain) if isinstance(model, ConvNet) and plain in model.table else layer
        name = name if name in modules else plain_name(name)
        if not layer or name not in modules:
            some = list(model.table) if isinstance(model, ConvNet) else _examples(model)
            raise InputError(f"layer {layer!r} is not in {type(model).__name__}: it has {', '.join(some)}")
        result[layer] = modules[name]
    return result


def user_module(model: nn.Module) -> nn.Module:
    """The net that a compiled one was made from; any other is itself."""
    original = getattr(model, COMPILED, None)
    return original if isinstance(original, nn.Module) else model


def plain_name(name: str) -> str:
    """The name that a module of a compiled net has in the net itself."""
    return ".".join(part for part in name.split(".") if part != COMPILED)


def input_channels(model: nn.Module) -> int | None:
    """How many channels a net's images have, as its first convolution says; None where there is none."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            return module.in_channels
    return None


def _examples(model: nn.Module) -> list[str]:
    """Up to 12 names, of convolutions and linear layers first."""
    with_weights = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    names = with_weights or [name for name, _ in model.named_modules() if name]
    return names if len(names) <= 12 else [*names[:6], "...", *names[-5:]]


def run_order(model: nn.Module, image: Tensor) -> list[str]:
    """The names of the modules without parts, in the order in which one image (1, 3, H, W) runs them."""
    leaves = {name: module for name, module in model.named_modules() if name and not list(module.children())}
    order: list[str] = []
    with (
        torch.inference_mode(),
        eval_mode(model),
        capture_outputs(leaves, lambda layer, _: order.append(layer), needed=()),
    ):
        model(image)
    return order


def random_subset(total: int, count: int) -> Tensor:
    """`count` of `total` numbers, the same in every run and smaller counts within larger ones: sorted, int64."""
    order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
    return order[:count].sort().values


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode inside, and what is compiled runs as it was written; every module's own mode again afterwards.

    A module that is in eval mode already is not touched. Of several threads the last one restores the modes.
    """
    entered = []
    with _lock:
        for module in model.modules():
            if module.training or module in _evaluated:
                _evaluated[module] = _evaluated.get(module, 0) + 1
                module.training = False
                entered.append(module)
    try:
        with uncompiled():
            yield
    finally:
        with _lock:
            for module in entered:
                _evaluated[module] -= 1
                if not _evaluated[module]:
                    del _evaluated[module]
                    module.training = True


@contextmanager
def capture_outputs(
    modules: dict[str, nn.Module],
    read: Callable[[str, Tensor], bool | None],
    needed: Collection[str] | None = None,
    within: str = "one pass",
) -> Iterator[None]:
    """Calls `read(layer, output)` when a module of `modules` has run; ends the block when it returns True.

    The hooks are the last ones of their modules, so that what a hook of the user's own gives is what is read. They
    act in this thread only and are gone when the block ends. A compiled net runs as it was written.

    Args:
        modules: the layers by name.
        read: called with a layer's name and its output, a tensor.
        needed: layers that must run and give a tensor, None for all. What else gives no tensor is passed over.
        within: what the block is, for the message about a layer that does not run: "batch 3".

    Raises:
        InputError: a needed layer gives no tensor, or the block ends before it has run.
    """
    names: dict[nn.Module, list[str]] = {}
    for layer, module in modules.items():
        names.setdefault(module, []).append(layer)
    needed = set(modules) if needed is None else set(needed)
    missing, thread = set(needed), threading.get_ident()

    def hook(module: nn.Module, _: Any, output: Any) -> None:
        if threading.get_ident() != thread:
            return
        for layer in names[module]:
            missing.discard(layer)
            if isinstance(output, Tensor):
                enough = read(layer, output)
            elif layer in needed:
                raise InputError(f"layer {layer!r} gives a {type(output).__name__}, not one tensor of units")
            else:
                enough = False
            if enough:
                raise _Enough

    handles = []
    try:
        with _lock:  # torch numbers hooks without one
            for module in names:
                handles.append(module.register_forward_hook(hook))
        with uncompiled(), suppress(_Enough):
            yield
            if missing:
                layer = next(layer for layer in modules if layer in missing)
                raise InputError(f"layer {layer!r} never runs in {within}: name a module that runs once")
    finally:
        with _lock:
            for handle in handles:
                handle.remove()


def check_called_once(
    model: nn.Module, modules: dict[str, nn.Module], image: Tensor, maps: bool = False
) -> None:
    """Runs one image (1, C, H, W) to the end.

    Args:
        model: in eval mode.
        modules: the layers by name.
        image: one image.
        maps: whether the layers' units are read by channel and place.

    Raises:
        InputError: a layer runs more than once, or never; or, with `maps`, its channels are not on axis 1.
    """
    calls = dict.fromkeys(modules, 0)
    with torch.inference_mode(torch.is_inference_mode_enabled() and not maps), torch.no_grad():
        image = image.clone()  # the model may work in place
        layout = Layout(image)

        def read(layer: str, output: Tensor) -> None:
            calls[layer] += 1
            if maps:
                layout.check(layer, output)

        try:
            with capture_outputs(modules, read), layout if maps else nullcontext():
                model(image)
        except RuntimeError:
            if not all(calls.values()):  # what comes behind the layers need not fit this size of image
                raise
    for layer, count in calls.items():
        if count > 1:
            raise InputError(f"layer {layer!r} runs {count} times in one pass: name a module that runs once")
