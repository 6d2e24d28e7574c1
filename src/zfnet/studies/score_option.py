"""The key `score=` of analyses: what is measured of the outputs of a network.

score=3                    output 3 of a classifier, without a softmax
score=cat                  the same by the name of the class
score=cat@112,96           P(cat) at row 112 and column 96 of class maps
score=cat@mask.png         P(cat), from the class maps' mean over the mask
score=mypackage.my_score   a function of the outputs that returns (B,) or (B, classes)
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from zfnet.errors import InputError, one_line
from zfnet.model_on_data import ModelOnData
from zfnet.models.scores import Region, Score, as_score, with_score
from zfnet.sizes import sides
from zfnet.training.networks import locate


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
    if re.fullmatch(r" *\d+ *, *\d+ *", place):
        score, _ = as_score(f"{index}@{place}", size)
    else:
        score = Region(_read_mask(text, Path(place).expanduser(), size))
    assert score is not None
    return ScoreOption(text, score, index)


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
        return locate("score", name, "a score")
    except InputError as error:
        raise InputError(
            "neither a class of the network, nor CLASS@ROW,COLUMN, nor CLASS@MASK, nor a function: "
            f"{error}"
        ) from error


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
