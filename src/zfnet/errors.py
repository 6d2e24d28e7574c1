"""The one exception for what a user can mend: `train.py` prints its line and exits with 1, no traceback."""


class InputError(ValueError):
    """Says in one line what is wrong, where, and what to do."""
