"""Networks from configs: those of zfnet, torchvision and timm, or any class or function.

    build_net({"_target_": "timm.create_model", "model_name": "resnet18"}, 10, 224)    # a Module
    build_net({"_target_": "zfnet.models.convnet", "architecture": "zfnet"}, 10, (224, 320), 4)
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
from zfnet.sizes import as_size, sides
from zfnet.training.classifier import Classifier

ModelConfig = dict[str, Any]
ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "zfnet.models.convnet": convnet,
    "zfnet.models.timm_model": timm_model,
    "zfnet.models.torchvision_model": torchvision_model,
}
CHANNEL_KEYS = ("in_channels", "in_chans", "channels")  # arguments for the number of channels
NOT_ARGUMENTS = ("_target_", "input_norm")  # keys of a model config that are not passed on


def build_net(
    model: dict[str, Any],
    num_classes: int | None,
    image_size: int | Sequence[int],
    channels: int = 3,
) -> nn.Module:
    """Calls the class or function that `_target_` names, with the other keys of the config.

    The config must come from the user or have passed `check_target`.

    Args:
        model: the `model` section of a model config.
        num_classes: the number of classes, passed if the target accepts it. None keeps the default
            of the target.
        image_size: of the images in pixels, a side or (height, width), passed if the target accepts
            it as `image_size` or `img_size`.
        channels: of the images; other numbers than 3 are passed as `in_channels`, `in_chans` or
            `channels`, the first of them that the target accepts.

    Returns:
        The network.

    Raises:
        InputError: if the target rejects the arguments, does not return a module, or takes another
            number of channels.
    """
    name = model["_target_"]
    arguments = {key: value for key, value in model.items() if key not in NOT_ARGUMENTS}
    target = ARCHITECTURES.get(name) or locate("model._target_", name, "a net")
    signature = inspect.signature(target)
    further = any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())
    size = as_size(image_size)
    for key, value in (
        ("num_classes", num_classes),
        ("image_size", size),
        ("img_size", size),
    ):
        if value is not None and (
            key in signature.parameters or (key == "num_classes" and further)
        ):
            arguments.setdefault(key, value)
    if channels != 3:
        if target is torchvision_model:
            raise InputError(
                f"torchvision's networks take 3 channels, data has {channels}: use model=timm "
                "model.name=..., which takes any number"
            )
        taken = [key for key in CHANNEL_KEYS if key in signature.parameters]
        for key in taken[:1]:
            arguments.setdefault(key, channels)
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


def channels_of(config: ModelConfig) -> int:
    """Returns the number of channels of the images, from a model config."""
    return config.get("channels", 3)


def check_channels(taken: int, channels: int) -> None:
    """Checks that images have as many channels as a network takes.

    Args:
        taken: the channels of the network.
        channels: the channels of the data.

    Raises:
        InputError: if they differ.
    """
    if taken != channels:
        raise InputError(
            f"the net takes {taken} channels, data has {channels}: data.channels={taken}"
        )


def locate(key: str, name: str, makes: str) -> Callable[..., Any]:
    """Imports the class or function of a dotted name.

    Args:
        key: that names it, for error messages.
        name: the dotted name.
        makes: what it makes, for error messages.

    Raises:
        InputError: if there is none, or it is of the standard library.
    """
    try:
        found = pydoc.locate(name)
    except pydoc.ErrorDuringImport as error:
        raise InputError(f"{key}={name}: cannot be imported ({one_line(error)})") from error
    package = str(getattr(found, "__module__", None)).partition(".")[0]
    builtin = inspect.isbuiltin(found) or package in sys.stdlib_module_names
    if not callable(found) or builtin:
        raise InputError(
            f"{key}={name}: there is no class or function of this name that makes {makes}"
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
    count = channels_of(config)
    net = build_net(model, len(config["classes"]), config["image_size"], count)
    expected = input_of(model)
    channels = (expected.mean, expected.std) if expected else None
    sizes = as_size(config["store_size"]), as_size(config["image_size"])
    return Classifier(
        *(net, *sizes, config["classes"], input_norm_of(model), config),
        **learning,
        channels=channels,
        image_channels=count,
    )


def pretrained_network(
    model: dict[str, Any],
    image_size: int | Sequence[int],
    store_size: int | Sequence[int],
    seed: int,
    channels: int = 3,
) -> tuple[nn.Module, Preprocessing, list[str]]:
    """Builds a network that is not from a checkpoint of train.py, in eval mode.

    Args:
        model: the `model` section of a model config.
        image_size: of the images that the network is given, in pixels: a side, or (height, width).
        store_size: of the stored images.
        seed: of the parameters that the weights do not contain.
        channels: of the images.

    Returns:
        The network, its preprocessing, and the names of its outputs.

    Raises:
        InputError: as `build_net`.
    """
    torch.manual_seed(seed)
    known = class_names(model)
    net = build_net(model, len(known) if known else None, image_size, channels).eval()
    image = torch.zeros(1, channels, *sides(image_size))
    classes = known or [f"class {i}" for i in range(count_outputs(net, image))]
    expected = input_of(model)
    prepare = Preprocessing(
        as_size(store_size),
        as_size(image_size),
        input_norm_of(model),
        channels=channels,
        **({"channel_mean": expected.mean, "channel_std": expected.std} if expected else {}),
    )
    return net, prepare, classes


def input_norm_of(model: dict[str, Any]) -> str:
    """Returns the `input_norm` of a model config; "unit" by default."""
    return model.get("input_norm") or "unit"
