"""Loads weights from files, and describes the input that weights expect.

A file may contain a part of the network, such as its convolutions, or a head for other classes.
Parameters that it does not contain keep their random values and are named in the log. Unknown
parameters are an error. Checkpoints of other software are unwrapped (state_dicts.py).
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from zfnet.errors import InputError, one_line
from zfnet.models.state_dicts import find_state_dict, strip_prefixes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExpectedInput:
    """The preprocessing that weights expect.

    The shorter side is resized to `size` pixels, the image is cropped to `crop` x `crop` pixels at
    its center, and each channel is normalized as (x - mean) / std.
    """

    size: int
    crop: int
    interpolation: str  # bilinear or bicubic
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of ImageNet, for x in [0, 1]
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __str__(self) -> str:
        numbers = ", ".join(f"{each:.4g}" for each in (*self.mean, *self.std))
        return (
            f"{self.crop} of {self.size} pixels, {self.interpolation}, mean and deviation {numbers}"
        )


def is_file(weights: str) -> bool:
    """Whether `weights` is a path. Names of weights (DEFAULT, IMAGENET1K_V1) have no suffix."""
    path = Path(weights).expanduser()
    return bool(path.suffix) or path.is_file()


def load_plain(path: Path) -> Any:
    """Loads a file of `torch.save` that contains plain containers only.

    Args:
        path: the file.

    Returns:
        The content, with tensors on the CPU.

    Raises:
        InputError: if the file is missing or damaged, or contains code.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere in zip or pickle
        code = re.search(r"GLOBAL (\S+)", str(error))
        holds = f": it holds {code[1]}, which is code" if code else ""
        raise InputError(
            f"{path}: not a torch file of plain containers ({type(error).__name__}{holds})"
        ) from error


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Reads the tensors of a file by name.

    Args:
        path: a `.safetensors` file or a file of `torch.save`. The state dict may be nested under a
            key such as "state_dict".

    Raises:
        InputError: if the file is missing or damaged, or contains no tensors.
    """
    if path.suffix == ".safetensors" and path.is_file():
        try:
            return load_file(path)
        except Exception as error:  # safetensors has its own error types
            raise InputError(f"{path}: not a safetensors file ({one_line(error)})") from error
    return find_state_dict(load_plain(path), path)


def load_weights(
    net: nn.Module, state: dict[str, torch.Tensor], num_classes: int, source: str
) -> None:
    """Copies a state dict into a network.

    Missing parameters, and a head with a different number of classes, keep their values.

    Args:
        net: the network to change.
        state: tensors by name.
        num_classes: the number of classes of the network.
        source: the origin of the weights, for messages.

    Raises:
        InputError: if the network has no such parameter, or its shape differs.
    """
    own = net.state_dict()
    state = strip_prefixes(state, own, source)
    if unknown := sorted(set(state) - set(own)):
        raise InputError(
            f"{source}: holds {unknown[0]} ({len(unknown)} such), which {type(net).__name__} does "
            "not"
            f"{'' if set(state) & set(own) else f'; its own are called {next(iter(own))}, ...'}"
        )
    fits = {key: value for key, value in state.items() if own[key].shape == value.shape}
    for key in sorted(set(state) - set(fits)):
        if own[key].shape[1:] != state[key].shape[1:] or own[key].shape[0] != num_classes:
            shapes = (
                f"{tuple(state[key].shape)}, {type(net).__name__} needs {tuple(own[key].shape)}"
            )
            raise InputError(f"{source}: {key} is {shapes}")
    net.load_state_dict(fits, strict=False)
    if fresh := sorted(set(own) - set(fits)):
        log.warning(
            "%s: %d of %d tensors loaded; fresh: %s", source, len(fits), len(own), ", ".join(fresh)
        )
