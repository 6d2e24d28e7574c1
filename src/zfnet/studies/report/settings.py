"""Which runs may stand in one table: those that differ in nothing but what the table varies.

    for setting in settings(runs, varied=("model.edit", "model.architecture")): setting.label, setting.runs

Seeds, callbacks, folders and the hardware are varied always: they change nothing that the paper's tables speak of.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zfnet.studies.report.runs import OWN, Run

VARIED = (
    "seed", "name", "resume", "test", "callbacks", "channels_last", "data.seed", "data.root", "data.store",
    "data.store_dir", "data.max_bad", "trainer",
)  # fmt: skip
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


def settings(runs: Sequence[Run], varied: Sequence[str]) -> list[Setting]:
    """The runs by what they share, in the order of their folders. Equal labels get what tells them apart."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_shared(run, (*VARIED, *varied)), []).append(run)
    labels = [label(group[0]) for group in groups.values()]
    result = []
    for name, group in zip(labels, groups.values(), strict=True):
        if labels.count(name) > 1:
            own = sorted(word for word in _common(group) - _common(runs) if not word.startswith(OWN))
            name = f"{name} ({' '.join(own) or f'{len(group)} runs'})"
        result.append(Setting(name, group))
    return result


def label(run: Run) -> str:
    """Data set, size and length of training in a few words."""
    size, epochs = run.word("data.image_size"), run.word("trainer.max_epochs")
    length = [] if run.choices.get("transfer") == "frozen" or epochs is None else [f"{epochs} epochs"]
    return ", ".join([data_name(run), *([f"{size} pixels"] if size else []), *length])


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
    """(architecture, ablation) as Table 3 is keyed; an edit by hand is none of its rows."""
    name = run.choices.get("ablation") or "none"
    by_hand = any(word.startswith("model.edit") for word in run.overrides)
    edited = by_hand or (name == "none" and run.word("model.edit"))
    architecture = run.word("model.architecture", str(run.choices.get("model")))
    return architecture, f"{name}, edited" if edited else name


def _shared(run: Run, varied: Sequence[str]) -> str:
    """The config without what is varied, as one comparable word."""
    kept: dict[str, Any] = {"epochs": run.word("trainer.max_epochs"), "data name": data_name(run)}
    for key, value in _leaves(run.config):
        if not any(key == name or key.startswith(f"{name}.") for name in varied):
            kept[key] = value
    return json.dumps(kept, sort_keys=True, default=str)


def _leaves(config: dict[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found = []
    for key, value in config.items():
        if isinstance(value, dict) and value:
            found += _leaves(value, f"{above}{key}.")
        else:
            found.append((f"{above}{key}", value))
    return found


def _common(runs: Sequence[Run]) -> set[str]:
    return set.intersection(*(set(run.overrides) for run in runs))
