"""Scores: one number, or one for each class, of whatever a network returns.

    find_classes("Net", outputs)              # logits (B, classes), also inside a tuple or dict
    as_score("3@40,60", image_size=(64, 96))  # class 3 at row 40 and column 60 of class maps
    with_score(model, score)                  # the model with one more layer, "score", at its end

A score is a function of the outputs of a network. It returns (B,) numbers, or (B, classes) logits.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zfnet.errors import InputError

Score = Callable[[Any], Tensor]
LAYER = "score"  # the name of the layer that `with_score` adds
MAIN = ("logits", "out")  # the keys of the main output, in transformers and torchvision
EXAMPLES = 'score=3 (output 3), score="3@112,96" (class 3 at a pixel) or score=a function of it'
DEEPEST, LONGEST = 4, 6  # what a description of outputs shows


@dataclass(frozen=True)
class Output:
    """The score that is one output of a classifier, without a softmax.

    Args:
        index: its number.
    """

    index: int

    def __call__(self, outputs: Any) -> Tensor:
        values = find_tensor("the network", outputs, 2)
        if self.index >= values.shape[1]:
            raise InputError(
                f"score={self.index}: the network has outputs 0 to {values.shape[1] - 1}"
            )
        return values[:, self.index]


@dataclass(frozen=True, eq=False)
class Region:
    """The score that is the mean of class maps over some pixels of the image.

    Args:
        mask: bool (H, W), the pixels. Class maps of another size are read at the same places.
    """

    mask: Tensor

    def __call__(self, outputs: Any) -> Tensor:
        maps = find_tensor("the network", outputs, 4)
        weights = self.mask.to(maps)[None, None]
        weights = F.adaptive_avg_pool2d(weights, (maps.shape[2], maps.shape[3]))
        return (maps * weights).sum((2, 3)) / weights.sum()


class _Scorer(nn.Module):
    """Applies a score, as a layer with outputs (B, classes)."""

    def __init__(self, score: Score) -> None:
        super().__init__()
        self.score = score

    def forward(self, outputs: Any) -> Tensor:
        return as_columns(self.score(outputs))


class Scored(nn.Module):
    """A network with one more layer at its end. The layers keep their names."""

    def __init__(self, net: nn.Module, score: Score) -> None:
        super().__init__()
        self.net, self.score = net, _Scorer(score)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.score(self.net(*args, **kwargs))

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """Yields the modules of the network by their own names, and the layer "score"."""
        yield prefix, self
        for name, module in self.net.named_modules(memo, prefix, remove_duplicate):
            if module is not self.net:
                yield name, module
        yield f"{prefix}.{LAYER}" if prefix else LAYER, self.score


def with_score(model: nn.Module, score: Score) -> Scored:
    """Adds a score to a network, as its last layer.

    Units of the layer "score" are (image, class, 0, 0). The deconvnet projects them like those of
    any other layer.

    Args:
        model: any network. Its weights are shared.
        score: a function of its outputs, or as `as_score` accepts with a known size.

    Returns:
        The network, whose layers keep their names.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from zfnet.deconv import Deconvnet, Unit
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
        >>> scored = with_score(model, lambda maps: maps[:, 1, 2, 2])
        >>> Deconvnet(scored).project(torch.randn(1, 3, 8, 8), "score", [Unit(0, 0)]).shape
        torch.Size([1, 3, 8, 8])
    """
    return Scored(model, score)


def as_score(
    score: Score | Tensor | str | int | None, image_size: tuple[int, int]
) -> tuple[Score | None, int | None]:
    """Converts what users give as a score.

    Args:
        score: None; a function of the outputs; the number of an output; a mask of pixels, bool
            (H, W); or a class at a pixel, such as "3@40,60": class, row and column.
        image_size: (H, W) of the images.

    Returns:
        The score, None for the classes of a classifier; and the class that it names, or None.

    Raises:
        InputError: it is none of these, or outside of the image.
    """
    if score is None or (callable(score) and not isinstance(score, Tensor)):
        return score, None
    if isinstance(score, Tensor):
        if score.dtype != torch.bool or tuple(score.shape) != image_size or not score.any():
            raise InputError(
                f"score: a mask is bool {image_size} like the images and not empty, not "
                f"{score.dtype} {tuple(score.shape)}"
            )
        return Region(score), None
    index, at, place = str(score).partition("@")
    row, comma, column = place.partition(",")
    numbers = [index, row, column] if at else [index]
    if not all(each.strip().isdecimal() for each in numbers) or bool(at) != bool(comma):
        raise InputError(f"score={score!r}: give {EXAMPLES}")
    if not at:
        return Output(int(index)), None
    return Region(_pixel_mask(int(row), int(column), image_size)), int(index)


def _pixel_mask(row: int, column: int, image_size: tuple[int, int]) -> Tensor:
    """Returns a mask, bool (H, W), of one pixel.

    Args:
        row: of the pixel.
        column: of the pixel.
        image_size: (H, W).

    Raises:
        InputError: it is outside of the image.
    """
    height, width = image_size
    if not (0 <= row < height and 0 <= column < width):
        raise InputError(
            f"score: pixel {row},{column} is outside of the image of {height} x {width} pixels"
        )
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[row, column] = True
    return mask


def as_columns(scores: Any) -> Tensor:
    """Returns scores as (B, classes): (B,) becomes (B, 1).

    Raises:
        InputError: they have another shape.
    """
    if not isinstance(scores, Tensor) or scores.dim() not in (1, 2):
        raise InputError(
            f"score: the function returns {describe(scores)}, not one number for each image, (B,), "
            "or (B, classes)"
        )
    return scores[:, None] if scores.dim() == 1 else scores


def find_tensor(name: str, outputs: Any, dims: int) -> Tensor:
    """Finds logits or class maps in the outputs of a network.

    It is the only tensor of floating-point numbers with this number of dimensions, or the one named
    "logits" or "out".

    Args:
        name: the name of the network, for the error message.
        outputs: a tensor, or tensors in tuples, lists, dicts or data classes.
        dims: 2 for logits (B, classes), 4 for class maps (B, classes, h, w).

    Raises:
        InputError: there is none, or more than one. The message shows the structure.
    """
    found = [(key, each) for key, each in _leaves(outputs) if each.dim() == dims]
    found = [each for each in found if each[1].is_floating_point()] or found
    chosen = found if len(found) == 1 else [each for each in found if each[0] in MAIN]
    if len(chosen) == 1:
        return chosen[0][1]
    wanted = "(B, classes)" if dims == 2 else "class maps (B, classes, h, w)"
    gives = f"more than one {wanted}:" if found else f"no {wanted}, but"
    raise InputError(f"{name} gives {gives} {describe(outputs)}: give {EXAMPLES}")


def describe(outputs: Any, depth: int = 0) -> str:
    """Describes the structure of outputs, such as "{'out': (2, 21, 64, 64)}"."""
    if isinstance(outputs, Tensor):
        kind = "" if outputs.is_floating_point() else f" {outputs.dtype}".replace("torch.", "")
        return f"{tuple(outputs.shape)}{kind}"
    parts = list(_parts(outputs))
    if not parts or depth == DEEPEST:
        return type(outputs).__name__
    keyed = parts[0][0] is not None
    shown = [
        f"{key!r}: {describe(each, depth + 1)}" if keyed else describe(each, depth + 1)
        for key, each in parts[:LONGEST]
    ]
    shown += ["..."] if len(parts) > LONGEST else []
    return f"{{{', '.join(shown)}}}" if keyed else f"[{', '.join(shown)}]"


def _leaves(outputs: Any, key: str | None = None) -> Iterator[tuple[str | None, Tensor]]:
    """Yields the tensors in outputs, with their own key or None.

    A list of dicts has one for each image, as of a detector: its tensors are not of a batch.
    """
    if isinstance(outputs, Tensor):
        yield key, outputs
    elif not isinstance(outputs, list) or all(isinstance(each, Tensor) for each in outputs):
        for own, each in _parts(outputs):
            yield from _leaves(each, own)


def _parts(outputs: Any) -> Iterator[tuple[str | None, Any]]:
    if isinstance(outputs, Mapping):
        yield from ((str(key), each) for key, each in outputs.items())
    elif hasattr(outputs, "_fields"):
        yield from zip(outputs._fields, outputs, strict=True)
    elif isinstance(outputs, list | tuple):
        yield from ((None, each) for each in outputs)
    elif is_dataclass(outputs):
        yield from ((each.name, getattr(outputs, each.name)) for each in fields(outputs))
