"""The one exception for what a user can mend: `train.py` prints its line and exits with 1, no traceback."""

import re

# Line breaks and other control characters, and the bytes of file names that are no UTF-8.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class InputError(ValueError):
    """Says in one line what is wrong, where, and what to do."""

    def __str__(self) -> str:
        return printable(super().__str__())


def one_line(reason: object) -> str:
    """What another library says, on one line."""
    return " ".join(str(reason).split()) or type(reason).__name__


def printable(text: object) -> str:
    """Text that every terminal, log, font and protocol takes, on one line: what does not print is escaped."""
    return UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], str(text))


def cannot_be_had(what: str, place: object, reason: BaseException) -> InputError:
    """A data set that is not where it belongs, or not whole, and that could not be downloaded."""
    remedy = "put it there, or say where it is by data.root="
    return InputError(f"{place}: {what} cannot be had: {one_line(reason)}; {remedy}")
