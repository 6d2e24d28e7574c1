"""From a checkpoint back to a net: everything needed stands in it, in plain containers.

    classifier = zfnet.load("outputs/train/demo/checkpoints/last.ckpt")
    classifier.net, classifier.prepare, classifier.classes
    zfnet.load("theirs.ckpt", trust=["mypackage.MyNet"])    # a net of one's own code

Beside Lightning's own entries a checkpoint holds a card: {"model": the model's config, "classes": names,
"image_size", "store_size", "data": the data set's config (data_config.py)}. `build` makes a classifier from the
same words, for training too. A checkpoint runs no code: it may name the nets of ARCHITECTURES, and other classes
only where the user trusts them by name.
"""

import inspect
import pydoc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor, nn

from zfnet.errors import InputError, one_line
from zfnet.fingerprint import check_fingerprint
from zfnet.models import convnet, torchvision_model
from zfnet.models.pretrained import input_of, load_plain
from zfnet.training.classifier import Classifier
from zfnet.versions import translate

Card = dict[str, Any]
ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "zfnet.models.convnet": convnet,
    "zfnet.models.torchvision_model": torchvision_model,
}


class _Model(BaseModel, extra="allow", strict=True):
    target: str = Field(alias="_target_")
    pixels: str


class _Card(BaseModel, extra="allow", strict=True):
    """What every card has."""

    model: _Model
    classes: list[str] = Field(min_length=1)
    image_size: int = Field(ge=1)
    store_size: int = Field(ge=1)


class _Checkpoint(BaseModel, extra="allow", strict=True, arbitrary_types_allowed=True):
    card: _Card
    state_dict: dict[str, Tensor]


def build_net(model: dict[str, Any], num_classes: int, image_size: int) -> nn.Module:
    """The net that a model config names: `_target_` called with its other words.

    The config is the user's own, or `check_target` has looked at it. `image_size` is passed where the target
    takes it.

    Raises:
        InputError: the target is neither one of ARCHITECTURES nor a Module class, or does not take these words.
    """
    arguments = {key: value for key, value in model.items() if key not in ("_target_", "pixels")}
    target = ARCHITECTURES.get(model["_target_"]) or _module_class(model["_target_"])
    if "image_size" in inspect.signature(target).parameters:
        arguments["image_size"] = image_size
    try:
        inspect.signature(target).bind(num_classes=num_classes, **arguments)
    except TypeError as error:
        raise InputError(f"model: {model['_target_']} {error}") from error
    try:
        return target(num_classes=num_classes, **arguments)
    except RuntimeError as error:
        if "allocate" not in str(error):
            raise
        raise InputError(f"model: the net does not fit into memory ({one_line(error)[:200]})") from error


def _module_class(name: str) -> type[nn.Module]:
    try:
        found = pydoc.locate(name)
    except pydoc.ErrorDuringImport as error:
        raise InputError(f"model._target_={name}: cannot be imported ({one_line(error)})") from error
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        known = ", ".join(ARCHITECTURES)
        raise InputError(f"model._target_={name} is neither a torch Module class nor one of {known}")
    return found


def listed(names: str | Sequence[str] | None) -> list[str]:
    """The names of `trust=A`, trust=[A,B] or trust=null."""
    if isinstance(names, Sequence) and not isinstance(names, str):
        return list(names)
    return [] if names is None else [str(names)]


def check_target(model: dict[str, Any], path: str | Path, trust: Sequence[str]) -> None:
    """InputError unless the model config of the checkpoint at `path` may be built.

    Args:
        model: the config.
        path: for messages.
        trust: names of Module classes beside ARCHITECTURES that the user trusts.
    """
    name = model["_target_"]
    if name not in ARCHITECTURES and name not in trust:
        raise InputError(
            f"{path}: its net is {name}, which is not part of zfnet; give trust=[{name}] if you trust its code"
        )
    if _names_targets({key: value for key, value in model.items() if key != "_target_"}):
        raise InputError(f"{path}: its model config has a second _target_, which is never built")


def _names_targets(value: Any) -> bool:
    if isinstance(value, dict):
        return "_target_" in value or any(map(_names_targets, value.values()))
    return isinstance(value, list | tuple) and any(map(_names_targets, value))


