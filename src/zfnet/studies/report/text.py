"""Text of a report: words, code, or a list of both. No markup: the templates escape all of it.

plain(["Of ", Code("demo"), "."])     # "Of demo."
"""

from collections.abc import Iterable, Sequence


class Code(str):
    """A command, a path or a name, shown as code."""


Text = str | Sequence["Text"]


def parts(text: Text) -> list[str]:
    """Its words and code, in order."""
    return [text] if isinstance(text, str) else [part for each in text for part in parts(each)]


def plain(text: Text) -> str:
    """Without the difference of words and code."""
    return "".join(parts(text))


def joined(texts: Iterable[Text], between: str = ", ") -> list[Text]:
    """As str.join does."""
    return [part for text in texts for part in (between, text)][1:]
