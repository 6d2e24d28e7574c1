"""Rebuilds a classifier from a checkpoint.

    classifier = zfnet.load("outputs/train/demo/checkpoints/last.ckpt")
    classifier.net, classifier.prepare, classifier.classes
    zfnet.load("theirs.ckpt", trust=["mypackage.MyNet"])    # a network that is not part of zfnet

In addition to Lightning's entries, a checkpoint contains its model config: {"model": the config of
model=, "classes": names, "image_size", "store_size", "channels" unless there are three, "data": the
config of the data set (data_config.py)}. Sizes are a side or [height, width]. Loading a checkpoint
does not execute code from it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor

from zfnet.errors import InputError, one_line
from zfnet.fingerprint import check_fingerprint
from zfnet.models import convnet
from zfnet.models.weights import load_plain, load_weights
from zfnet.sizes import as_size, show_size, sides
from zfnet.training.classifier import Classifier
from zfnet.training.networks import (
    ARCHITECTURES,
    ModelConfig,
    build,
    build_net,
    channels_of,
    check_target,
    fresh_model,
    listed,
)
from zfnet.versions.config_names import modern_config

_Side = Annotated[int, Field(ge=1)]
_Pair = Annotated[list[_Side], Field(min_length=2, max_length=2)]


class _Model(BaseModel, extra="allow", strict=True):
    target: str = Field(alias="_target_")


class _ModelConfig(BaseModel, extra="allow", strict=True):
    """The keys that every model config has."""

    model: _Model
    classes: list[str] = Field(min_length=1)
    image_size: _Side | _Pair
    store_size: _Side | _Pair
    channels: _Side = 3


class _Checkpoint(BaseModel, extra="allow", strict=True, arbitrary_types_allowed=True):
    config: _ModelConfig = Field(alias="model_config")
    state_dict: dict[str, Tensor]


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


def check_image_size(
    seen: int | Sequence[int], path: str | Path, image_size: int | Sequence[int]
) -> None:
    """Checks that the image size is that of the network of a checkpoint.

    Args:
        seen: the image size of the network, in pixels: a side, or (height, width).
        path: the checkpoint, for error messages.
        image_size: the requested image size.

    Raises:
        InputError: if they differ.
    """
    if as_size(seen) != as_size(image_size):
        raise InputError(
            f"data.image_size={show_size(image_size)}: the net of {path} sees {show_size(seen)} "
            "pixels"
        )


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
        channels = channels_of(config)
        expected: dict[str, tuple[int, ...]] = {
            "prepare.mean": (channels, *sides(config["store_size"]))
        }
        # Only the sizes of `convnet` can be chosen.
        if ARCHITECTURES[config["model"]["_target_"]] is convnet:
            with torch.device("meta"):
                net = build_net(
                    config["model"], len(config["classes"]), config["image_size"], channels
                )
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
