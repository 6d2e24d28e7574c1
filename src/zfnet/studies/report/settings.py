"""Which runs may stand in one table: those that differ in nothing but what the table varies.

    for setting in settings(runs, varied=("model.edit", "model.architecture")): setting.label, setting.runs

Only seeds are varied always, and words that are known to change no number (runs.HARMLESS).
"""

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zfnet.studies.report.runs import HARMLESS, OWN, Run

SEEDS = ("seed", "data.seed", "data.fold")  # what runs of one row may differ in, and are averaged over
OF_FOLDERS = ("folder", "photos", "class_folders")  # data sets whose folder is their name
ORIGINS = {
    "imagenet": "ImageNet 2012",
    "caltech101": "Caltech-101",
    "caltech256": "Caltech-256",
    "voc2012": "PASCAL VOC 2012",
}


@dataclass(frozen=True, eq=False)
class Setting:
    """Runs that share all but what a table varies."""

    label: str
    runs: list[Run]

    @property
    def data(self) -> str:
        return data_name(self.runs[0])


def settings(runs: Sequence[Run], varied: Sequence[str], row: Callable[[Run], Hashable]) -> list[Setting]:
    """The runs by what they share, in the order of their folders. Equal labels get what tells them apart.

    Args:
        runs: that may stand in one kind of table.
        varied: words in which its rows differ.
        row: of a run. Runs of one row that differ in more than a seed stand in a table each.
    """
    groups: dict[tuple[str, int], list[Run]] = {}
    kinds: dict[tuple[str, Hashable], list[str]] = {}
    for run in runs:
        shared, kind = run.signature("seed", "data.seed", *varied), run.signature(*SEEDS)
        known = kinds.setdefault((shared, row(run)), [])
        if kind not in known:
            known.append(kind)
        groups.setdefault((shared, known.index(kind)), []).append(run)
    labels = [label(group[0]) for group in groups.values()]
    result = []
    for name, group in zip(labels, groups.values(), strict=True):
        if labels.count(name) > 1:
            own = sorted(word for word in _common(group) - _common(runs) if not word.startswith(OWN))
            name = f"{name} ({' '.join(own) or f'{len(group)} runs'})"
        result.append(Setting(name, group))
    return result


def label(run: Run) -> str:
    """Data set, size and length of training in a few words, and what else was asked of the trainer."""
    size, epochs = run.word("data.image_size"), run.word("trainer.max_epochs")
    length = [] if run.choices.get("transfer") == "frozen" or epochs is None else [f"{epochs} epochs"]
    quiet = ("trainer.max_epochs", *HARMLESS)
    asked = [
        word for word in run.overrides if (key := _key(word)).startswith("trainer.") and key not in quiet
    ]
    return ", ".join([data_name(run), *([f"{size} pixels"] if size else []), *length, *asked])


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def data_name(run: Run) -> str:
    """The word of `data=`; a folder's name where that says more."""
    choice, root = run.choices.get("data") or "unknown data", run.word("data.root")
    if choice == "checkpoint":  # analyze.py without data=: its config says what that came to
        choice = run.word("data.source._target_", "creatures").rpartition(".")[2]
    return f"{choice} {Path(root).name}" if choice in OF_FOLDERS and root else choice


def net_name(ckpt: str) -> str:
    """Of `ckpt=` or `model.weights=`: the run's folder says more than last.ckpt does."""
    path = Path(ckpt)
    return path.parent.parent.name if path.parent.name == "checkpoints" else path.name


def ablation(run: Run) -> tuple[str, str]:
    """(architecture, ablation) as Table 3 is keyed; an edit by hand is none of its rows, and is said in full."""
    name, edit = run.choices.get("ablation") or "none", run.word("model.edit")
    by_hand = any(_key(word).startswith("model.edit") for word in run.overrides)
    if by_hand or (name == "none" and edit):
        name = f"{name}, edited: {json.dumps(edit, default=str)}"
    return run.word("model.architecture") or run.choices.get("model", ""), name


def _common(runs: Sequence[Run]) -> set[str]:
    return set.intersection(*(set(run.overrides) for run in runs))
