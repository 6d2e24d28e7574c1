"""Words of a wrong kind are one clear line, before anything is computed."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from omegaconf import OmegaConf

from zfnet.errors import InputError
from zfnet.studies.words import check_words


def study(
    images: int | Sequence[int], layers: Sequence[str] | None, patch: float, size: int | None, other: Any = 0
) -> None:
    raise AssertionError(images, layers, patch, size, other)


GOOD = {"images": 3, "layers": None, "patch": 0.2, "size": None}


@pytest.mark.parametrize(
    "words",
    [{}, {"images": [3, 4]}, {"images": []}, {"layers": ["a"]}, {"patch": 1}, {"size": 2}, {"other": "x"}],
)
def test_what_fits(words: dict[str, Any]) -> None:
    """As Hydra hands it over, too."""
    check_words(partial(study, **GOOD | words))
    check_words(partial(study, **OmegaConf.create(GOOD | words)))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"images": "abc"}, r"images=abc: a whole number or a list \[\.\.\.\] of whole numbers is needed"),
        ({"images": [1.5]}, r"images=\[1\.5\]: a whole number or a list"),
        ({"images": True}, "images=True: a whole number"),
        ({"images": None}, "images=None: a whole number"),
        ({"layers": "conv1"}, r"layers=conv1: a list \[\.\.\.\] of words or null is needed"),
        ({"layers": [1]}, r"layers=\[1\]: a list"),
        ({"patch": "x"}, "patch=x: a number is needed"),
        ({"size": 10.5}, r"size=10\.5: a whole number or null is needed"),
    ],
)
def test_what_does_not(words: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_words(partial(study, **GOOD | words))
    with pytest.raises(InputError, match=says):
        check_words(partial(study, **OmegaConf.create(GOOD | words)))
