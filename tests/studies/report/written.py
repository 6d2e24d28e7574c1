"""Runs as train.py and analyze.py leave them, and what a report of them says, read back."""

import json
import re
from html.parser import HTMLParser
from itertools import takewhile
from pathlib import Path

from tests.studies.report.conftest import RunFolders
from zfnet.studies.reference_results import ABLATIONS
from zfnet.studies.report import Report

SEEDS = (1, 2, 3)
COMMAND = "python train.py experiment=table3_alexnet seed=1,2,3 --multirun"


def errors(val: float, **others: float) -> dict[str, float]:
    """A training run's result.json, with all keys that a real one has."""
    result = {
        "val/top1_error": val,
        "val/top5_error": val / 4,
        "val/class_accuracy": 1 - val,
        "val/loss": 10 * val,
        "epochs": 3,
        "train_eval/top1_error": val / 2,
        "seconds": 30.0,
    }
    return result | {"test/top1_error": val, "test/top5_error": val / 4} | others


def grid(runs: RunFolders, architecture: str, lacks: tuple[str, ...] = ()) -> None:
    """A sweep of half of Table 3: a tenth of the paper's error, seeds 0.4 points apart."""
    name, jobs = f"table3_{architecture}", []
    for (net, row), paper in ABLATIONS.items():
        if net != architecture:
            continue
        for seed in SEEDS:
            job = f"ablation-{row}_seed-{seed}"
            words = (f"model={net}", f"ablation={row}", f"seed={seed}")
            result = None if row in lacks else errors(paper.val_top1 / 1000 + 0.004 * (seed - 2))
            folder = runs.train(f"{name}/{job}", *words, result=result)
            history = [{"epoch": epoch, "val/top1_error": 0.5 / epoch} for epoch in (1, 2, 3)]
            (folder / "history.json").write_text(json.dumps(history))
            state = (
                {"state": "failed", "error": "killed by SIGKILL"}
                if row in lacks
                else {"state": "finished"}
            )
            jobs.append({"folder": job, "overrides": list(words), "error": None, **state})
    runs.sweep(name, COMMAND.replace("alexnet", architecture), jobs)


def few(runs: RunFolders, data: str, how: str, k: int, fold: int, accuracy: float) -> None:
    words = (
        f"data={data}",
        f"transfer={how}",
        "ckpt=six.ckpt",
        f"data.images_per_class={k}",
        f"data.fold={fold}",
    )
    result = {"val/class_accuracy": accuracy, "val/top1_error": 1 - accuracy}
    runs.train(f"{data}/{how}-{k}-{fold}", *words, result=result)


def report(folder: Path, *runs: str) -> str:
    """The Markdown; the page beside it is looked at by `page`."""
    folder.mkdir()
    Report().run(list(runs) or ["outputs"], folder)
    return (folder / "report.md").read_text()


def lines_of(text: str, title: str) -> list[tuple[str, list[str]]]:
    """The names and cells of the first table beneath a title that begins so."""
    after = text.split(f"\n{title}", 1)[1]
    lines = [
        line[2:-2].split(" | ") for line in after.split("\n| ", 1)[1].split("\n\n")[0].splitlines()
    ]
    return [(line[0].strip(), [cell.strip() for cell in line[1:]]) for line in lines]


def table(text: str, title: str) -> dict[str, list[str]]:
    return dict(lines_of(text, title))


def agreement(text: str, where: str) -> dict[str, list[str]]:
    """Of each claim about the table `where` the verdict, its margin here and that in the paper."""
    lines = lines_of(text, "## Agreement")
    start = next(i for i, (name, _) in enumerate(lines) if name.startswith(f"**{where}"))
    return dict(takewhile(lambda line: not line[0].startswith("**"), lines[start + 1 :]))


class Page(HTMLParser):
    """Tags that were opened and not closed, addresses, pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.addresses += [
            str(value) for name, value in attrs if name in ("src", "href", "srcset", "data")
        ]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(folder: Path) -> str:
    """The HTML, well formed and in need of nothing outside itself."""
    text = (folder / "report.html").read_text()
    found = Page(text)
    assert not found.open
    assert all(address.startswith(("data:image/", "#")) for address in found.addresses)
    assert not re.search(r"@import|url\(|<script|<link", text)
    return text
