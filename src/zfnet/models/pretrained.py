"""Networks of torchvision and timm, with random, downloaded or local weights.

    torchvision_model("alexnet", weights="DEFAULT")                  # downloads weights
    torchvision_model("alexnet", weights="alexnet_features.pth")     # a local file
    torchvision_model("resnet18", num_classes=12)                    # random weights, 12 classes
    torchvision_model("fcn_resnet50")                                # segmentation, or detection
    timm_model("convnext_tiny", weights="convnext_tiny.safetensors")

Weights also define how images are resized, cropped and normalized. For some models they define
arguments of the constructor: GoogLeNet and Inception transform their input. A local file is assumed
to match the DEFAULT weights of the model; `transforms` selects others:

    expected_input("efficientnet_v2_l", "DEFAULT").mean              # (0.5, 0.5, 0.5)
    torchvision_model("googlenet", "mine.pth", transforms="none")    # no transform_input
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

from zfnet.errors import InputError, one_line
from zfnet.models.weights import ExpectedInput, is_file, load_weights, read_state_dict
from zfnet.sizes import as_size
from zfnet.validation import Channels, Side

# Values of `_target_` in a model config.
TORCHVISION, TIMM = "zfnet.models.torchvision_model", "zfnet.models.timm_model"

# Auxiliary heads, which are only used in training from scratch. Without them, forward returns only
# the logits.
AUXILIARY_HEADS = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}
DETECTION_SIDE = 320  # of the images of detectors, which resize them again
NONE = "none"  # for `transforms`: does not use the transforms of any weights


def torchvision_model(
    name: str,
    weights: str | None = None,
    num_classes: int | None = None,
    transforms: str | None = None,
) -> nn.Module:
    """Builds a network of torchvision for classification, segmentation or detection.

    Classifiers are built without auxiliary heads.

    Args:
        name: the name in torchvision, such as "resnet18".
        weights: None for random weights, the name of torchvision's weights, or the path of a state
            dict.
        num_classes: the number of classes; None for that of torchvision's weights. A head with a
            different number keeps random weights.
        transforms: the name of the weights whose preprocessing the network expects, or "none". None
            means that of `weights`.

    Returns:
        The network. A classifier maps images (B, 3, H, W) to logits (B, num_classes).

    Raises:
        InputError: if the name is unknown, or the weights are not available or do not fit.
    """
    _check_name(name)
    expected = _weights(name, weights, transforms) if weights or transforms else None
    implied = _implied(name, expected) if expected is not None else {}
    fresh: dict[str, Any] = {"init_weights": True} if name in AUXILIARY_HEADS else {}
    state = None if weights is None else _state_dict(name, weights)
    if not _is_classifier(name):
        fresh = {"weights_backbone": None}
        if state is not None and any(key.startswith("aux_classifier.") for key in state):
            fresh["aux_loss"] = True
    count = num_classes or len(models.get_model_weights(name).DEFAULT.meta["categories"])
    net = models.get_model(name, weights=None, num_classes=count, **fresh, **implied)
    if state is not None:
        load_weights(net, state, count, source=str(weights))
    for head in AUXILIARY_HEADS.get(name, ()):
        net.aux_logits = False
        setattr(net, head, None)
    return net


def expected_input(
    name: str, weights: str | None = None, transforms: str | None = None
) -> ExpectedInput:
    """Returns the preprocessing that a torchvision model expects.

    It is that of its weights; for random weights, that of DEFAULT. Arguments and errors are those
    of `torchvision_model`.
    """
    expected = _weights(name, weights, None if transforms == NONE else transforms)
    assert expected is not None
    how = expected.transforms()
    if not hasattr(how, "mean"):  # a detector normalizes its input itself
        return ExpectedInput(DETECTION_SIDE, DETECTION_SIDE, "bilinear", (0.0,) * 3, (1.0,) * 3)
    (size,), (crop,) = how.resize_size, getattr(how, "crop_size", how.resize_size)
    return ExpectedInput(size, crop, how.interpolation.value, tuple(how.mean), tuple(how.std))


def timm_model(
    name: str,
    weights: str | None = None,
    num_classes: int = 1000,
    image_size: Side | Sequence[Side] | None = None,
    channels: Channels = 3,
) -> nn.Module:
    """Builds a classifier of timm.

    Args:
        name: the name in timm, such as "resnet18" or "resnet18.a1_in1k".
        weights: None for random weights, "DEFAULT" to download timm's weights, or the path of a
            state dict.
        num_classes: the number of classes. A head with a different number keeps random weights.
        image_size: of the images in pixels, for models with a fixed size: a side, or
            (height, width).
        channels: channels of the images. timm adapts weights to another number.

    Returns:
        The network. It maps images (B, channels, H, W) to logits (B, num_classes).

    Raises:
        InputError: if timm is not installed, the name is unknown, or the weights are not available
            or do not fit.
    """
    timm, given = _timm(name), _pretrained_cfg(name)
    own: dict[str, Any] = {} if channels == 3 else {"in_chans": channels}
    if image_size and given.get("fixed_input_size"):
        own["img_size"] = as_size(image_size)
    download = weights is not None and not is_file(weights)
    if download and weights != "DEFAULT":
        raise InputError(
            f"model.weights={weights!r}: neither a file nor DEFAULT; timm's weights are part of "
            "the name"
        )
    try:
        net = timm.create_model(name, pretrained=download, num_classes=num_classes, **own)
    except (OSError, RuntimeError, ValueError) as error:
        remedy = "the download failed; give a local path" if download else "timm cannot build it"
        raise InputError(f"model.name={name}: {remedy} ({one_line(error)[:200]})") from error
    if weights is not None and not download:
        load_weights(net, read_state_dict(Path(weights).expanduser()), num_classes, source=weights)
    return net


def _timm(name: str) -> Any:
    try:
        import timm
    except ImportError as error:
        raise InputError("model=timm needs timm: pip install timm") from error
    if not timm.is_model(name):
        raise InputError(
            f"model.name={name!r}: timm has no such classifier; timm.list_models() lists them"
        )
    return timm


def _pretrained_cfg(name: str) -> dict[str, Any]:
    """Returns timm's description of the weights of a model; {} if it has none."""
    found = _timm(name).models.get_pretrained_cfg(name)
    return found.to_dict() if found is not None else {}


