"""Whether a command's words are of the kinds that a study's signature names, before anything is computed.

check_words(partial(study, images="abc"))     # images=abc: a whole number or a list [...] of whole numbers is needed
"""

from collections.abc import Sequence
from functools import partial
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from zfnet.errors import InputError

NAMES = {int: "whole number", float: "number", str: "word"}


def check_words(study: "partial[None]") -> None:
    """InputError for a word that a study, bound to its words, cannot take."""
    kinds = get_type_hints(study.func)
    for word, value in study.keywords.items():
        if word in kinds and not fits(value, kinds[word]):
            raise InputError(f"{word}={value}: {described(kinds[word])} is needed")


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind: None, int, float, str, a Sequence of one, or a union of such; others fit."""
    if isinstance(kind, UnionType):
        return any(fits(value, each) for each in get_args(kind))
    if get_origin(kind) is Sequence:
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        return listed and all(fits(each, get_args(kind)[0]) for each in value)
    if kind is NoneType:
        return value is None
    if kind in NAMES:
        return isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
    return True


def described(kind: Any) -> str:
    """A kind in words: "a whole number or null"."""
    if isinstance(kind, UnionType):
        return " or ".join(map(described, get_args(kind)))
    if get_origin(kind) is Sequence:
        return f"a list [...] of {NAMES[get_args(kind)[0]]}s"
    return "null" if kind is NoneType else f"a {NAMES[kind]}"
