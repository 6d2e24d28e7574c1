"""Networks from configs: those of zfnet, torchvision and timm, or any class or function.

    build_net({"_target_": "timm.create_model", "model_name": "resnet18"}, 10, 224)    # a Module
    pretrained_network(model, image_size=224, store_size=256, seed=0)    # with its preprocessing
    build(model_config)                                                  # a Classifier

A config from a file is not trusted. It may name the networks of ARCHITECTURES. It may name other
classes or functions only if the user trusts them by name.
"""

import inspect
import pydoc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zfnet.data.preprocessing import Preprocessing
from zfnet.errors import InputError, one_line
from zfnet.models import convnet, timm_model, torchvision_model
from zfnet.models.outputs import count_outputs
from zfnet.models.pretrained import class_names, input_of
from zfnet.training.classifier import Classifier

ModelConfig = dict[str, Any]
ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "zfnet.models.convnet": convnet,
    "zfnet.models.timm_model": timm_model,
    "zfnet.models.torchvision_model": torchvision_model,
}
NOT_ARGUMENTS = ("_target_", "input_norm")  # keys of a model config that are not passed on


def build_net(model: dict[str, Any], num_classes: int | None, image_size: int) -> nn.Module:
    """Calls the class or function that `_target_` names, with the other keys of the config.

    The config must come from the user or have passed `check_target`.

    Args:
        model: the `model` section of a model config.
        num_classes: the number of classes, passed if the target accepts it. None keeps the default
            of the target.
        image_size: the side of the images in pixels, passed if the target accepts it as
            `image_size` or `img_size`.

    Returns:
        The network.

    Raises:
        InputError: if the target rejects the arguments or does not return a module.
    """
    name = model["_target_"]
    arguments = {key: value for key, value in model.items() if key not in NOT_ARGUMENTS}
    target = ARCHITECTURES.get(name) or _located(name)
    signature = inspect.signature(target)
    further = any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())
    for key, value in (
        ("num_classes", num_classes),
        ("image_size", image_size),
        ("img_size", image_size),
    ):
        if value is not None and (
            key in signature.parameters or (key == "num_classes" and further)
        ):
            arguments.setdefault(key, value)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise InputError(f"model: {name} {error}") from error
    try:
        net = target(**arguments)
    except RuntimeError as error:
        if "allocate" not in str(error):
            raise
        raise InputError(
            f"model: the net does not fit into memory ({one_line(error)[:200]})"
        ) from error
    if not isinstance(net, nn.Module):
        raise InputError(f"model._target_={name} gives {type(net).__name__}, not a torch Module")
    return net


def _located(name: str) -> Callable[..., Any]:
    """Imports the class or function of a dotted name. Rejects those of the standard library."""
    try:
        found = pydoc.locate(name)
    except pydoc.ErrorDuringImport as error:
        raise InputError(
            f"model._target_={name}: cannot be imported ({one_line(error)})"
        ) from error
    package = str(getattr(found, "__module__", None)).partition(".")[0]
    builtin = inspect.isbuiltin(found) or package in sys.stdlib_module_names
    if not callable(found) or builtin:
        raise InputError(
            f"model._target_={name}: there is no class or function of this name that makes a net"
        )
    return found


def listed(names: str | Sequence[str] | None) -> list[str]:
    """Returns the names given as `trust=A`, `trust=[A,B]` or `trust=null`."""
    if isinstance(names, Sequence) and not isinstance(names, str):
        return list(names)
    return [] if names is None else [str(names)]


def check_target(model: dict[str, Any], path: str | Path, trust: Sequence[str]) -> None:
    """Checks that a model config from a file may be built.

    Args:
        model: the `model` section of the model config.
        path: the checkpoint, for error messages.
        trust: names of classes and functions that the user trusts, in addition to ARCHITECTURES.

    Raises:
        InputError: if the target is not trusted, or the config names a second one.
    """
    name = model["_target_"]
    if name not in ARCHITECTURES and name not in trust:
        raise InputError(
            f"{path}: its net is {name}, which is not part of zfnet; give trust=[{name}] if you "
            "trust its code"
        )
    if _names_targets({key: value for key, value in model.items() if key != "_target_"}):
        raise InputError(f"{path}: its model config has a second _target_, which is never built")


def _names_targets(value: Any) -> bool:
    if isinstance(value, dict):
        return "_target_" in value or any(map(_names_targets, value.values()))
    return isinstance(value, list | tuple) and any(map(_names_targets, value))


def fresh_model(model: dict[str, Any]) -> dict[str, Any]:
    """Returns the config of a model with random weights."""
    return {**model, "weights": None} if "weights" in model else model


def build(config: ModelConfig, **learning: Any) -> Classifier:
    """Builds a new classifier from a model config.

    Args:
        config: the model config.
        learning: other arguments of Classifier: optimizer, scheduler, seed, channels_last.

    Returns:
        The classifier.
    """
    model = config["model"]
    net = build_net(model, len(config["classes"]), config["image_size"])
    expected = input_of(model)
    channels = (expected.mean, expected.std) if expected else None
    sizes = config["store_size"], config["image_size"]
    return Classifier(
        net, *sizes, config["classes"], input_norm_of(model), config, channels=channels, **learning
    )


def pretrained_network(
    model: dict[str, Any], image_size: int, store_size: int, seed: int
) -> tuple[nn.Module, Preprocessing, list[str]]:
    """Builds a network that is not from a checkpoint of train.py, in eval mode.

    Args:
        model: the `model` section of a model config.
        image_size: the side of the images that the network is given, in pixels.
        store_size: the side of the stored images, in pixels.
        seed: of the parameters that the weights do not contain.

    Returns:
        The network, its preprocessing, and the names of its outputs.

    Raises:
        InputError: as `build_net`.
    """
    torch.manual_seed(seed)
    known = class_names(model)
    net = build_net(model, len(known) if known else None, image_size).eval()
    classes = known or [f"class {i}" for i in range(count_outputs(net, image_size))]
    expected = input_of(model)
    channels = (expected.mean, expected.std) if expected else ()
    return net, Preprocessing(store_size, image_size, input_norm_of(model), *channels), classes


def input_norm_of(model: dict[str, Any]) -> str:
    """Returns the `input_norm` of a model config; "unit" by default."""
    return model.get("input_norm") or "unit"
