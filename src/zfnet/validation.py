"""Checks values against declared types and ranges, and describes errors in one line.

    check({"images": 0}, {"images": Count})                     # images=0: must be at least 1
    check({"layers": "conv1"}, {"layers": Sequence[str] | None})
    # layers=conv1: a list [...] of strings or null is needed

Types are those of function signatures and dataclasses. Ranges are those of pydantic. Values are not
converted: a string is not a number, true is not an integer, and NaN and infinity are not numbers.
An integer is accepted as a number.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import ConfigDict, Field, PydanticSchemaGenerationError, TypeAdapter, ValidationError
from typing_extensions import is_typeddict

from zfnet.errors import InputError

Count = Annotated[int, Field(ge=1, le=10**9)]
Whole = Annotated[int, Field(ge=0, le=10**9)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # the range of PyTorch Lightning
Side = Annotated[int, Field(ge=1, le=8192)]  # the side of an image, in pixels
Channels = Annotated[int, Field(ge=1, le=4096)]  # of an image
Number = Annotated[float, Field(ge=-1e18, le=1e18)]  # torch accepts integers below 2**63
Positive = Annotated[float, Field(gt=0, le=1e18)]
NotNegative = Annotated[float, Field(ge=0, le=1e18)]
Share = Annotated[float, Field(gt=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]

STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a string",
    Path: "a string",
    bool: "true or false",
    NoneType: "null",
    Any: "a value",
}
RANGES = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be below {lt}",
    "finite_number": "must be a finite number",
    "too_short": "must not be empty",
}
LIMITS = ("ge", "gt", "le", "lt")
LONGEST = 60  # the maximum number of characters of a value in a message


def check(values: Mapping[str, Any], kinds: Mapping[str, Any], prefix: str = "") -> None:
    """Checks values against types.

    Args:
        values: values by name. Names without a type are ignored.
        kinds: types by name, with ranges as `Annotated[int, Field(ge=1)]`.
        prefix: precedes each name in messages, such as "model.edit.conv1.".

    Raises:
        InputError: if a value does not fit. The message describes the first one and counts the
            others.
    """
    raise_first(problems(values, kinds, prefix))


def raise_first(found: Iterable[str]) -> None:
    """Raises an InputError with the first problem and the number of others, if there are any.

    Args:
        found: descriptions of the problems.
    """
    if lines := list(found):
        raise InputError(lines[0] + (f" (and {len(lines) - 1} more)" if lines[1:] else ""))


def problems(
    values: Mapping[str, Any], kinds: Mapping[str, Any], prefix: str = ""
) -> Iterator[str]:
    """Yields a line for each value that does not fit, including values inside mappings.

    The arguments are those of `check`.
    """
    for name, value in values.items():
        if name in kinds:
            yield from _problems(value, kinds[name], f"{prefix}{name}")


def _problems(value: Any, kind: Any, name: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for each in (kind, *get_args(kind)):
            if is_typeddict(each):
                yield from section_problems(value, each, f"{name}.")
                return
            if get_origin(each) in (dict, Mapping) and all(isinstance(key, str) for key in value):
                yield from problems(value, dict.fromkeys(value, get_args(each)[1]), f"{name}.")
                return
    if reason := misfit(value, kind):
        yield f"{name}={show(value)}: {reason}"


def section_problems(values: Mapping[str, Any], section: Any, prefix: str = "") -> Iterator[str]:
    """Yields a line for each problem of a mapping that should match a TypedDict.

    A problem is a key that is missing, does not fit, or is unknown in a TypedDict that forbids it.

    Args:
        values: values by key.
        section: the TypedDict.
        prefix: as in `check`.
    """
    kinds = declared_types(section)
    for key in sorted(section.__required_keys__ - values.keys()):
        yield f"{prefix}{key} is missing: give {prefix}{key}=..."
    yield from problems(values, kinds, prefix)
    if getattr(section, "__pydantic_config__", {}).get("extra") == "forbid":
        for key in sorted(values.keys() - kinds.keys(), key=str):
            yield f"{prefix}{key}={show(values[key])}: there is no such key"


def declared_types(target: Any) -> dict[str, Any]:
    """Returns the declared types by name.

    Args:
        target: a TypedDict, dataclass, class or function. The names are those of its keys, fields
            or arguments.
    """
    plain_class = inspect.isclass(target) and not is_typeddict(target) and not is_dataclass(target)
    try:
        kinds = get_type_hints(target.__init__ if plain_class else target, include_extras=True)
    except NameError:  # a type of a library that is not installed
        return {}
    return {
        key: get_args(kind)[0] if get_origin(kind) is NotRequired else kind
        for key, kind in kinds.items()
    }


def misfit(value: Any, kind: Any) -> str | None:
    """Returns why a value does not fit a type, such as "must be at least 1"; None if it fits.

    Empty strings never fit.

    Args:
        value: the value.
        kind: the type.
    """
    if value == "":
        return "must not be empty"
    try:
        _adapter(kind).validate_python(value)
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            if text := RANGES.get(each["type"]):
                inside = any(isinstance(part, int) for part in each["loc"])
                limits = {
                    key: f"{limit:,.10g}"
                    for key, limit in each.get("ctx", {}).items()
                    if key in LIMITS
                }
                return ("each " if inside else "") + text.format(**limits)
        needed = f"{describe(kind)} is needed"
        text = _as_text(value)
        if text != value and misfit(text, kind) is None:
            return f"{needed}; a number in quotes is a string, as in {text!r}"
        return needed
    return None


def _as_text(value: Any) -> Any:
    """The value with strings for numbers."""
    if isinstance(value, list | tuple):
        return [*map(_as_text, value)]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(
            kind, config=None if is_typeddict(kind) or is_dataclass(kind) else STRICT
        )
    except PydanticSchemaGenerationError:  # a library's own type, which the library checks
        return TypeAdapter(Any)


def describe(kind: Any) -> str:
    """Describes a type in words, such as "a whole number or null"."""
    words = list(dict.fromkeys(_described(kind)))
    if choices := list(dict.fromkeys(_choices(kind))):
        words.append(f"one of {', '.join(choices)}")
    if "a number" in words and "a whole number" in words:
        words.remove("a whole number")
    if "null" in words:
        words = [*(word for word in words if word != "null"), "null"]
    return " or ".join(words)


def _described(kind: Any) -> Iterator[str]:
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from _described(inside[0])
    elif origin in (Union, UnionType):
        for each in inside:
            yield from _described(each)
    elif origin is Literal:
        return
    elif origin in (Sequence, list, tuple):
        items = describe(inside[0])
        items = (
            f"{items.removeprefix('a ')}s"
            if items.startswith("a ")
            else items.removeprefix("one of ")
        )
        yield f"a list [...] of {items}"
    elif origin in (Mapping, dict) or is_typeddict(kind):
        yield "a mapping {...}"
    else:
        yield NAMES.get(kind, "an object {_target_: ...}")


def _choices(kind: Any) -> Iterator[str]:
    """Yields the values of all Literals in a type."""
    if get_origin(kind) is Literal:
        yield from map(show, get_args(kind))
    elif get_origin(kind) in (Union, UnionType, Annotated):
        for each in get_args(kind):
            yield from _choices(each)


def show(value: Any) -> str:
    """Formats a value as on the command line, in one line of at most 60 characters."""
    plain = (
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in _typed(value)
    )
    text = "".join(plain)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _typed(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_typed(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_typed, value))}]"
    return str(value) or "''"
