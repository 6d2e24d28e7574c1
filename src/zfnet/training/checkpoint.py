"""From a checkpoint back to a net: everything needed stands in it, in plain containers.

    classifier = zfnet.load("outputs/train/demo/checkpoints/last.ckpt")
    classifier.net, classifier.prepare, classifier.classes

Beside Lightning's own entries a checkpoint holds a card: {"model": the model's config, "classes": names,
"image_size", "store_size"}. `build` makes a classifier from the same words, for training too.
"""

import inspect
import pydoc
from pathlib import Path
from typing import Any

from torch import nn

from zfnet.errors import InputError
from zfnet.fingerprint import check_fingerprint
from zfnet.models.pretrained import input_of, load_plain
from zfnet.training.classifier import Classifier

Card = dict[str, Any]


def build_net(model: dict[str, Any], num_classes: int, image_size: int) -> nn.Module:
    """The net that a model config names: `_target_` called with its other words.

    `image_size` is passed where the target takes it. A target is one of zfnet's functions or a Module class.
    """
    arguments = {key: value for key, value in model.items() if key not in ("_target_", "pixels")}
    target = pydoc.locate(model["_target_"])
    if not callable(target):
        raise InputError(f"model._target_={model['_target_']}: no such function or class")
    is_module = inspect.isclass(target) and issubclass(target, nn.Module)
    if not (is_module or model["_target_"].startswith("zfnet.")):
        raise InputError(f"model._target_={model['_target_']} is neither a torch Module nor one of zfnet's")
    if "image_size" in inspect.signature(target).parameters:
        arguments["image_size"] = image_size
    try:
        inspect.signature(target).bind(num_classes=num_classes, **arguments)
    except TypeError as error:
        raise InputError(f"model: {model['_target_']} {error}") from error
    return target(num_classes=num_classes, **arguments)


def build(card: Card, **recipe: Any) -> Classifier:
    """A fresh classifier from a card, learning by `recipe` (Classifier's arguments)."""
    net = build_net(card["model"], len(card["classes"]), card["image_size"])
    pixels = card["model"]["pixels"]
    expected = input_of(card["model"])
    channels = (expected.mean, expected.std) if expected else None
    sizes = card["store_size"], card["image_size"]
    return Classifier(net, *sizes, card["classes"], pixels, card, channels=channels, **recipe)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's plain containers; InputError when there is none or it is not one of ours."""
    checkpoint = load_plain(path)
    if not isinstance(checkpoint, dict) or "card" not in checkpoint:
        raise InputError(f"{path}: not a checkpoint of train.py (it has no card of its model)")
    return checkpoint


def check_card(card: Card, path: Path, expected: Card) -> None:
    """InputError when the checkpoint at `path`, which holds `card`, is of another net or data set."""
    check_fingerprint(path, card, expected, "give the same settings, or another name= for a new run")


def check_image_size(seen: int, path: str | Path, image_size: int) -> None:
    """InputError when the net of the checkpoint at `path`, which has `seen` pixels, is to have others."""
    if seen != image_size:
        raise InputError(f"data.image_size={image_size}: the net of {path} sees {seen} pixels")


def fresh_model(model: dict[str, Any]) -> dict[str, Any]:
    """A model's words, for random weights."""
    return {**model, "weights": None} if "weights" in model else model


def load(path: str | Path) -> Classifier:
    """The trained classifier of a checkpoint, in eval mode, on the CPU."""
    checkpoint = read_checkpoint(Path(path))
    card = checkpoint["card"]
    classifier = build({**card, "model": fresh_model(card["model"])})
    try:
        classifier.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise InputError(
            f"{path}: its weights do not fit its own card ({str(error).splitlines()[0]})"
        ) from error
    return classifier.eval()
