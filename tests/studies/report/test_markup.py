"""Markup in whatever the report reads is text, on the page and in the Markdown."""

import datetime
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from tests.studies.report.conftest import RunFolders
from tests.studies.report.written import errors, page, report
from zfnet.studies.reference_results import VOC_2012
from zfnet.studies.report import format, verdicts
from zfnet.studies.report.build import Document, Section
from zfnet.studies.report.comparison import Comparison, Label
from zfnet.studies.report.figures import Entry, Figure
from zfnet.studies.report.images import Image
from zfnet.studies.report.measures import Measure
from zfnet.studies.report.provenance import Commands
from zfnet.studies.report.runs import Job, Machine, Problem, Run, Sweep
from zfnet.studies.report.verdicts import Claim, Verdict

EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "1 ± <b>2</b>",
    "3.0 ± 1.0 ± <i>",
    "`</code><i>`",
    "a | b | c",
    r"a \| b",
    "two\n\n# lines\n- <u>",
    "](javascript:alert(1))",
    "[x](javascript:alert(1)) ![y](http://z)",
    "{{7*7}}{% include 'x' %}{# #}",
    "**bold** _it_ ~~no~~ $x$",
    "&lt;b&gt; &amp; <!-- -->",
    "```\n</pre>\n```",
    "\x00\x1b[31m\udcff\x85",
    "'; onload='x",
]
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "p", "nav", "ol", "ul",
    "li", "a", "main", "section", "code", "pre", "div", "table", "caption", "thead", "tbody", "tr",
    "th", "td", "small", "figure", "img", "figcaption",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "name", "content", "href", "id", "class", "scope", "colspan", "src", "width",
    "height", "alt", "loading",
}  # fmt: skip


