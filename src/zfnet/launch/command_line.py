"""Parses and extends command lines of train.py and analyze.py.

    last_of_each(["++seed=1", "seed=2"])                  # by key; the last override wins
    with_words(["train.py", "seed=1"], {"hydra.run.dir": "/a b"})

The parsers are Hydra's own.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString

from zfnet.errors import InputError
from zfnet.launch.project import config_folder
from zfnet.versions.config_names import rename_word

PIXEL_SCORE = r"score=[^'\"]+@ *\d+ *, *\d+ *"
# Config groups whose keys are arguments of an object. Any key may be set; it is checked later.
OPEN = ("callbacks.", "logger.", "model.", "optimizer.", "scheduler.", "trainer.")


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses a command line.

    Args:
        arguments: the arguments, without the name of the script.

    Returns:
        Hydra's options, and the overrides as `overrides`.

    Raises:
        InputError: if Hydra's parser rejects the arguments.
    """

    def refuse(message: str) -> NoReturn:
        raise InputError(
            f"{message}; --help shows what can be chosen, and options such as -m stand at the end"
        )

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_args(list(arguments))


def normalize_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Converts the arguments of a command line to the form that Hydra accepts.

    Keys of earlier versions are renamed. `+experiment=demo` becomes `experiment=demo`, because the
    group is already in the defaults list. `model.edit.conv3=null` becomes
    `++model.edit.conv3=null`, because any key may be set in the groups of `OPEN`. `score=3@40,60`
    is quoted, because its comma would make it a list of two jobs.

    Args:
        words: the arguments, including options.

    Returns:
        The converted arguments, and a note for the user about each old name.
    """
    result, notes = [], []
    for word in words:
        word, note = rename_word(word)
        notes += [] if note is None else [note]
        key = word.partition("=")[0].lstrip("+")
        if word.startswith("+") and (config_folder() / key).is_dir():
            word = word.lstrip("+")
        elif key.startswith(OPEN) and "=" in word:
            word = f"++{word.lstrip('+')}"
        elif re.fullmatch(PIXEL_SCORE, word):
            word = f"score={quoted(word.partition('=')[2])}"
        result.append(word)
    return result, notes


def parse(words: Sequence[str]) -> list[Override]:
    """Parses overrides, after `normalize_words`.

    Args:
        words: overrides such as "seed=1".
    """
    return OverridesParser.create().parse_overrides(normalize_words(words)[0])


def last_of_each(words: Sequence[str]) -> dict[str, Override]:
    """Returns the overrides by key.

    If a key occurs more than once, the last override wins, as in Hydra's sweepers.

    Args:
        words: overrides such as "seed=1".

    Returns:
        The overrides. A key includes its `+` or `~`.
    """
    return {override.get_key_element(): override for override in parse(words)}


def quoted(text: str) -> str:
    """Quotes and escapes `text` so that it can be the value of an override."""
    return QuotedString(text.replace("${", r"\${"), Quote.single).with_quotes()


def with_words(command: Sequence[str], words: Mapping[str, str | None]) -> list[str]:
    """Adds overrides to a command line.

    Args:
        command: the script and its arguments.
        words: values by key; None becomes null. They take precedence over existing overrides.

    Returns:
        The command line. The new overrides follow the existing ones, as Hydra requires.
    """
    overrides = read_arguments(command[1:]).overrides
    end = len(command)
    if overrides:
        end -= list(reversed(command)).index(overrides[-1])
    more = [f"{key}={'null' if value is None else quoted(value)}" for key, value in words.items()]
    return [*command[:end], *more, *command[end:]]