def build(card: Card, **recipe: Any) -> Classifier:
    """A fresh classifier from a card, learning by `recipe` (Classifier's arguments)."""
    net = build_net(card["model"], len(card["classes"]), card["image_size"])
    pixels = card["model"]["pixels"]
    expected = input_of(card["model"])
    channels = (expected.mean, expected.std) if expected else None
    sizes = card["store_size"], card["image_size"]
    return Classifier(net, *sizes, card["classes"], pixels, card, channels=channels, **recipe)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's plain containers; InputError when there is none, or it is not one of ours or damaged."""
    checkpoint = load_plain(path)
    if not isinstance(checkpoint, dict) or "card" not in checkpoint:
        raise InputError(f"{path}: not a checkpoint of train.py (it has no card of its model)")
    try:
        _Checkpoint.model_validate(checkpoint)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}: is damaged ({place}: {first['msg']}); give another checkpoint of the run"
        ) from error
    written = {key: translate(checkpoint[key]) for key in ("card", "fingerprint") if key in checkpoint}
    return checkpoint | written


def check_card(card: Card, path: Path, expected: Card) -> None:
    """InputError when the checkpoint at `path`, which holds `card`, is of another net or has other classes.

    The data set's config is left out: its folder may have moved.
    """
    old, new = ({key: value for key, value in each.items() if key != "data"} for each in (card, expected))
    check_fingerprint(path, old, new, "give the same settings, or another name= for a new run")


def check_image_size(seen: int, path: str | Path, image_size: int) -> None:
    """InputError when the net of the checkpoint at `path`, which has `seen` pixels, is to have others."""
    if seen != image_size:
        raise InputError(f"data.image_size={image_size}: the net of {path} sees {seen} pixels")


def fresh_model(model: dict[str, Any]) -> dict[str, Any]:
    """A model's words, for random weights."""
    return {**model, "weights": None} if "weights" in model else model


def load(path: str | Path, trust: str | Sequence[str] | None = None) -> Classifier:
    """The trained classifier of a checkpoint, in eval mode, on the CPU.

    Args:
        path: a checkpoint that train.py wrote.
        trust: names of Module classes, "mypackage.MyNet", that the checkpoint may name beside zfnet's own nets.

    Raises:
        InputError: there is no such checkpoint, its net is not trusted, or its weights do not fit its card.
    """
    checkpoint = read_checkpoint(Path(path))
    card, state = checkpoint["card"], checkpoint["state_dict"]
    card = {**card, "model": fresh_model(card["model"])}
    check_target(card["model"], path, listed(trust))
    # A class of the user's own raises what it likes: its traceback helps its author.
    own = card["model"]["_target_"] not in ARCHITECTURES
    classifier = build(card) if own else _build_checked(card, state, path)
    try:
        classifier.load_state_dict(state)
    except RuntimeError as error:
        raise _do_not_fit(path, str(error).splitlines()[0]) from error
    return classifier.eval()


def _build_checked(card: Card, state: dict[str, Tensor], path: str | Path) -> Classifier:
    """`build` for one of ARCHITECTURES, with one line for whatever is wrong with the card. The sizes that it names
    are compared with the weights before memory is taken for them."""
    try:
        expected = {"prepare.mean": (3, card["store_size"], card["store_size"])}
        if ARCHITECTURES[card["model"]["_target_"]] is convnet:  # torchvision's nets have no sizes to choose
            with torch.device("meta"):
                net = build_net(card["model"], len(card["classes"]), card["image_size"])
            expected |= {f"net.{name}": tuple(each.shape) for name, each in net.state_dict().items()}
        for name, shape in expected.items():
            if name not in state or tuple(state[name].shape) != shape:
                found = tuple(state[name].shape) if name in state else "missing"
                raise _do_not_fit(path, f"{name} is {found}, and the card wants {shape}")
        return build(card)
    except InputError as error:
        raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except Exception as error:  # words of another kind fail anywhere inside a net
        reason = f"{type(error).__name__}: {one_line(error)[:200]}"
        raise InputError(f"{path}: the net of its card cannot be built ({reason})") from error


def _do_not_fit(path: str | Path, reason: str) -> InputError:
    return InputError(f"{path}: its weights do not fit its own card ({reason})")