class Seen(HTMLParser):
    """Elements with their attributes' names, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)


def every_section(text: str) -> Document:
    """A report with `text` in every place of every section."""
    image = Image("01-a.png", "png", b"png", (2, 2), text)
    label, numbers = Label(text, [text]), {("a", "x"): Measure(1, 2, 3)}
    claim = Claim(text, lambda e: e["a", "x"])
    verdict = Verdict(claim, verdicts.NO_EFFECT, 1.0, 2.0, [text])
    table = Comparison(
        text, label, text, {"x": text, "y": ""}, {"a": text, "b": text}, numbers, numbers,
        [(verdict, verdict)], headings={"a": text}, counted=text, notes=[text, text],
        nets=([text], text),
        missing=[Problem(text, text, text)],
    )  # fmt: skip
    machine = Machine(cpus=2, gpus=[text])
    jobs = [Job(folder=text, state=text)]
    sweep = Sweep(folder=Path("s"), command=text, versions={text: text}, machine=machine, jobs=jobs)
    run = Run(Path("a"), "train", [f"trainer.x={text}"], {"data": text}, {"seed": text})
    figure = Figure("sanity", text, [Entry(label, text, [image]), Entry(None, "", [image, image])])
    contents = {
        "about": [text],
        "agreement": [table],
        "tables": [table],
        "figure": figure,
        "commands": Commands([(sweep, [run])], [text], {text: text}, machine),
        "unfinished": [Problem(text, text, text)],
        "not_run": [text],
    }
    kinds = {
        path.stem for path in (Path(format.__file__).parent / "templates" / "sections").iterdir()
    }
    assert set(contents) == kinds
    sections = [Section(text, kind, content) for kind, content in contents.items()]
    return Document([text], 1, 1, datetime.date(2020, 1, 1), sections)


@pytest.mark.parametrize("evil", EVIL)
def test_every_place_of_every_section(evil: str) -> None:
    plain, found = (
        Seen(format.render(every_section(each), "report.html", "p")) for each in ("zebra", evil)
    )
    assert found.elements == plain.elements
    printable = re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\udcff]", "\ufffd", evil)
    assert found.text.count(printable) == plain.text.count("zebra")


@pytest.mark.parametrize("evil", EVIL)
def test_every_place_of_every_section_in_markdown(evil: str) -> None:
    """As a GitHub-like parser reads it: the same blocks, cells and inline marks; no link, image or
    raw HTML."""
    plain, found = (
        marks(format.render(every_section(each), "report.md", "p")) for each in ("zebra", evil)
    )
    assert found == plain


def marks(text: str) -> list[str]:
    """The kinds of tokens in order; a code element is code."""
    result = []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        result.append(token.type)
        for child in token.children or []:
            if child.type == "html_inline":
                assert child.content in ("<code>", "</code>")
                if child.content == "<code>":
                    result.append("code_inline")
            elif child.type not in ("text", "text_special", "entity"):
                result.append(child.type)
    return result


@pytest.mark.parametrize("evil", ["".join(EVIL[:5]), "".join(EVIL[5:14])])
def test_every_field_that_is_read(runs: RunFolders, tmp_path: Path, evil: str) -> None:
    """Names, overrides, errors, versions, machine, classes, captions: elements are the page's
    own."""
    name = evil.replace("/", "∕")
    run = runs.train(name, "model=alexnet", "ablation=remove_7", result=errors(0.1))
    poison(run, evil)
    runs.image(run / "evolution" / f"{name}.png")
    layers = {"layers": {evil: {"energy_on_object": 0.5, "energy_by_chance": 0.5}}}
    runs.analysis(
        f"top{name}", "analysis=top_activations", "ckpt=a", numbers=layers, images=(name, "b")
    )
    poison(runs.root / f"top{name}", evil)
    occluded = {"class": evil, "probability": 1, "least_probability": 0, "map": evil}
    occluded |= {"drop_on_projection": 1, "drop_anywhere": 1}
    runs.analysis("occ", "analysis=occlusion", "ckpt=a", numbers={"images": [occluded]})
    parts = {part: {"mean": 0.5, "std": 0.1} for part in (evil, "nose")}
    changes = {"images": [1], "layers": {evil: parts, f"{evil}2": parts}}
    runs.analysis("parts", "analysis=correspondence", "ckpt=a", numbers=changes)
    averages = [
        {"name": evil, "nets": [evil, "b"], "crops": 10, "top1_error": 0.5, "top5_error": None}
    ]
    runs.analysis("mean", "analysis=ensemble", "ckpt=a", numbers={"rows": averages})
    precision = dict.fromkeys([*VOC_2012, evil], 0.5)
    voc = runs.train(
        "voc",
        "data=voc2012",
        "transfer=frozen",
        "ckpt=a",
        result={"val/average_precision": precision},
    )
    poison(voc, evil)
    jobs: list[dict[str, Any]] = [
        {"folder": evil, "state": evil, "error": evil},
        {"folder": "b", "state": "failed", "error": evil},
    ]
    runs.sweep("sweep", "python train.py x", jobs)
    runs.train("sweep/b", "model=zfnet", "ablation=fc_2048")
    manifest = runs.root / "sweep" / "sweep.json"
    about = json.loads(manifest.read_text())
    about["machine"]["gpus"], about["versions"] = [evil], {evil: evil}
    about["command"] = f"python train.py {json.dumps(evil)}"
    manifest.write_text(json.dumps(about))
    (run / "history.json").write_text(json.dumps([evil]))
    text = report(tmp_path / "report")
    html = page(tmp_path / "report")
    seen = Seen(html)
    assert seen.text.count(evil) > 20
    assert {tag for tag, _ in seen.elements} <= ALLOWED
    assert {name for _, names in seen.elements for name in names} <= ATTRIBUTES
    assert not re.search(
        "<(script|b|i|u|img src=x)[ >]", re.sub("<pre>.*?</pre>", "", html, flags=re.S)
    )
    assert not {kind for kind in marks(text) if "link" in kind or "html" in kind}
    assert text.count("\n| --- |") == marks(text).count("table_open") == html.count("<table>")


def poison(folder: Path, evil: str) -> None:
    """The run's words and files chosen in conf/, with `evil` in each."""
    hydra = folder / ".hydra" / "hydra.yaml"
    about = yaml.safe_load(hydra.read_text())["hydra"]
    about["overrides"]["task"] += [f"name={evil}", f"trainer.x={evil}", f"+x={evil}"]
    if about["runtime"]["choices"]["data"] != "voc2012":
        about["runtime"]["choices"]["data"] = evil
    hydra.write_text(yaml.safe_dump({"hydra": about}))
    config = folder / ".hydra" / "config.yaml"
    words = yaml.safe_load(config.read_text())
    words["seed"], words["ckpt"] = evil, f"{evil}/{evil}"
    words["data"] |= {"image_size": evil}
    words["transfer"] = (words.get("transfer") or {}) | {"layer": evil, "head": evil}
    config.write_text(yaml.safe_dump(words))
