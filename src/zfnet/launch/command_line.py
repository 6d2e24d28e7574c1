"""A command line of train.py or analyze.py, read by Hydra's own parsers and taken apart.

last_of_each(["++seed=1", "seed=2"])                  # by key: the last one counts
with_words(["train.py", "seed=1"], {"hydra.run.dir": "/a b"})
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString

from zfnet.errors import InputError
from zfnet.launch.project import config_folder
from zfnet.versions import rename_word

# The groups of objects.
OPEN = ("callbacks.", "logger.", "model.", "optimizer.", "scheduler.", "trainer.")


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line, and its `overrides`.

    Raises:
        InputError: Hydra's parser does not take it.
    """

    def refuse(message: str) -> NoReturn:
        raise InputError(
            f"{message}; --help shows what can be chosen, and options such as -m stand at the end"
        )

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_args(list(arguments))


def normalize_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Writes a command line as Hydra takes it, whichever habit it was typed from.

    Keys of earlier versions get today's names. `+experiment=demo` is `experiment=demo`, for the
    group is there already. `model.edit.conv3=null` is `++model.edit.conv3=null`: below OPEN any key
    may be set, and what is set there is checked later.

    Args:
        words: of the command line, options included.

    Returns:
        The words, and a note for the user on each old name.
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
        result.append(word)
    return result, notes


def parse(words: Sequence[str]) -> list[Override]:
    """The overrides among the words of a command line, in today's names."""
    return OverridesParser.create().parse_overrides(normalize_words(words)[0])


def last_of_each(words: Sequence[str]) -> dict[str, Override]:
    """The overrides by their key, with its `+` or `~`. The last one of a key counts, as in Hydra's
    sweepers."""
    return {override.get_key_element(): override for override in parse(words)}


def quoted(text: str) -> str:
    """`text` as the value of an override, whatever is in it."""
    return QuotedString(text.replace("${", r"\${"), Quote.single).with_quotes()


def with_words(command: Sequence[str], words: Mapping[str, str | None]) -> list[str]:
    """A command line with further overrides, which count most; behind the others, where Hydra wants
    them."""
    overrides = read_arguments(command[1:]).overrides
    end = len(command)
    if overrides:
        end -= list(reversed(command)).index(overrides[-1])
    more = [f"{key}={'null' if value is None else quoted(value)}" for key, value in words.items()]
    return [*command[:end], *more, *command[end:]]
