"""Values of a wrong type or out of range are one clear line."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from zfnet.errors import InputError
from zfnet.validation import Count, Positive, Probability, Seed, Share, Whole, check, show

KINDS = {
    "images": Count | Sequence[Whole],
    "layers": Sequence[str] | None,
    "patch": Share,
    "size": Count | None,
    "strengths": Annotated[Sequence[Positive], Field(min_length=1)],
    "dropout": Probability,
    "split": Literal["train", "val"],
    "edit": Mapping[str, Mapping[str, Any] | None] | None,
    "name": str,
    "seed": Seed,
    "test": bool,
}


@pytest.mark.parametrize(
    "values",
    [
        *(
            {},
            {"images": 1},
            {"images": [3, 4]},
            {"images": []},
            {"layers": ["a"]},
            {"layers": None},
        ),
        *(
            {"patch": 1},
            {"patch": 0.2},
            {"size": None},
            {"strengths": [1, 0.5]},
            {"split": "val"},
            {"test": False},
        ),
        *(
            {"edit": None},
            {"edit": {"conv1": None, "fc6": {"units": "abc"}}},
            {"other": "x"},
            {"seed": 2**32 - 1},
        ),
    ],
)
def test_what_fits(values: dict[str, Any]) -> None:
    check(values, KINDS)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("images", "abc", "images=abc: a whole number or a list [...] of whole numbers is needed"),
        (
            "images",
            [1.5],
            "images=[1.5]: a whole number or a list [...] of whole numbers is needed",
        ),
        ("images", True, "images=true: a whole number or a list [...] of whole numbers is needed"),
        ("images", None, "images=null: a whole number or a list [...] of whole numbers is needed"),
        ("images", "3", "images=3: a whole number or a list [...] of whole numbers is needed"),
        ("images", 0, "images=0: must be at least 1"),
        ("images", [3, -1], "images=[3, -1]: each must be at least 0"),
        ("layers", "conv1", "layers=conv1: a list [...] of strings or null is needed"),
        (
            "layers",
            [1, "conv1"],
            "layers=[1, conv1]: a list [...] of strings or null is needed; a number in quotes is "
            "a string, as in ['1', 'conv1']",
        ),
        ("layers", [None], "layers=[null]: a list [...] of strings or null is needed"),
        ("patch", "x", "patch=x: a number is needed"),
        ("patch", True, "patch=true: a number is needed"),
        ("patch", 0, "patch=0: must be above 0"),
        ("patch", 1.5, "patch=1.5: must be at most 1"),
        ("patch", float("nan"), "patch=nan: must be a finite number"),
        ("patch", float("inf"), "patch=inf: must be a finite number"),
        ("size", 10.5, "size=10.5: a whole number or null is needed"),
        ("size", 10**12, "size=1000000000000: must be at most 1,000,000,000"),
        ("strengths", [], "strengths=[]: must not be empty"),
        ("strengths", [1, 0], "strengths=[1, 0]: each must be above 0"),
        ("strengths", 1, "strengths=1: a list [...] of numbers is needed"),
        ("split", "test", "split=test: one of train, val is needed"),
        ("edit", 3, "edit=3: a mapping {...} or null is needed"),
        ("edit", {"conv1": 3}, "edit.conv1=3: a mapping {...} or null is needed"),
        ("edit", {1: None}, "edit={1: null}: a mapping {...} or null is needed"),
        ("name", "", "name='': must not be empty"),
        ("seed", -1, "seed=-1: must be at least 0"),
        ("seed", 2**32, "seed=4294967296: must be at most 4,294,967,295"),
        ("test", 1, "test=1: true or false is needed"),
        ("test", "yes", "test=yes: true or false is needed"),
    ],
)
def test_what_does_not(name: str, value: Any, says: str) -> None:
    with pytest.raises(InputError) as error:
        check({"seed": 0, name: value}, KINDS)
    assert str(error.value) == says


def test_several_are_counted() -> None:
    with pytest.raises(InputError, match=r"^net\.patch=2: must be at most 1 \(and 2 more\)$"):
        check({"patch": 2, "size": 0, "seed": None}, KINDS, "net.")


def test_a_value_is_shown_on_one_short_line() -> None:
    assert show({"a": None, "b": [True, "x", 1.0]}) == "{a: null, b: [true, x, 1.0]}"
    assert show("a\nb\udcff") == r"a\nb\udcff"
    assert len(show("x" * 1000)) == 60
