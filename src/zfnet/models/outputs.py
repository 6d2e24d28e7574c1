"""What a net's outputs say about classes: logits, or probabilities already.

    outputs = class_outputs(model, images)      # looks once, at images (B, C, H, W)
    outputs.logits(model(images))               # (B, classes), whose softmax are the probabilities

Probabilities are recognized: rows that are not negative and sum to 1. Their logarithm is a logit,
so that the softmax of everything that comes out of here is P(class). Log-probabilities are logits
as they are. What a net gives is decided once, and whatever it gives later must be of the same kind.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zfnet.errors import InputError, one_line
from zfnet.models.introspection import capture_outputs, eval_mode, user_module
from zfnet.models.tracing import WEIGHTED, hookable, trace

ROUNDING = 1e-4  # of a sum of probabilities in float32
NOTHING = "nothing can be measured on it"
SIGMOIDS = {"sigmoid", "hardsigmoid"}


@dataclass(frozen=True)
class ClassOutputs:
    """How the outputs of a net, called `name`, are read."""

    name: str
    probabilities: bool

    def logits(self, outputs: Any, count: int | None = None) -> Tensor:
        """Logits (B, classes), float32 or float64: `outputs`, or their logarithm where they are
        probabilities.

        Raises:
            InputError: for outputs without classes, not of `count` images, that are no finite
                numbers, or no probabilities although the net's others are.
        """
        outputs = check_classes(self.name, outputs, count)
        if not self.probabilities:
            return outputs
        if not is_probabilities(outputs):
            raise InputError(
                f"{self.name} gives probabilities for some images and not for others: P(class) "
                "cannot be told"
            )
        return outputs.log()


def class_outputs(model: nn.Module, images: Tensor, outputs: Any = None) -> ClassOutputs:
    """Decides how a net's outputs are read, from what it gives for `images`.

    Args:
        model: a classifier.
        images: (B, C, H, W) as it takes them, at least one.
        outputs: what it gives for them, if that is known already.

    Raises:
        InputError: for outputs without classes, not of `images`, that are no finite numbers, or
            that come out of a sigmoid or a softmax over another axis: they are no probabilities of
            one class among others.
    """
    name = type(model).__name__
    passed = trace(model, images[:1])
    if isinstance(passed.output, Tensor) and not passed.output.isfinite().all():
        raise InputError(
            f"{name} is not finite from layer {first_not_finite(model, images[:1])!r} on: {NOTHING}"
        )
    given = check_classes(
        name,
        passed.output if outputs is None else outputs,
        None if outputs is None else len(images),
    )
    last = passed.value(passed.output)
    op = None if last is None else last.op
    # Weighted sums look like probabilities only by chance.
    probabilities = is_probabilities(given) and op not in WEIGHTED
    if op in SIGMOIDS:
        raise InputError(
            f"{name} ends in a sigmoid, a yes or no for each class: there is no P(class) among "
            "others; give the net "
            "without it"
        )
    if op == "softmax" and not probabilities:
        raise InputError(
            f"{name} ends in a softmax, but its rows do not sum to 1: it must be over the classes, "
            "dim=1"
        )
    return ClassOutputs(name, probabilities)


def check_logits(model: nn.Module, images: Tensor, classes: int) -> None:
    """Refuses to train a net whose outputs a cross-entropy of logits would read wrongly.

    Args:
        model: the net.
        images: (B, C, H, W) as it takes them, at least one.
        classes: how many the data has.

    Raises:
        InputError: the outputs are probabilities already, are not (B, classes), or as in
            `class_outputs`.
    """
    with torch.no_grad(), eval_mode(model):
        outputs = model(images)
    if class_outputs(model, images, outputs).probabilities:
        raise InputError(
            f"{type(model).__name__} ends in a softmax, and training applies it to the logits "
            "itself; give the net "
            "without it"
        )
    if outputs.shape[1] != classes:
        raise InputError(
            f"{type(model).__name__} has {outputs.shape[1]} outputs for {classes} classes"
        )


def count_outputs(model: nn.Module, image_size: int) -> int:
    """How many classes a net tells apart, from what it gives for one image.

    Args:
        model: the net.
        image_size: side of the images that it takes, in pixels.

    Raises:
        InputError: it does not take such images, or gives no (B, classes).
    """
    image = torch.zeros(1, 3, image_size, image_size)
    try:
        with torch.no_grad(), eval_mode(model):
            outputs = model(image)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"{type(model).__name__} does not take images of {image_size} x {image_size} pixels "
            f"({one_line(error)[:200]})"
        ) from error
    return check_classes(type(model).__name__, outputs).shape[1]


def first_not_finite(model: nn.Module, image: Tensor) -> str:
    """The first module whose output for an image (1, C, H, W) is not finite; "" for the model
    itself."""
    model, names = user_module(model), list[str]()

    def read(name: str, output: Tensor) -> bool:
        names.append(name)
        return not output.isfinite().all()

    with torch.no_grad(), eval_mode(model), capture_outputs(hookable(model), read, needed=()):
        model(image.clone())
    return names[-1]


def check_classes(name: str, outputs: Any, count: int | None = None) -> Tensor:
    """`outputs` if they are finite floating-point numbers (B, classes) of several classes;
    InputError otherwise."""
    if (
        not isinstance(outputs, Tensor)
        or outputs.dim() != 2
        or (count is not None and len(outputs) != count)
    ):
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(f"{name} gives no (B, classes), but {shape}: a classifier is needed")
    if not outputs.is_floating_point():
        raise InputError(
            f"{name} gives whole numbers ({outputs.dtype}): logits or probabilities are needed"
        )
    if outputs.shape[1] < 2:
        raise InputError(
            f"{name} gives one number for an image: there are no classes; a classifier of two or "
            "more "
            "is needed"
        )
    if not (finite := outputs.isfinite().all(1)).all():
        raise InputError(
            f"{name} gives outputs that are not finite for {int((~finite).sum())} of "
            f"{len(outputs)} images: {NOTHING}"
        )
    return outputs


def is_probabilities(outputs: Tensor) -> bool:
    """Whether all rows (B, classes) are distributions: not negative, of sum 1 within rounding."""
    sums = outputs.double().sum(1)
    tolerance = max(ROUNDING, torch.finfo(outputs.dtype).eps)
    return bool((outputs >= 0).all() and ((sums - 1).abs() <= tolerance).all())
