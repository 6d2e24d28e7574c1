"""Writes the pages of an atlas: index.html, atlas.css and atlas.js.

    write_pages(folder, [overview], compare=False)

The pages read the data files beside them when they are needed. They work from a folder, without a
server and without a network. All names are escaped: they are shown as text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from zfnet.errors import InputError
from zfnet.io import save

# In this order: the names that a file uses when it is read are those of the files before it.
SCRIPTS = (
    "dom",
    "data",
    "tiles",
    "words",
    "charts",
    "tile_grid",
    "overview",
    "layer",
    "unit",
    "unit_sections",
    "class",
    "compare",
    "search",
    "routes",
)


def write_pages(folder: Path, overviews: Sequence[dict[str, Any]], compare: bool) -> None:
    """Writes index.html, atlas.css and atlas.js.

    Args:
        folder: the folder of the site, which exists.
        overviews: the overview of one network, or of two.
        compare: whether `folder` has compare.js, the comparison of two networks.

    Raises:
        InputError: there are not one or two overviews, a comparison has not two, or a file cannot
            be written.
        ValueError: a number is NaN or infinite.
    """
    if not 1 <= len(overviews) <= 2:
        raise InputError(f"an atlas shows one or two networks, not {len(overviews)}")
    if compare and len(overviews) != 2:
        raise InputError("a comparison needs two networks; give one more")
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    page = environment.get_template("index.html").render(
        title=" and ".join(str(overview["title"]) for overview in overviews),
        data={"nets": list(overviews), "compare": compare},
    )
    save(folder / "index.html", page.encode(errors="replace"))
    save(folder / "atlas.css", _source("atlas.css").encode())
    parts = [_source(f"js/{name}.js") for name in SCRIPTS]
    save(folder / "atlas.js", "\n".join(['(() => {\n"use strict";', *parts, "})();\n"]).encode())


def _source(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
