"""Compiles a network with torch.compile for training (trainer.compile=true).

    check_compiler("cuda")       # InputError: ... found no C++ compiler
    compile_for_training(net, prepare, "cuda")

`Module.compile` compiles the call in place: parameters keep their names, so that checkpoints load
with and without it. What reads a network layer by layer runs it eagerly (models/eager.py).
"""

import os
import shutil
import sys
from importlib.util import find_spec

from torch import nn

from zfnet.errors import InputError


def check_compiler(device: str) -> None:
    """Checks that torch.compile finds a compiler for a device.

    Args:
        device: the type of the device, such as "cpu" or "cuda".

    Raises:
        InputError: if it finds none.
    """
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    missing = []
    if shutil.which(name) is None:
        missing.append(f"the C++ compiler {name}")
    if device == "cuda" and find_spec("triton") is None:
        missing.append("the package triton")
    if missing:
        raise InputError(
            f"trainer.compile=true: torch.compile needs {' and '.join(missing)}; install that, or "
            "leave trainer.compile out"
        )


def compile_for_training(net: nn.Module, prepare: nn.Module, device: str) -> None:
    """Compiles the network, and for a GPU the preparation of its images, which is one kernel then.

    Args:
        net: the network.
        prepare: its `Preprocessing`. On a CPU it runs image by image, which is faster.
        device: the type of the device that trains, such as "cpu" or "cuda".
    """
    net.compile()
    if device != "cpu":
        prepare.compile()
