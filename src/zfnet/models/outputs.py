"""Determines whether the outputs of a classifier are logits or probabilities.

    outputs = class_outputs(model, images)      # decides once, from images (B, C, H, W)
    outputs.logits(model(images))               # (B, classes); their softmax is P(class)

The logits may be inside a tuple, dict or data class. A score (scores.py) measures something else,
such as one pixel of class maps.

Outputs are probabilities if all rows are nonnegative and sum to 1. They are converted to logits
with a logarithm, so that the softmax of the result is always P(class). Log-probabilities are
already logits. The decision is made once, and all later outputs must be of the same kind.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zfnet.errors import InputError, one_line
from zfnet.models.introspection import capture_outputs, eval_mode, user_module
from zfnet.models.scores import Region, Score, as_columns, find_tensor
from zfnet.models.tracing import WEIGHTED, hookable, trace

ROUNDING = 1e-4  # tolerance of a sum of probabilities in float32
NOTHING = "nothing can be measured on it"
SIGMOIDS = {"sigmoid", "hardsigmoid"}


@dataclass(frozen=True)
class ClassOutputs:
    """How to interpret the outputs of the network `name`.

    Attributes:
        name: of the network.
        probabilities: whether the outputs are probabilities.
        score: what is measured of the outputs; None for the classes of a classifier.
        scalar: whether the score is one number for an image, without classes.
    """

    name: str
    probabilities: bool
    score: Score | None = None
    scalar: bool = False

    def logits(self, outputs: Any, count: int | None = None) -> Tensor:
        """Converts outputs to logits.

        Args:
            outputs: the outputs of the network for B images.
            count: the number of images, if it is to be checked.

        Returns:
            The logits, (B, classes), in float32 or float64. (B, 1) if the score is a scalar.

        Raises:
            InputError: as in `check_classes`, or if these outputs are not probabilities although
                earlier ones were.
        """
        values = read_classes(self.name, outputs, self.score, count)
        if (values.shape[1] == 1) != self.scalar:
            raise InputError(
                f"{self.name}: the score gives classes for some images, not for others"
            )
        if not self.probabilities:
            return values
        if not is_probabilities(values):
            raise InputError(
                f"{self.name} gives probabilities for some images and not for others: P(class) "
                "cannot be told"
            )
        return values.log()


def class_outputs(
    model: nn.Module, images: Tensor, outputs: Any = None, score: Score | None = None
) -> ClassOutputs:
    """Determines how to interpret the outputs of a network.

    Args:
        model: the network.
        images: preprocessed images, (B, C, H, W), at least one.
        outputs: the outputs for `images`, if they are already known.
        score: what to measure of the outputs; None for the classes of a classifier.

    Raises:
        InputError: as in `check_classes`, or if the outputs come from a sigmoid or from a softmax
            over another axis. Such outputs are not probabilities of one class among others.
    """
    name = type(model).__name__
    passed = trace(model, images[:1])
    if isinstance(passed.output, Tensor) and not passed.output.isfinite().all():
        raise InputError(
            f"{name} is not finite from layer {first_not_finite(model, images[:1])!r} on: {NOTHING}"
        )
    given = read_classes(
        name,
        passed.output if outputs is None else outputs,
        score,
        None if outputs is None else len(images),
    )
    if given.shape[1] == 1:
        return ClassOutputs(name, probabilities=False, score=score, scalar=True)
    op = None
    if score is None or isinstance(score, Region):
        last = passed.value(find_tensor(name, passed.output, 2 if score is None else 4))
        op = None if last is None else last.op
    # The output of a linear layer looks like probabilities only by chance.
    probabilities = is_probabilities(given) and op not in WEIGHTED
    if op in SIGMOIDS:
        raise InputError(
            f"{name} ends in a sigmoid, a yes or no for each class: there is no P(class) among "
            "others; give the net without it, or score=3 to measure output 3"
        )
    if op == "softmax" and not probabilities:
        raise InputError(
            f"{name} ends in a softmax, but its rows do not sum to 1: it must be over the classes, "
            "dim=1"
        )
    return ClassOutputs(name, probabilities, score)


def is_classifier(model: nn.Module, images: Tensor) -> bool:
    """Whether the outputs of a network are those of a classifier, see `class_outputs`.

    Args:
        model: the network.
        images: preprocessed images, (B, C, H, W), at least one.
    """
    try:
        class_outputs(model, images[:1])
    except InputError:
        return False
    return True


def read_classes(
    name: str, outputs: Any, score: Score | None = None, count: int | None = None
) -> Tensor:
    """Reads logits, probabilities or a score from the outputs of a network.

    Args:
        name: the name of the network, for error messages.
        outputs: its outputs.
        score: what to measure; None for the classes of a classifier.
        count: the number of images B, if it is to be checked.

    Returns:
        (B, classes), finite. (B, 1) for a score that is one number.

    Raises:
        InputError: as in `check_classes`.
    """
    if score is None:
        return check_classes(name, find_tensor(name, outputs, 2), count)
    values = as_columns(score(outputs))
    if count is not None and len(values) != count:
        raise InputError(f"score: {len(values)} numbers for {count} images")
    if not values.is_floating_point():
        raise InputError(f"score: numbers are needed, not {values.dtype}")
    return check_finite(name, values)


def check_logits(model: nn.Module, images: Tensor, classes: int) -> None:
    """Checks that the outputs of a network are logits, as training with cross-entropy requires.

    Args:
        model: the network.
        images: preprocessed images, (B, C, H, W), at least one.
        classes: the number of classes of the data set.

    Raises:
        InputError: as in `class_outputs`, or if the outputs are probabilities or not (B, classes).
    """
    with torch.no_grad(), eval_mode(model):
        outputs = check_classes(type(model).__name__, model(images))
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


def count_outputs(model: nn.Module, image: Tensor) -> int:
    """Returns the number of classes of a network, from its outputs for one image.

    Args:
        model: the network.
        image: (1, C, H, W).

    Returns:
        The number of logits or of class maps; 0 if the outputs have neither.

    Raises:
        InputError: if the network does not accept the image.
    """
    try:
        with torch.no_grad(), eval_mode(model):
            outputs = model(image)
    except (RuntimeError, AssertionError) as error:
        channels, height, width = image.shape[1:]
        raise InputError(
            f"{type(model).__name__} does not take images of {height} x {width} pixels in "
            f"{channels} channels ({one_line(error)[:200]})"
        ) from error
    for dims in (2, 4):
        with suppress(InputError):
            return find_tensor("", outputs, dims).shape[1]
    return 0


def first_not_finite(model: nn.Module, image: Tensor) -> str:
    """Returns the first module whose output is not finite; "" for the model itself.

    Args:
        model: the network.
        image: one image, (1, C, H, W).
    """
    model, names = user_module(model), list[str]()

    def read(name: str, output: Tensor) -> bool:
        names.append(name)
        return not output.isfinite().all()

    with torch.no_grad(), eval_mode(model), capture_outputs(hookable(model), read, needed=()):
        model(image.clone())
    return names[-1]


def check_classes(name: str, outputs: Any, count: int | None = None) -> Tensor:
    """Checks that outputs are finite floating-point numbers (B, classes) of at least two classes.

    Args:
        name: the name of the network, for error messages.
        outputs: the outputs.
        count: the number of images B, if it is to be checked.

    Returns:
        The outputs, unchanged.

    Raises:
        InputError: if they are not.
    """
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
            "more is needed, or score=0 to measure the number itself"
        )
    return check_finite(name, outputs)


def check_finite(name: str, outputs: Tensor) -> Tensor:
    """Checks that outputs (B, classes) are finite, and returns them.

    Raises:
        InputError: if they are not.
    """
    if not (finite := outputs.isfinite().all(1)).all():
        raise InputError(
            f"{name} gives outputs that are not finite for {int((~finite).sum())} of "
            f"{len(outputs)} images: {NOTHING}"
        )
    return outputs


def is_probabilities(outputs: Tensor) -> bool:
    """Whether all rows are probability distributions: nonnegative, with sum 1 within rounding.

    Args:
        outputs: the outputs, (B, classes).
    """
    sums = outputs.double().sum(1)
    tolerance = max(ROUNDING, torch.finfo(outputs.dtype).eps)
    return bool((outputs >= 0).all() and ((sums - 1).abs() <= tolerance).all())
