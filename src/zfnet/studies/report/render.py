"""A report as one HTML page that needs nothing else, and as Markdown with its pictures as files beside it.

    render(document, "report.html"), render(document, "report.md", folder="pictures")

The templates escape whatever they are given: text of files, names and errors is shown, and is never markup.
"""

import re
from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from zfnet.studies.report.document import Document
from zfnet.studies.report.text import Code, parts, plain

UNSHOWN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]"
)  # control characters, bytes that are not UTF-8
MARKED = re.compile(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)")  # what means something inside a line of Markdown
NUMBER = re.compile(r"[+−]?[\d.]+ ± [\d.]+")


def render(document: Document, template: str, **words: str) -> str:
    """The text of report.html or report.md.

    Args:
        document: what it says.
        template: a file of templates/.
        words: what else the template asks for.
    """
    return _environment(template).get_template(template).render(document=document, **words)


def _environment(template: str) -> Environment:
    """Escapes by default, also Markdown, where Markup is what is escaped already."""
    shown: Callable[[str], str] = _in_markdown if template.endswith(".md") else _printable
    environment = Environment(
        loader=PackageLoader("zfnet.studies.report"),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else shown(str(value)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"parts": parts, "plain": plain, "code": _code, "fenced": _fenced}
    environment.tests |= {
        "code": lambda value: isinstance(value, Code),
        "kind": lambda value, name: type(value).__name__ == name,
        "number": lambda value: isinstance(value, str) and NUMBER.fullmatch(value) is not None,
    }
    return environment


def _printable(text: str) -> str:
    return UNSHOWN.sub("\ufffd", text)


def _in_markdown(text: str) -> Markup:
    """On one line, where nothing of it is Markdown or HTML."""
    line = " ".join(_printable(text).split("\n"))
    line = re.sub(r"&(?=[#\w]+;)", "&amp;", line).replace("<", "&lt;").replace(">", "&gt;")
    return Markup(MARKED.sub(r"\\\g<0>", line))


def _code(text: str) -> Markup:
    """Between backticks; as an element where it holds some itself, or would end a cell."""
    if re.search(r"[`|\n]", text) or not text.strip():
        return Markup(f"<code>{_in_markdown(text)}</code>")
    return Markup(f"`{_printable(text)}`")


def _fenced(lines: list[str]) -> Markup:
    """A block of code, its fence longer than any within."""
    text = _printable("\n".join(lines))
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text) or [""]))
    return Markup(f"{fence}sh\n{text}\n{fence}")
