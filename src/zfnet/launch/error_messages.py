"""What went wrong, in one line, whoever says it.

line, known = explain(error)      # known: nothing that a traceback would add for the user
"""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import HydraException, InstantiationException, OverrideParseException
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from zfnet.errors import InputError, one_line
from zfnet.io import FULL

# What Hydra and OmegaConf add for those who write configs.
NOISE = re.compile(
    r"\s*(object_type=\S+|reference_type=\S+|See https?://\S+ for \w+|Config search path:.*|Search "
    r"path:.*|\^)\s*",
    re.DOTALL,
)


def explain(error: BaseException) -> tuple[str, bool]:
    """One line on an error.

    Returns:
        The line, and whether the user can mend it. Otherwise it is a fault of the software, and
        begins with its type.
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
    """The module that raised an error."""
    name = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = frame.f_globals.get("__name__", "")
    return name


def _key(error: BaseException) -> str:
    """The key of the config that an object was made from, as far as Hydra says."""
    found = re.search(r"full_key: (\S+)", str(error))
    return f"{found[1]}: " if found else ""


def _plain(error: BaseException) -> str:
    """The error's text on one line, without what says nothing to the user."""
    return one_line(NOISE.sub(" ", str(error)).strip() or type(error).__name__)


@contextmanager
def translate_hydra_errors() -> Iterator[None]:
    """An InputError that Hydra wraps comes out as it is, a key that must be given by its name, what
    Lightning says of the trainer's settings in one line, and a full disk wherever it was met."""
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
            place = error.filename or "a file"
            raise InputError(
                f"{place}: the disk is full; free some space and run the same command again"
            ) from error
        raise
    except MissingMandatoryValue as error:
        raise InputError(f"{error.full_key} has no default: give {error.full_key}=...") from error
