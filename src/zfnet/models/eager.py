"""Turns off torch.compile and activation checkpointing while a network is read layer by layer.

Reading a network with hooks requires that every module runs exactly once, in the forward pass
itself.

    with force_eager(), disable_checkpointing():
        model(images)
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.checkpoint

_lock = threading.Lock()
_thread = threading.local()  # .depth: how many disable_checkpointing blocks this thread is in


class _SharedPatch:
    """A change to torch's global state, made by the first thread and undone by the last."""

    def __init__(self) -> None:
        self.users, self.original = 0, None

    def enter(self, patch: Callable[[], Any]) -> None:
        with _lock:
            if self.users == 0:
                self.original = patch()
            self.users += 1

    def leave(self, restore: Callable[[Any], object]) -> None:
        with _lock:
            self.users -= 1
            if self.users == 0:
                restore(self.original)
                self.original = None


_stance, _checkpoints = _SharedPatch(), _SharedPatch()


@contextmanager
def force_eager() -> Iterator[None]:
    """Runs compiled modules eagerly inside the block, in all threads."""
    if "torch._dynamo" not in sys.modules:  # nothing can have been compiled
        yield
        return

    def set_stance() -> Any:
        stance = torch.compiler.set_stance("force_eager")
        stance.__enter__()
        return stance

    _stance.enter(set_stance)
    try:
        yield
    finally:
        _stance.leave(lambda stance: stance.__exit__(None, None, None))


def _is_disabled() -> bool:
    return getattr(_thread, "depth", 0) > 0


class _DirectCall:
    """Replaces torch's CheckpointFunction (reentrant checkpoints): calls the function directly."""

    @staticmethod
    def apply(function: Any, preserve: bool, *args: Any) -> Any:
        if _is_disabled():
            return function(*args)
        return CHECKPOINTS["CheckpointFunction"].apply(function, preserve, *args)


def _skip(original: Any) -> Any:
    """Replaces the generator that surrounds the function in non-reentrant checkpoints."""

    def surround(*args: Any, **kwargs: Any) -> Iterator[None]:
        if _is_disabled():
            yield
        else:
            yield from original(*args, **kwargs)

    return surround


GENERATORS = (
    "_checkpoint_without_reentrant_generator",
    "_checkpoint_without_reentrant_generator_impl",
)
CHECKPOINTS = {  # the originals by name; the name of the generator depends on torch's version
    name: vars(torch.utils.checkpoint)[name]
    for name in ("CheckpointFunction", *GENERATORS)
    if name in vars(torch.utils.checkpoint)
}
REPLACEMENTS = {
    name: _skip(original) if name in GENERATORS else _DirectCall
    for name, original in CHECKPOINTS.items()
}


@contextmanager
def disable_checkpointing() -> Iterator[None]:
    """Makes torch.utils.checkpoint call its function directly, in this thread.

    Otherwise the backward pass would recompute the function with other rules than the forward pass.
    """
    _checkpoints.enter(lambda: vars(torch.utils.checkpoint).update(REPLACEMENTS))
    _thread.depth = getattr(_thread, "depth", 0) + 1
    try:
        yield
    finally:
        _thread.depth -= 1
        _checkpoints.leave(lambda _: vars(torch.utils.checkpoint).update(CHECKPOINTS))