def _timm_input(name: str) -> ExpectedInput:
    """Returns the preprocessing of a timm model: that of its weights, or the usual for ImageNet."""
    given = _pretrained_cfg(name)
    crop = given.get("input_size", (3, 224, 224))[-1]
    how = given.get("interpolation", "bicubic")
    channels = {key: tuple(given[key]) for key in ("mean", "std") if given.get(key)}
    size = math.floor(crop / given.get("crop_pct", 0.875))
    return ExpectedInput(
        size, crop, how if how in ("bilinear", "bicubic") else "bilinear", **channels
    )


def input_of(model: Mapping[str, Any]) -> ExpectedInput | None:
    """Returns the preprocessing that the weights of a model expect.

    Args:
        model: the `model` section of a model config.

    Returns:
        The preprocessing, or None if `input_norm` is not "pretrained".
    """
    if model.get("input_norm") != "pretrained":
        return None
    if model.get("_target_") == TIMM:
        return _timm_input(model["name"])
    if model.get("_target_") == TORCHVISION:
        return expected_input(model["name"], model.get("weights"), model.get("transforms"))
    return None


def with_transforms(model: Mapping[str, Any]) -> dict[str, Any]:
    """Adds `transforms` to a model config if its weights change arguments of the constructor.

    A network that is rebuilt without its weights then has the same arguments.

    Args:
        model: the `model` section of a model config.
    """
    name, weights = model.get("name"), model.get("weights")
    if model.get("_target_") == TORCHVISION and weights and not model.get("transforms"):
        expected = _weights(name, weights, None)  # type: ignore[arg-type]
        if _implied(name, expected):  # type: ignore[arg-type]
            return {**model, "transforms": expected.name}
    return dict(model)


def class_names(model: Mapping[str, Any]) -> list[str] | None:
    """Returns the names of the classes of a pretrained model, in order; None if they are unknown.

    Args:
        model: the `model` section of a model config.
    """
    if model.get("_target_") == TORCHVISION:
        _check_name(model["name"])
        return list(models.get_model_weights(model["name"]).DEFAULT.meta["categories"])
    if model.get("_target_") == TIMM:
        count = _pretrained_cfg(model["name"]).get("num_classes", 1000)
        imagenet = models.ResNet18_Weights.DEFAULT.meta["categories"]
        return list(imagenet) if count == len(imagenet) else [f"class {i}" for i in range(count)]
    return None


def _check_name(name: str) -> None:
    others = (models.segmentation, models.detection)
    if not _is_classifier(name) and not any(
        name in models.list_models(module=task) for task in others
    ):
        raise InputError(
            f"model.name={name!r} is no classifier of torchvision, and no network for segmentation "
            "or detection; some that are: alexnet, vgg16, squeezenet1_1, resnet18, googlenet, "
            "fcn_resnet50"
        )


def _is_classifier(name: str) -> bool:
    return name in models.list_models(module=models)


def _weights(name: str, weights: str | None, transforms: str | None) -> Any:
    """Returns torchvision's weights whose preprocessing a model expects; None for "none"."""
    _check_name(name)
    if transforms == NONE:
        return None
    known = models.get_model_weights(name)
    if transforms is not None and transforms not in known.__members__:
        names = ", ".join(known.__members__)
        raise InputError(
            f"model.transforms={transforms!r} is none of {name}'s weights: {names}, none"
        )
    named = weights is not None and not is_file(weights)
    if named and weights not in known.__members__:
        raise InputError(f"model.weights={weights!r}: neither a file nor weights of {name}")
    return known[transforms or (weights if named else None) or "DEFAULT"]


def _implied(name: str, expected: Any) -> dict[str, Any]:
    """Returns the non-default constructor arguments that torchvision derives from weights."""
    if name in AUXILIARY_HEADS:
        return {"transform_input": True}
    side = expected.meta["min_size"][0]
    return {"image_size": side} if name.startswith("vit_") and side != 224 else {}


def _state_dict(name: str, weights: str) -> dict[str, torch.Tensor]:
    if is_file(weights):
        return read_state_dict(Path(weights).expanduser())
    try:
        return models.get_model_weights(name)[weights].get_state_dict(
            progress=True, check_hash=True
        )
    except OSError as error:
        raise InputError(
            f"model.weights={weights}: the download failed ({error}); give a local path"
        ) from error
