"""Rebuilds a classifier from a checkpoint.

    classifier = zfnet.load("outputs/train/demo/checkpoints/last.ckpt")
    classifier.net, classifier.prepare, classifier.classes
    zfnet.load("theirs.ckpt", trust=["mypackage.MyNet"])    # a network that is not part of zfnet

In addition to Lightning's entries, a checkpoint contains its model config: {"model": the config of
model=, "classes": names, "image_size", "store_size", "data": the config of the data set
(data_config.py)}. `build` makes a classifier from it, also for training. Loading a checkpoint does
not execute code from it. A checkpoint may name the networks of ARCHITECTURES. It may name other
classes or functions only if the user trusts them by name.
"""

import inspect
import pydoc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor, nn

from zfnet.errors import InputError, one_line
from zfnet.fingerprint import check_fingerprint
from zfnet.models import convnet, timm_model, torchvision_model
from zfnet.models.pretrained import input_of
from zfnet.models.weights import load_plain, load_weights
from zfnet.training.classifier import Classifier
from zfnet.versions import modern_config

ModelConfig = dict[str, Any]
ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "zfnet.models.convnet": convnet,
    "zfnet.models.timm_model": timm_model,
    "zfnet.models.torchvision_model": torchvision_model,
}
NOT_ARGUMENTS = ("_target_", "input_norm")  # keys of a model config that are not passed on


class _Model(BaseModel, extra="allow", strict=True):
    target: str = Field(alias="_target_")


class _ModelConfig(BaseModel, extra="allow", strict=True):
    """The keys that every model config has."""

    model: _Model
    classes: list[str] = Field(min_length=1)
    image_size: int = Field(ge=1)
    store_size: int = Field(ge=1)


class _Checkpoint(BaseModel, extra="allow", strict=True, arbitrary_types_allowed=True):
    config: _ModelConfig = Field(alias="model_config")
    state_dict: dict[str, Tensor]


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


def input_norm_of(model: dict[str, Any]) -> str:
    """Returns the `input_norm` of a model config; "unit" by default."""
    return model.get("input_norm") or "unit"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint as plain containers, with current names.

    Args:
        path: the checkpoint.

    Raises:
        InputError: if the file is missing, is damaged, or is not a checkpoint of train.py.
    """
    checkpoint = load_plain(path)
    if isinstance(checkpoint, dict) and "card" in checkpoint:  # version 0.1
        checkpoint["model_config"] = checkpoint.pop("card")
    if not isinstance(checkpoint, dict) or "model_config" not in checkpoint:
        raise InputError(f"{path}: not a checkpoint of train.py (it has no model_config)")
    try:
        _Checkpoint.model_validate(checkpoint)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}: is damaged ({place}: {first['msg']}); give another checkpoint of the run"
        ) from error
    for key in ("model_config", "fingerprint"):
        if isinstance(checkpoint.get(key), dict):
            checkpoint[key] = modern_config(checkpoint[key])
    return checkpoint


def check_model_config(config: ModelConfig, path: Path, expected: ModelConfig) -> None:
    """Checks that a checkpoint has the same network and classes as this run.

    The config of the data set is ignored, because its directory may have moved.

    Args:
        config: the model config of the checkpoint.
        path: the checkpoint, for error messages.
        expected: the model config of this run.

    Raises:
        InputError: if they differ.
    """
    old, new = (
        {key: value for key, value in each.items() if key != "data"} for each in (config, expected)
    )
    check_fingerprint(path, old, new, "give the same settings, or another name= for a new run")


def check_image_size(seen: int, path: str | Path, image_size: int) -> None:
    """Checks that the image size is that of the network of a checkpoint.

    Args:
        seen: the image size of the network, in pixels.
        path: the checkpoint, for error messages.
        image_size: the requested image size, in pixels.

    Raises:
        InputError: if they differ.
    """
    if seen != image_size:
        raise InputError(f"data.image_size={image_size}: the net of {path} sees {seen} pixels")


def fresh_model(model: dict[str, Any]) -> dict[str, Any]:
    """Returns the config of a model with random weights."""
    return {**model, "weights": None} if "weights" in model else model


def load(path: str | Path, trust: str | Sequence[str] | None = None) -> Classifier:
    """Loads a trained classifier from a checkpoint, in eval mode and on the CPU.

    Args:
        path: a checkpoint of train.py.
        trust: names of classes or functions, such as "mypackage.MyNet", that the checkpoint may
            name in addition to the networks of zfnet.

    Returns:
        The classifier.

    Raises:
        InputError: if the file is missing, its network is not trusted, or its weights do not fit
            its model config.
    """
    checkpoint = read_checkpoint(Path(path))
    config, state = checkpoint["model_config"], checkpoint["state_dict"]
    config = {**config, "model": fresh_model(config["model"])}
    check_target(config["model"], path, listed(trust))
    # Errors of a trusted class are not rewritten, because its author needs the traceback.
    own = config["model"]["_target_"] not in ARCHITECTURES
    classifier = build(config) if own else _build_checked(config, state, path)
    try:
        classifier.load_state_dict(state)
    except RuntimeError as error:
        raise _do_not_fit(path, str(error).splitlines()[0]) from error
    classifier.has_learned = True
    return classifier.eval()


def load_net_weights(classifier: Classifier, path: str | Path) -> None:
    """Copies the weights of a checkpoint into a classifier with the same network.

    A head with a different number of classes is not copied.

    Args:
        classifier: the classifier to change.
        path: the checkpoint.

    Raises:
        InputError: as `read_checkpoint`, or if the weights do not fit.
    """
    state = read_checkpoint(Path(path))["state_dict"]
    net = {
        name.removeprefix("net."): value for name, value in state.items() if name.startswith("net.")
    }
    load_weights(classifier.net, net, len(classifier.classes), source=str(path))


def _build_checked(config: ModelConfig, state: dict[str, Tensor], path: str | Path) -> Classifier:
    """Calls `build` for a network of ARCHITECTURES, and reports any error in one line.

    Sizes in the config are compared with the weights before memory is allocated for them.
    """
    try:
        expected = {"prepare.mean": (3, config["store_size"], config["store_size"])}
        # Only the sizes of `convnet` can be chosen.
        if ARCHITECTURES[config["model"]["_target_"]] is convnet:
            with torch.device("meta"):
                net = build_net(config["model"], len(config["classes"]), config["image_size"])
            expected |= {
                f"net.{name}": tuple(each.shape) for name, each in net.state_dict().items()
            }
        for name, shape in expected.items():
            if name not in state or tuple(state[name].shape) != shape:
                found = tuple(state[name].shape) if name in state else "missing"
                raise _do_not_fit(path, f"{name} is {found}, and its model_config says {shape}")
        return build(config)
    except InputError as error:
        raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except Exception as error:  # arguments of a wrong type fail anywhere inside a network
        reason = f"{type(error).__name__}: {one_line(error)[:200]}"
        raise InputError(
            f"{path}: the net of its model_config cannot be built ({reason})"
        ) from error


def _do_not_fit(path: str | Path, reason: str) -> InputError:
    return InputError(f"{path}: its weights do not fit its own model_config ({reason})")
