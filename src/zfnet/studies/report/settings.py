"""Which runs may be in one table: those that differ only in the keys that the table varies.

    for setting in group_by_setting(runs, ("model.edit", "model.architecture"), ablation_of):
        setting.label, setting.measure({"val top-1": "val/top1_error"}, ablation_of)

Seeds always vary, and keys that change no result (`runs.HARMLESS`).
"""

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from zfnet.studies.report.measures import Measure, to_measure
from zfnet.studies.report.runs import HARMLESS, SINGLE_RUN, Run

SEEDS = ("seed", "data.seed", "data.fold")  # runs of one row may differ in these, and are averaged
# Data sets that their folder or file identifies.
NAMED_BY_FOLDER = {
    *("folder", "photos", "class_folders"),
    *("csv", "csv_list", "webdataset", "parquet"),
}
PAPER_DATA = {
    "imagenet": "ImageNet 2012",
    "caltech101": "Caltech-101",
    "caltech256": "Caltech-256",
    "voc2012": "PASCAL VOC 2012",
}
K = TypeVar("K", bound=Hashable)
C = TypeVar("C", bound=Hashable)


@dataclass(frozen=True, eq=False)
class Setting:
    """Runs that share all settings but those that a table varies."""

    label: str
    runs: list[Run]

    @property
    def data(self) -> str:
        """The data set's name."""
        return data_name(self.runs[0])

    def measure(
        self,
        columns: Mapping[C, str],
        row_of: Callable[[Run], K],
        fold_of: Callable[[Run], Hashable] | None = None,
    ) -> dict[tuple[K, C], Measure]:
        """Averages the numbers of the finished runs of each row.

        Args:
            columns: the table's columns, and the key of result.json of each.
            row_of: the table row of a run.
            fold_of: the fold of a run, if other rows have values of the same folds.

        Returns:
            Measures in per cent by row and column.
        """
        rows: dict[K, list[Run]] = {}
        for run in self.runs:
            rows.setdefault(row_of(run), []).append(run)
        measures = {}
        for row, runs in rows.items():
            for column, key in columns.items():
                finished = [run for run in runs if key in run.result]
                folds = [fold_of(run) for run in finished] if fold_of else []
                if measure := to_measure([run.result[key] for run in finished], 100, folds):
                    measures[row, column] = measure
        return measures


def group_by_setting(
    runs: Sequence[Run], varied: Sequence[str], row_of: Callable[[Run], Hashable]
) -> list[Setting]:
    """Groups runs by the settings that they share, in the order of the runs.

    Args:
        runs: the runs that may be in one kind of table.
        varied: keys in which the table's rows differ.
        row_of: the table row of a run. Runs of one row that differ in more than a seed are put into
            separate tables.

    Returns:
        The settings. Equal labels are extended by the overrides that differ.
    """
    groups: dict[tuple[str, int], list[Run]] = {}
    kinds: dict[tuple[str, Hashable], list[str]] = {}
    for run in runs:
        shared, kind = run.signature("seed", "data.seed", *varied), run.signature(*SEEDS)
        known = kinds.setdefault((shared, row_of(run)), [])
        if kind not in known:
            known.append(kind)
        groups.setdefault((shared, known.index(kind)), []).append(run)
    labels = [describe(group[0]) for group in groups.values()]
    settings = []
    for label, group in zip(labels, groups.values(), strict=True):
        if labels.count(label) > 1:
            own = _common_overrides(group) - _common_overrides(runs)
            shown = " ".join(sorted(each for each in own if not each.startswith(SINGLE_RUN)))
            label = f"{label} ({shown or f'{len(group)} runs'})"
        settings.append(Setting(label, group))
    return settings


def describe(run: Run) -> str:
    """Data set, image size, epochs, and other overrides of the trainer."""
    size, epochs = run.get("data.image_size"), run.get("trainer.max_epochs")
    parts = [data_name(run), *([f"{size} pixels"] if size else [])]
    if run.choices.get("transfer") != "frozen" and epochs is not None:
        parts.append(f"{epochs} epochs")
    shown_elsewhere = ("trainer.max_epochs", *HARMLESS)
    for override in run.overrides:
        key = _key(override)
        if key.startswith("trainer.") and key not in shown_elsewhere:
            parts.append(override)
    return ", ".join(parts)


def data_name(run: Run) -> str:
    """The choice of `data=`, with the folder's name for data sets that their folder identifies."""
    choice, root = run.choices.get("data") or "unknown data", run.get("data.root")
    if choice == "checkpoint":  # analyze.py writes the checkpoint's data set into its config
        choice = run.get("data.source._target_", "creatures").rpartition(".")[2]
    if choice not in NAMED_BY_FOLDER or not root:
        return choice
    roots = [root] if isinstance(root, str) else root
    return f"{choice} {'+'.join(Path(each).name for each in roots)}"


def net_name(ckpt: str) -> str:
    """The run's folder for OUTPUTS/RUN/checkpoints/last.ckpt, else the file's name."""
    path = Path(ckpt)
    return path.parent.parent.name if path.parent.name == "checkpoints" else path.name


def net_names(run: Run) -> list[str]:
    """The networks that a run of analyze.py looks at."""
    nets = run.config.get("ckpt") or run.get("model.name") or run.get("model.architecture") or []
    return [net_name(net) for net in (nets if isinstance(nets, list) else [nets])]


def ablation_of(run: Run) -> tuple[str, str]:
    """(architecture, ablation), the keys of Table 3. The ablation includes edits by hand."""
    name, edit = run.choices.get("ablation") or "none", run.get("model.edit")
    by_hand = any(_key(override).startswith("model.edit") for override in run.overrides)
    if by_hand or (name == "none" and edit):
        name = f"{name}, edited: {json.dumps(edit, default=str)}"
    return run.get("model.architecture") or run.choices.get("model", ""), name


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _common_overrides(runs: Sequence[Run]) -> set[str]:
    return set.intersection(*(set(run.overrides) for run in runs))
