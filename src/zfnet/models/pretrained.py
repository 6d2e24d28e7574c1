"""Any torchvision classifier, fresh, downloaded or from a local state dict.

    torchvision_model("alexnet", weights="DEFAULT")                     # torchvision's own, downloaded once
    torchvision_model("alexnet", weights="alexnet_features.pth")        # a file: no network needed
    torchvision_model("resnet18", num_classes=12)                       # random weights, 12 classes

A file may hold a part of the net, say its convolutions, or a head of other classes: what it does not hold
starts fresh and is named in the log. What the net does not know is an error. A checkpoint of other software is
unwrapped (state_dicts.py).

Weights also imply how images are resized, cropped and normalized, and some arguments of the constructor (GoogLeNet
and Inception transform their input). A file is taken to be of the architecture's DEFAULT weights; `transforms` names
others:

    expected_input("efficientnet_v2_l", "DEFAULT").mean                 # (0.5, 0.5, 0.5)
    torchvision_model("googlenet", "mine.pth", transforms="none")       # no transform_input
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

from zfnet.errors import InputError
from zfnet.models.state_dicts import find_state_dict, strip_prefixes

log = logging.getLogger(__name__)

TARGET = "zfnet.models.torchvision_model"  # in a model config

# Heads beside the trunk that only help to train from scratch; forward returns plain logits without them.
AUXILIARY_HEADS = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}


NONE = "none"  # no weights' transforms


@dataclass(frozen=True)
class ExpectedInput:
    """How weights expect images: the shortest side resized to `size` pixels, the centre `crop`, (x - mean) / std."""

    size: int
    crop: int
    interpolation: str  # bilinear or bicubic
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # ImageNet's, of x in 0 ... 1
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __str__(self) -> str:
        numbers = ", ".join(f"{each:.4g}" for each in (*self.mean, *self.std))
        return f"{self.crop} of {self.size} pixels, {self.interpolation}, mean and deviation {numbers}"


def torchvision_model(
    name: str, weights: str | None = None, num_classes: int = 1000, transforms: str | None = None
) -> nn.Module:
    """A torchvision classifier: torchvision's own function, without the auxiliary heads of GoogLeNet and Inception.

    Args:
        name: as torchvision's, "resnet18".
        weights: None, the name of torchvision's weights, or the path of a state dict.
        num_classes: of the logits; a head of another number stays fresh.
        transforms: the name of the weights whose inputs the net takes, or "none"; None: those of `weights`.

    Raises:
        InputError: for an unknown name, and for weights that cannot be had or do not fit.
    """
    _check_name(name)
    expected = _weights(name, weights, transforms) if weights or transforms else None
    implied = _implied(name, expected) if expected is not None else {}
    fresh = {"init_weights": True} if name in AUXILIARY_HEADS else {}
    net = models.get_model(name, weights=None, num_classes=num_classes, **fresh, **implied)
    if weights is not None:
        load_weights(net, _state_dict(name, weights), num_classes, source=weights)
    for head in AUXILIARY_HEADS.get(name, ()):
        net.aux_logits = False
        setattr(net, head, None)
    return net


def expected_input(name: str, weights: str | None = None, transforms: str | None = None) -> ExpectedInput:
    """How a torchvision net's images are prepared: as its weights say, of random ones as DEFAULT does.

    Arguments and errors as of `torchvision_model`.
    """
    expected = _weights(name, weights, None if transforms == NONE else transforms)
    assert expected is not None
    how = expected.transforms()
    (size,), (crop,) = how.resize_size, how.crop_size
    return ExpectedInput(size, crop, how.interpolation.value, tuple(how.mean), tuple(how.std))


def input_of(model: Mapping[str, Any]) -> ExpectedInput | None:
    """How the images of a model config are prepared by its weights; None where pixels= says it, or nothing does."""
    if model.get("_target_") != TARGET or model["pixels"] != "torchvision":
        return None
    return expected_input(model["name"], model.get("weights"), model.get("transforms"))


def with_transforms(model: Mapping[str, Any]) -> dict[str, Any]:
    """A model config that says whose inputs its net takes, where one rebuilt without its weights would forget it."""
    name, weights = model.get("name"), model.get("weights")
    if model.get("_target_") == TARGET and weights and not model.get("transforms"):
        expected = _weights(name, weights, None)  # type: ignore[arg-type]
        if _implied(name, expected):  # type: ignore[arg-type]
            return {**model, "transforms": expected.name}
    return dict(model)


def class_names(name: str) -> list[str]:
    """The classes of a torchvision classifier's ImageNet weights, in order."""
    return list(models.get_model_weights(name).DEFAULT.meta["categories"])


def _check_name(name: str) -> None:
    if name not in models.list_models(module=models):
        raise InputError(
            f"model.name={name!r} is no torchvision classifier; some that are: "
            "alexnet, vgg16, squeezenet1_1, resnet18, googlenet"
        )


def _is_file(weights: str) -> bool:
    """The names of torchvision's weights (DEFAULT, IMAGENET1K_V1) have no suffix."""
    path = Path(weights).expanduser()
    return bool(path.suffix) or path.is_file()


def _weights(name: str, weights: str | None, transforms: str | None) -> Any:
    """The member of torchvision's enum of weights whose inputs a net takes; None where `transforms` is "none"."""
    _check_name(name)
    if transforms == NONE:
        return None
    known = models.get_model_weights(name)
    if transforms is not None and transforms not in known.__members__:
        names = ", ".join(known.__members__)
        raise InputError(f"model.transforms={transforms!r} is none of {name}'s weights: {names}, none")
    named = weights is not None and not _is_file(weights)
    if named and weights not in known.__members__:
        raise InputError(f"model.weights={weights!r}: neither a file nor weights of {name}")
    return known[transforms or (weights if named else None) or "DEFAULT"]


def _implied(name: str, expected: Any) -> dict[str, Any]:
    """The arguments of the constructor that torchvision derives from weights, where they are not its defaults."""
    if name in AUXILIARY_HEADS:
        return {"transform_input": True}
    side = expected.meta["min_size"][0]
    return {"image_size": side} if name.startswith("vit_") and side != 224 else {}


def _state_dict(name: str, weights: str) -> dict[str, torch.Tensor]:
    if _is_file(weights):
        return read_state_dict(Path(weights).expanduser())
    try:
        return models.get_model_weights(name)[weights].get_state_dict(progress=True, check_hash=True)
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
