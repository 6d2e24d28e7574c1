"""The one exception for what a user can mend: `train.py` prints its line and exits with 1, no traceback."""


class InputError(ValueError):
    """Says in one line what is wrong, where, and what to do."""


def one_line(reason: object) -> str:
    """What another library says, on one line."""
    return " ".join(str(reason).split()) or type(reason).__name__


def cannot_be_had(what: str, place: object, reason: BaseException) -> InputError:
    """A data set that is not where it belongs, or not whole, and that could not be downloaded."""
    remedy = "put it there, or say where it is by data.root="
    return InputError(f"{place}: {what} cannot be had: {one_line(reason)}; {remedy}")
