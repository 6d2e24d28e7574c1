"""Compiled nets run as they were written, and gradient checkpointing steps aside.

What reads a net layer by layer needs every module to run, once, in the pass itself.

    with uncompiled(), not_checkpointed():
        model(images)
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.checkpoint

_lock = threading.Lock()
_here = threading.local()  # whether this thread's checkpoints step aside


class _Shared:
    """Something of torch's that is exchanged while any thread needs it: the first one in sets it, the last one out
    puts it back."""

    def __init__(self) -> None:
        self.users, self.before = 0, None

    def enter(self, exchange: Any) -> None:
        with _lock:
            if self.users == 0:
                self.before = exchange()
            self.users += 1

    def leave(self, restore: Any) -> None:
        with _lock:
            self.users -= 1
            if self.users == 0:
                restore(self.before)
                self.before = None


_stance, _checkpoints = _Shared(), _Shared()


@contextmanager
def uncompiled() -> Iterator[None]:
    """What torch.compile made runs as it was written, in other threads too, which changes no result."""
    if "torch._dynamo" not in sys.modules:  # nothing can have been compiled
        yield
        return

    def force_eager() -> Any:
        stance = torch.compiler.set_stance("force_eager")
        stance.__enter__()
        return stance

    _stance.enter(force_eager)
    try:
        yield
    finally:
        _stance.leave(lambda stance: stance.__exit__(None, None, None))


class _Aside:
    """Stands for torch's CheckpointFunction: runs the function itself, in the threads that asked for it."""

    @staticmethod
    def apply(function: Any, preserve: bool, *args: Any) -> Any:
        if getattr(_here, "aside", 0):
            return function(*args)
        return CHECKPOINTS["CheckpointFunction"].apply(function, preserve, *args)


def _beside(original: Any) -> Any:
    """Stands for the generator that goes around a function in the other kind of checkpoint."""

    def around(*args: Any, **kwargs: Any) -> Iterator[None]:
        if getattr(_here, "aside", 0):
            yield
        else:
            yield from original(*args, **kwargs)

    return around


GENERATORS = ("_checkpoint_without_reentrant_generator", "_checkpoint_without_reentrant_generator_impl")
CHECKPOINTS = {  # torch's own, by their names in its module; that of the generator differs between versions
    name: vars(torch.utils.checkpoint)[name]
    for name in ("CheckpointFunction", *GENERATORS)
    if name in vars(torch.utils.checkpoint)
}
ASIDE = {name: _beside(own) if name in GENERATORS else _Aside for name, own in CHECKPOINTS.items()}


@contextmanager
def not_checkpointed() -> Iterator[None]:
    """torch.utils.checkpoint calls its function and no more: what it computes again on the way back would be computed
    by other rules."""
    _checkpoints.enter(lambda: vars(torch.utils.checkpoint).update(ASIDE))
    _here.aside = getattr(_here, "aside", 0) + 1
    try:
        yield
    finally:
        _here.aside -= 1
        _checkpoints.leave(lambda _: vars(torch.utils.checkpoint).update(CHECKPOINTS))
