"""Any torchvision classifier, fresh, downloaded or from a local state dict.

    torchvision_model("alexnet", weights="DEFAULT")                     # torchvision's own, downloaded once
    torchvision_model("alexnet", weights="alexnet_features.pth")        # a file: no network needed
    torchvision_model("resnet18", num_classes=12)                       # random weights, 12 classes

A file may hold a part of the net, say its convolutions, or a head of other classes: what it does not hold
starts fresh and is named in the log. What the net does not know is an error. A checkpoint of other software is
unwrapped (state_dicts.py).
"""

import logging
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

from zfnet.errors import InputError
from zfnet.models.state_dicts import find_state_dict, strip_prefixes

log = logging.getLogger(__name__)

# Heads beside the trunk that only help to train from scratch; forward returns plain logits without them.
AUXILIARY_HEADS = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}


def torchvision_model(name: str, weights: str | None = None, num_classes: int = 1000) -> nn.Module:
    """A torchvision classifier of `num_classes` logits; `weights` is None, a weights name or a path."""
    if name not in models.list_models(module=models):
        raise InputError(
            f"model.name={name!r} is no torchvision classifier; some that are: "
            "alexnet, vgg16, squeezenet1_1, resnet18, googlenet"
        )
    fresh = {"init_weights": True} if name in AUXILIARY_HEADS else {}
    net = models.get_model(name, weights=None, num_classes=num_classes, **fresh)
    if weights is not None:
        load_weights(net, _state_dict(name, weights), num_classes, source=weights)
    for head in AUXILIARY_HEADS.get(name, ()):
        net.aux_logits = False
        setattr(net, head, None)
    return net


def class_names(name: str) -> list[str]:
    """The classes of a torchvision classifier's ImageNet weights, in order."""
    return list(models.get_model_weights(name).DEFAULT.meta["categories"])


def _state_dict(name: str, weights: str) -> dict[str, torch.Tensor]:
    path = Path(weights).expanduser()
    if path.suffix or path.is_file():  # the names of torchvision's weights (DEFAULT, IMAGENET1K_V1) have none
        return read_state_dict(path)
    try:
        return models.get_model_weights(name)[weights].get_state_dict(progress=True, check_hash=True)
    except KeyError as error:
        raise InputError(f"model.weights={weights!r}: neither a file nor weights of {name}") from error
    except OSError as error:
        raise InputError(
            f"model.weights={weights}: the download failed ({error}); give a local path"
        ) from error


def load_plain(path: Path) -> Any:
    """What a torch file holds, of plain containers only; InputError for a missing or damaged file."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails anywhere inside zip and pickle
        code = re.search(r"GLOBAL (\S+)", str(error))
        holds = f": it holds {code[1]}, which is code" if code else ""
        raise InputError(
            f"{path}: not a torch file of plain containers ({type(error).__name__}{holds})"
        ) from error


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """A file's tensors by name, also from below a key such as "state_dict"; InputError when there are none."""
    return find_state_dict(load_plain(path), path)


def load_weights(net: nn.Module, state: dict[str, torch.Tensor], num_classes: int, source: str) -> None:
    """Copies `state` into `net`; heads of another number of classes stay fresh, and so does what is missing."""
    own = net.state_dict()
    state = strip_prefixes(state, own, source)
    if unknown := sorted(set(state) - set(own)):
        raise InputError(
            f"{source}: holds {unknown[0]} ({len(unknown)} such), which {type(net).__name__} does not"
            f"{'' if set(state) & set(own) else f'; its own are called {next(iter(own))}, ...'}"
        )
    fits = {key: value for key, value in state.items() if own[key].shape == value.shape}
    for key in sorted(set(state) - set(fits)):
        if own[key].shape[1:] != state[key].shape[1:] or own[key].shape[0] != num_classes:
            shapes = f"{tuple(state[key].shape)}, {type(net).__name__} needs {tuple(own[key].shape)}"
            raise InputError(f"{source}: {key} is {shapes}")
    net.load_state_dict(fits, strict=False)
    if fresh := sorted(set(own) - set(fits)):
        log.warning("%s: %d of %d tensors loaded; fresh: %s", source, len(fits), len(own), ", ".join(fresh))
