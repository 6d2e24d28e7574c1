"""The key `score=` of analyses: what is measured of the outputs of a network.

score=3                    output 3 of a classifier, without a softmax
score=cat                  the same by the name of the class
score=cat@112,96           P(cat) at row 112 and column 96 of class maps
score=cat@mask.png         P(cat), from the class maps' mean over the mask
score=mypackage.my_score   a function of the outputs that returns (B,) or (B, classes)
"""

import pydoc
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from zfnet.errors import InputError, one_line
from zfnet.model_on_data import ModelOnData
from zfnet.models.scores import Region, Score, as_score, pixel_mask, with_score
from zfnet.sizes import sides


@dataclass(frozen=True)
class ScoreOption:
    """What `score=` means for a network.

    Attributes:
        text: as it was given.
        score: a function of the outputs.
        target: the class that it names, where the score has classes; otherwise None.
    """

    text: str
    score: Score
    target: int | None


def parse_score(text: str | int | None, model: ModelOnData) -> ScoreOption | None:
    """Reads `score=`.

    Args:
        text: the value of the key.
        model: the network, whose classes may be named.

    Returns:
        The score; None for the classes of a classifier.

    Raises:
        InputError: the class, pixel, mask or function does not exist.
    """
    if text is None:
        return None
    text, size = str(text), sides(model.crop)
    name, at, place = text.rpartition("@")
    if not at:
        if (index := _class_index(text, model)) is None:
            return ScoreOption(text, _function(text), None)
        score, _ = as_score(index, size)
        assert score is not None
        return ScoreOption(text, score, None)
    if (index := _class_index(name, model)) is None:
        raise InputError(f"score={text}: {name!r} is no class; some are {_examples(model)}")
    row, comma, column = place.partition(",")
    if comma and row.strip().isdecimal() and column.strip().isdecimal():
        mask = pixel_mask(int(row), int(column), size)
    else:
        mask = _read_mask(text, Path(place).expanduser(), size)
    return ScoreOption(text, Region(mask), index)


def project_score(model: ModelOnData, option: ScoreOption) -> tuple[ModelOnData, list[int] | None]:
    """Adds a score to a network as the layer "score", so that analyses can project it.

    Args:
        model: the network.
        option: the score.

    Returns:
        The network with the layer, and the channels of the layer to look at; None for all.
    """
    scored = replace(model, net=with_score(model.net, option.score))
    return scored, None if option.target is None else [option.target]


def names_of_outputs(model: ModelOnData, count: int) -> list[str]:
    """Names the outputs of a network or score: by its classes, if there are as many.

    Args:
        model: the network.
        count: the number of outputs.
    """
    return model.classes if count == len(model.classes) else [f"class {i}" for i in range(count)]


def _class_index(name: str, model: ModelOnData) -> int | None:
    if name.isdecimal():
        return int(name)
    return model.classes.index(name) if name in model.classes else None


def _examples(model: ModelOnData) -> str:
    return ", ".join([f"{i} ({name})" for i, name in enumerate(model.classes[:3])]) or "0, 1, 2"


def _function(name: str) -> Score:
    try:
        found = pydoc.locate(name)
    except pydoc.ErrorDuringImport as error:
        raise InputError(f"score={name}: cannot be imported ({one_line(error)})") from error
    if not callable(found):
        raise InputError(
            f"score={name}: neither a class of the network, nor CLASS@ROW,COLUMN, CLASS@MASK, nor "
            "the name of a function, package.function"
        )
    return found


def _read_mask(text: str, path: Path, size: tuple[int, int]) -> Tensor:
    """Reads a mask, bool (H, W): the pixels of an image that are not 0."""
    try:
        with Image.open(path) as image:
            resized = image.convert("L").resize((size[1], size[0]), Image.Resampling.NEAREST)
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"score={text}: {path} is no image ({one_line(error)})") from error
    mask = torch.from_numpy(np.asarray(resized) > 0)
    if not mask.any():
        raise InputError(f"score={text}: all pixels of the mask {path} are 0")
    return mask
