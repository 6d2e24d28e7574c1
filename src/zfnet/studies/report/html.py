"""A report as one HTML page that needs nothing else: style and pictures are inside.

write(document)     # the text of report.html
"""

import base64
import re
from collections.abc import Iterator
from html import escape
from itertools import groupby
from pathlib import Path

from zfnet.studies.report.document import (
    DIFFERENCE,
    HERE,
    PAPER,
    Block,
    Commands,
    Document,
    Gallery,
    Picture,
    Section,
    Table,
    Words,
)

STYLE = (Path(__file__).parent / "report.css").read_text()
CLASSES = {HERE: "here", PAPER: "paper", DIFFERENCE: "difference"}
SHORT = {DIFFERENCE: "diff."}


def write(document: Document) -> str:
    """The whole page."""
    names = [(f"s{number}", section) for number, section in enumerate(document.sections)]
    links = "".join(f'<li><a href="#{name}">{escape(section.title)}</a></li>' for name, section in names)
    body = "".join(_section(name, section) for name, section in names)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(document.title)}</title>
<style>
{STYLE}</style>
</head>
<body>
<header>
<h1>{escape(document.title)}</h1>
<p>{_text(document.subtitle)}</p>
<nav><ol>{links}</ol></nav>
</header>
<main>
{body}</main>
</body>
</html>
"""


def _section(name: str, section: Section) -> str:
    blocks = "".join(_block(block) for block in section.blocks)
    return f'<section id="{name}">\n<h2>{escape(section.title)}</h2>\n{blocks}</section>\n'


def _block(block: Block) -> str:
    match block:
        case Words(text):
            return f"<p>{_text(text)}</p>\n"
        case Commands(lines):
            return f"<pre>{escape(chr(10).join(lines))}</pre>\n"
        case Table():
            return _table(block)
        case Picture():
            return _picture(block)
        case Gallery(pictures):
            return f'<div class="gallery">\n{"".join(_picture(each) for each in pictures)}</div>\n'


def _text(text: str) -> str:
    """Escaped, with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _picture(picture: Picture) -> str:
    shown = picture.print
    address = f"data:{shown.kind};base64,{base64.b64encode(shown.data).decode()}"
    width, height = shown.size
    image = f'<img src="{address}" width="{width}" height="{height}" alt="{escape(picture.caption)}" loading="lazy">'
    return f"<figure>{image}<figcaption>{_text(picture.caption)}</figcaption></figure>\n"


def _table(table: Table) -> str:
    rows = "".join(_rows(table))
    notes = "".join(f"<li>{_text(note)}</li>" for note in table.notes)
    caption = f"<caption>{_text(table.title)}</caption>\n" if table.title else ""
    return (
        f'<div class="scroll"><table>\n{caption}'
        f"<thead>\n{_head(table)}</thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
        + (f'<ul class="notes">{notes}</ul>\n' if notes else "")
    )


def _head(table: Table) -> str:
    """One line, or two where columns are grouped."""
    names = "".join(
        f'<th scope="col" class="{_class(table, column)}">{escape(SHORT.get(name, name))}</th>'
        for column, (_, name) in enumerate(table.columns)
    )
    corner = f'<th scope="col">{escape(table.corner)}</th>'
    if not any(group for group, _ in table.columns):
        return f"<tr>{corner}{names}</tr>\n"
    groups = "".join(
        f'<th scope="colgroup" colspan="{len(list(members))}" class="group">{escape(group)}</th>'
        for group, members in groupby(group for group, _ in table.columns)
    )
    return f'<tr class="groups"><td></td>{groups}</tr>\n<tr>{corner}{names}</tr>\n'


def _rows(table: Table) -> Iterator[str]:
    for row in table.rows:
        if row.heading:
            span = len(table.columns) + 1
            yield f'<tr class="heading"><th scope="rowgroup" colspan="{span}">{_text(row.name)}</th></tr>\n'
        else:
            cells = "".join(
                f'<td class="{_class(table, column)}">{_number(cell)}</td>'
                for column, cell in enumerate(row.cells)
            )
            yield f'<tr><th scope="row">{_text(row.name)}</th>{cells}</tr>\n'


def _class(table: Table, column: int) -> str:
    """Its kind, whether it opens a group, and whether it holds words."""
    group, name = table.columns[column]
    kinds = [CLASSES.get(name, "")]
    if column == 0 or table.columns[column - 1][0] != group:
        kinds.append("opens")
    if table.wordy(column):
        kinds.append("words")
    return " ".join(filter(None, kinds))


def _number(cell: str) -> str:
    """A mean with its deviation set apart, so that the means stand under one another."""
    mean, plus_minus, deviation = cell.partition(" ± ")
    return f"{_text(mean)}<small> ± {deviation}</small>" if plus_minus else _text(cell)
