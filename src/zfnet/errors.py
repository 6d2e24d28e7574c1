"""The exception for what a user can fix: `train.py` prints its line, without a traceback."""

import re
from collections.abc import Collection

# Line breaks and other control characters, and the bytes of file names that are not UTF-8.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class InputError(ValueError):
    """Says in one line what is wrong, where, and what to do."""

    def __str__(self) -> str:
        return printable(super().__str__())


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raises InputError unless `value`, of the key `name`, is one of `choices`.

    >>> check_choice("data.crops", "five", ("ten", "random"))
    Traceback (most recent call last):
    zfnet.errors.InputError: data.crops='five' is unknown: choose one of ten, random
    """
    if value not in choices:
        raise InputError(f"{name}={value!r} is unknown: choose one of {', '.join(choices)}")


def one_line(reason: object) -> str:
    """An error message of another library, on one line.

    >>> one_line("bad\\n  value")
    'bad value'
    """
    return " ".join(str(reason).split()) or type(reason).__name__


def printable(text: object) -> str:
    """Text for terminals, logs, fonts and protocols: on one line, with unprintable characters
    escaped.

    >>> printable("a\\tb")
    'a\\\\tb'
    """
    return UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], str(text))


def download_error(what: str, place: object, reason: BaseException) -> InputError:
    """The error for a data set that is missing or incomplete and cannot be downloaded."""
    remedy = "put it there, or say where it is by data.root="
    return InputError(f"{place}: {what} cannot be downloaded: {one_line(reason)}; {remedy}")
