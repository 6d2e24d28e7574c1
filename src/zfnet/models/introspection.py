"""Finds a model's layers by name and reads their outputs, without leaving anything on the model.

    >>> import torch
    >>> from torch import nn
    >>> from zfnet.models.introspection import capture_outputs, eval_mode, find_modules
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    >>> with eval_mode(model), capture_outputs(
    ...     find_modules(model, ["1"]), lambda layer, output: print(layer, tuple(output.shape))
    ... ):
    ...     _ = model(torch.zeros(2, 3, 8, 8))
    1 (2, 4, 6, 6)

Several threads may share a model: a hook only acts in the thread that set it.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from zfnet.errors import InputError
from zfnet.models.convnet import ConvNet
from zfnet.models.eager import force_eager
from zfnet.models.layout import Layout
from zfnet.models.unit_axes import UnitAxes

COMPILED = "_orig_mod"  # torch.compile adds it to the names of modules

_lock = threading.Lock()
_users: dict[nn.Module, int] = {}  # modules that eval_mode switched, with their number of users


class _Stop(Exception):
    """Ends a forward pass early."""


def find_modules(model: nn.Module, layers: Sequence[str]) -> dict[str, nn.Module]:
    """Finds the module of each layer.

    A stage of a `ConvNet` ("conv3", "fc6") stands for the module whose output are its units. The
    names of a compiled model may be given with or without `_orig_mod.`.

    Args:
        model: any model.
        layers: names of modules, or of a `ConvNet`'s stages.

    Raises:
        InputError: a name is unknown.
    """
    model = user_module(model)
    modules = dict(model.named_modules(remove_duplicate=False))
    modules |= {
        plain: each for name, each in modules.items() if (plain := plain_name(name)) not in modules
    }
    result = {}
    for layer in layers:
        plain = plain_name(layer)
        name = model.units(plain) if isinstance(model, ConvNet) and plain in model.table else layer
        name = name if name in modules else plain_name(name)
        if not layer or name not in modules:
            known = list(model.table) if isinstance(model, ConvNet) else list(modules)
            near = get_close_matches(layer, known, n=3)
            some = known if isinstance(model, ConvNet) else _examples(model)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise InputError(
                f"layer {layer!r} is not in {type(model).__name__}: it has {', '.join(some)}{hint}"
            )
        result[layer] = modules[name]
    return result


def user_module(model: nn.Module) -> nn.Module:
    """Returns the model that was compiled, or `model` itself if it was not compiled."""
    original = getattr(model, COMPILED, None)
    return original if isinstance(original, nn.Module) else model


def check_not_scripted(model: nn.Module) -> None:
    """Checks that a model runs in Python, where its operations can be replaced.

    Raises:
        InputError: it was scripted or traced.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise InputError(
            "a scripted or traced module hides its operations from the deconvnet: give the module "
            "that it was made from"
        )


def plain_name(name: str) -> str:
    """Returns a module's name without the parts that torch.compile adds."""
    return ".".join(part for part in name.split(".") if part != COMPILED)


