"""Describes an error in one line, whichever library raised it.

    line, known = explain(error)

If the error is known, a traceback would not help the user.
"""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import HydraException, InstantiationException, OverrideParseException
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from zfnet.errors import InputError, one_line
from zfnet.io import FULL, writing

# Details that Hydra and OmegaConf add to their messages.
NOISE = re.compile(
    r"\s*(object_type=\S+|reference_type=\S+|See https?://\S+ for \w+|Config search path:.*|Search "
    r"path:.*|\^)\s*",
    re.DOTALL,
)


def explain(error: BaseException) -> tuple[str, bool]:
    """Describes an error in one line.

    Args:
        error: the error.

    Returns:
        The line, and whether the user can fix the error. If not, it is a bug, and the line starts
        with the type of the error.
    """
    said = error
    while isinstance(said, HydraException | OmegaConfBaseException) and (
        said.__cause__ or said.__context__
    ):
        inner = said.__cause__ or said.__context__
        assert inner is not None
        if isinstance(inner, InputError):
            return one_line(inner), True
        if isinstance(inner, MisconfigurationException) or isinstance(said, InstantiationException):
            return f"{_key(said)}{_plain(inner)}", True
        said = (
            inner if isinstance(inner, HydraException | OmegaConfBaseException | OSError) else said
        )
        if said is not inner:
            break
    if isinstance(error, InputError):
        return one_line(error), True
    if isinstance(error, OverrideParseException):
        return f"{error.override}: {_plain(error)}", True
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} has no default: give {error.full_key}=...", True
    if isinstance(said, OSError) and said.filename is not None:
        return f"{said.filename}: {said.strerror or one_line(said)}", True
    if isinstance(error, HydraException | OmegaConfBaseException | MisconfigurationException):
        return _plain(error) if str(error).strip() else _plain(said), True
    # For example model=null or callbacks=3.
    if isinstance(error, ValueError) and _module(error).startswith("hydra."):
        return f"{_plain(error)}; a group takes the names of its files, which --help lists", True
    return f"{type(error).__name__}: {one_line(error)}", False


def _module(error: BaseException) -> str:
    """Returns the name of the module that raised an error."""
    name = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = frame.f_globals.get("__name__", "")
    return name


def _key(error: BaseException) -> str:
    """Returns the config key of the object that could not be built, if Hydra names it."""
    found = re.search(r"full_key: (\S+)", str(error))
    return f"{found[1]}: " if found else ""


def _plain(error: BaseException) -> str:
    """Returns the text of an error on one line, without `NOISE`."""
    return one_line(NOISE.sub(" ", str(error)).strip() or type(error).__name__)


@contextmanager
def translate_hydra_errors() -> Iterator[None]:
    """Turns errors of Hydra, OmegaConf and Lightning into InputError.

    Raises:
        InputError: if a key has no value, Lightning rejects a setting, or the disk is full. An
            InputError that Hydra wrapped is raised unchanged.
    """
    try:
        yield
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from error
        if isinstance(error.__cause__, MisconfigurationException):
            raise InputError(f"trainer: {one_line(error.__cause__)}") from error
        raise
    except MisconfigurationException as error:
        raise InputError(f"trainer: {one_line(error)}") from error
    except OSError as error:
        if error.errno in FULL:
            with writing(error.filename or "a file"):
                raise
        raise
    except MissingMandatoryValue as error:
        raise InputError(f"{error.full_key} has no default: give {error.full_key}=...") from error
