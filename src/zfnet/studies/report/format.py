"""Formats the report as an HTML page, and as Markdown with its images in a folder.

    render(document, "report.html", images="images")
    render(document, "report.md", images="images")

Both templates include the same sections, and import macros that write them as HTML or Markdown.
They escape all values: text of files, names and errors is shown, and is never markup."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from zfnet.studies.report import verdicts
from zfnet.studies.report.measures import Measure
from zfnet.studies.report.runs import relative_path
from zfnet.studies.report.settings import describe

# Bytes that are not UTF-8 are included.
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)")  # characters with a meaning within a line
OPTIONS: dict[str, Any] = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}


def render(document: Any, template: str, images: str) -> str:
    """The text of a report.

    Args:
        document: the model, a `build.Document`.
        template: report.html or report.md.
        images: the name of the folder with the images.
    """
    environment = _environment(markdown=template.endswith(".md"))
    return environment.get_template(template).render(
        document=document, images=images, verdicts=verdicts
    )


def summarize(analysis: str, results: Any) -> str:
    """The key numbers of an analysis' JSON in a line of plain text, by templates/summaries.jinja.

    Raises:
        UndefinedError: a key is missing.
        TypeError: a value has another type.
    """
    environment = Environment(loader=PackageLoader(__package__), **OPTIONS)
    environment.filters["percent"] = lambda value: (
        "nan" if value is None else f"{100 * value:.0f} %"
    )
    environment.filters["decimals"] = lambda value, digits=2: (
        "nan" if value is None else f"{value:.{digits}f}"
    )
    template = environment.get_template("summaries.jinja")
    text = " ".join(getattr(template.module, analysis)(results).split())
    return text.removesuffix(";")


@cache
def _environment(markdown: bool) -> Environment:
    """Escapes by default. In Markdown, Markup is text that is escaped already."""
    escape: Callable[[str], str] = _escape_markdown if markdown else _replace_unprintable
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else escape(str(value)),
        keep_trailing_newline=True,
        **OPTIONS,
    )
    environment.filters |= {
        "code": _markdown_code if markdown else _html_code,
        "cell": format_cell,
        "fenced": _fence,
        "groups": _group_columns,
        "small_deviation": _small_deviation,
        "counts": Counter,
        "describe": describe,
        "path": relative_path,
    }
    return environment


def format_cell(value: Measure | float | str | None, digits: int = 1, sign: bool = False) -> str:
    """A cell of a table.

    Args:
        value: a Measure is shown with its deviation, a float (a difference) with its sign.
        digits: decimals.
        sign: also shows the sign of a measure.
    """
    if value is None or isinstance(value, str):
        return value or ""
    if not isinstance(value, Measure):
        return _format_signed(value, digits)
    mean = _format_signed(value.mean, digits)
    deviation = "" if value.deviation is None else f" ± {value.deviation:.{digits}f}"
    return f"{mean if sign else mean.removeprefix('+')}{deviation}"


def _format_signed(value: float, digits: int) -> str:
    """With its sign, a minus as wide as a plus. What rounds to 0 has none."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def _group_columns(columns: Iterable[tuple[str, str]]) -> list[tuple[str, int]]:
    """The headings above the columns and how many columns each spans. Empty if there are none."""
    groups = [(name, len(list(same))) for name, same in groupby(group for group, *_ in columns)]
    return groups if any(name for name, _ in groups) else []


def _small_deviation(cell: str) -> str:
    """Puts the deviation of a number in small print, in HTML."""
    number = re.fullmatch(r"([+−]?[\d.]+)( ± [\d.]+)", cell)
    return Markup("{}<small>{}</small>").format(*number.groups()) if number else cell


def _replace_unprintable(text: str) -> str:
    return UNPRINTABLE.sub("\ufffd", text)


def _html_code(text: str) -> Markup:
    return Markup("<code>{}</code>").format(_replace_unprintable(text))


def _escape_markdown(text: str) -> Markup:
    """On one line, with no character that has a meaning in Markdown or HTML."""
    line = " ".join(_replace_unprintable(text).split("\n"))
    line = re.sub(r"&(?=[#\w]+;)", "&amp;", line).replace("<", "&lt;").replace(">", "&gt;")
    return Markup(MARKDOWN.sub(r"\\\g<0>", line))


def _markdown_code(text: str) -> Markup:
    """Between backticks, or in an element if it contains backticks or would end a table cell."""
    if re.search(r"[`|\n]", text) or not text.strip():
        return Markup(f"<code>{_escape_markdown(text)}</code>")
    return Markup(f"`{_replace_unprintable(text)}`")


def _fence(lines: Sequence[str]) -> Markup:
    """A block of code in Markdown, its fence longer than any within."""
    text = _replace_unprintable("\n".join(lines))
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text) or [""]))
    return Markup(f"{fence}sh\n{text}\n{fence}")