def input_channels(model: nn.Module) -> int | None:
    """Returns the input channels of the first convolution, or None without a convolution."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            return module.in_channels
    return None


def _examples(model: nn.Module) -> list[str]:
    """Returns up to 12 names for a message, of convolutions and linear layers if there are any."""
    with_weights = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    names = with_weights or [name for name, _ in model.named_modules() if name]
    return names if len(names) <= 12 else [*names[:6], "...", *names[-5:]]


def run_order(model: nn.Module, image: Tensor) -> list[str]:
    """Returns the names of modules without children, in the order in which they run.

    Args:
        model: any model.
        image: (1, C, H, W).
    """
    leaves = {
        name: module
        for name, module in model.named_modules()
        if name and not list(module.children())
    }
    order: list[str] = []
    with (
        torch.inference_mode(),
        eval_mode(model),
        capture_outputs(leaves, lambda layer, _: order.append(layer), needed=()),
    ):
        model(image)
    return order


def random_subset(total: int, count: int) -> Tensor:
    """Draws `count` of `total` numbers without replacement, seeded and sorted.

    A smaller subset is always part of a larger one.

    Returns:
        int64 (min(count, total),).

    Example:
        >>> random_subset(10, 3)
        tensor([1, 4, 7])
    """
    order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
    return order[:count].sort().values


def in_run_order(model: nn.Module, layers: Sequence[str], image: Tensor) -> list[str]:
    """Returns layers in the order in which they have run.

    Args:
        model: any model.
        layers: names of layers.
        image: (1, C, H, W).
    """
    order: list[str] = []

    def read(layer: str, _: Tensor) -> bool:
        order.append(layer)
        return len(order) == len(layers)

    model = user_module(model)
    with torch.no_grad(), eval_mode(model), capture_outputs(find_modules(model, layers), read):
        model(image.clone())
    return order


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Puts all modules in eval mode inside the block, and runs compiled modules eagerly.

    Every module's own mode is restored afterwards. If several threads use a model, the last one
    restores it.
    """
    entered = []
    with _lock:
        for module in model.modules():
            if module.training or module in _users:
                _users[module] = _users.get(module, 0) + 1
                module.training = False
                entered.append(module)
    try:
        with force_eager():
            yield
    finally:
        with _lock:
            for module in entered:
                _users[module] -= 1
                if not _users[module]:
                    del _users[module]
                    module.training = True


@contextmanager
def capture_outputs(
    modules: dict[str, nn.Module],
    read: Callable[[str, Tensor], bool | None],
    needed: Collection[str] | None = None,
    within: str = "one pass",
) -> Iterator[None]:
    """Calls `read(layer, output)` each time a module has run.

    The hooks run after the user's own hooks, act in this thread only, and are removed when the
    block ends. Compiled modules run eagerly.

    Args:
        modules: layer name → module.
        read: receives a layer's name and its output tensor. If it returns True, the block ends
            early.
        needed: layers that must run and return a tensor; None for all. Other layers are skipped if
            they do not return a tensor.
        within: what the block does, for error messages, such as "batch 3".

    Raises:
        InputError: a needed layer does not return a tensor, or does not run.
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
                if read(layer, output):
                    raise _Stop
            elif layer in needed:
                raise InputError(
                    f"layer {layer!r} gives a {type(output).__name__}, not one tensor of units"
                )

    handles = []
    try:
        with _lock:  # torch's numbering of hooks is not thread-safe
            for module in names:
                handles.append(module.register_forward_hook(hook))
        with force_eager(), suppress(_Stop):
            yield
            if missing:
                layer = next(layer for layer in modules if layer in missing)
                raise InputError(
                    f"layer {layer!r} never runs in {within}: name a module that runs once"
                )
    finally:
        with _lock:
            for handle in handles:
                handle.remove()


def check_called_once(
    model: nn.Module, modules: dict[str, nn.Module], image: Tensor, maps: bool = False
) -> dict[str, UnitAxes]:
    """Runs one image to check that each layer runs exactly once.

    Args:
        model: a model in eval mode.
        modules: layer name → module.
        image: (1, C, H, W).
        maps: whether to find the axes of the layers' units.

    Returns:
        The axes by layer; {} without `maps`.

    Raises:
        InputError: a layer runs more than once or never, its axes are unknown, or it does not give
            the values of one image.
    """
    calls, axes = dict.fromkeys(modules, 0), dict[str, UnitAxes]()
    with torch.inference_mode(torch.is_inference_mode_enabled() and not maps), torch.no_grad():
        image = image.clone()  # the model may work in place
        layout = Layout(image)

        def read(layer: str, output: Tensor) -> None:
            calls[layer] += 1
            units = output
            if maps:
                axes[layer] = layout.find(layer, output, modules[layer])
                units = axes[layer].maps(output)
            if units.shape[:1] != (1,):
                raise InputError(
                    f"layer {layer!r} gives values of shape {tuple(output.shape)} for one image: "
                    "name a layer whose first axis are the images"
                )

        try:
            with capture_outputs(modules, read), layout if maps else nullcontext():
                model(image)
        except RuntimeError:
            if not all(calls.values()):  # modules after the layers need not accept this image size
                raise
    for layer, count in calls.items():
        if count > 1:
            raise InputError(
                f"layer {layer!r} runs {count} times in one pass: name a module that runs once"
            )
    return axes
