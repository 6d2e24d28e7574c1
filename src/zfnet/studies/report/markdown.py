"""A report as Markdown, its pictures as files beside it.

write(document, "pictures")     # the text of report.md
"""

from zfnet.studies.report.document import Commands, Document, Gallery, Picture, Section, Table, Words


def write(document: Document, folder: str) -> str:
    """The whole text; the pictures are in `folder`, which is relative to it."""
    parts = [f"# {document.title}", document.subtitle]
    for section in document.sections:
        parts += _section(section, folder)
    return "\n\n".join(parts) + "\n"


def _section(section: Section, folder: str) -> list[str]:
    parts = [f"## {section.title}"]
    for block in section.blocks:
        match block:
            case Words(text):
                parts.append(text)
            case Commands(lines):
                parts.append("\n".join(["```sh", *lines, "```"]))
            case Table():
                parts += _table(block)
            case Picture():
                parts.append(_picture(block, folder))
            case Gallery(pictures):
                parts += [_picture(picture, folder) for picture in pictures]
    return parts


def _picture(picture: Picture, folder: str) -> str:
    return f"![{_plain(picture.caption)}]({folder}/{picture.print.name})\n*{picture.caption}*"


def _table(table: Table) -> list[str]:
    heads = [table.corner, *(f"{group}, {name}" if group else name for group, name in table.columns)]
    lines = [
        _line(heads),
        _line(["---", *("---" if table.wordy(i) else "---:" for i in range(len(table.columns)))]),
    ]
    for row in table.rows:
        cells = row.cells or [""] * len(table.columns)
        lines.append(
            _line([f"**{_cell(row.name)}**" if row.heading else _cell(row.name), *map(_cell, cells)])
        )
    parts = [*([f"**{table.title}**"] if table.title else []), "\n".join(lines)]
    if table.notes:
        parts.append("\n".join(f"- {note}" for note in table.notes))
    return parts


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _plain(text: str) -> str:
    return text.replace("`", "").replace("[", "(").replace("]", ")")
