"""Table 2: single networks and averages of several, tested on ten crops.

Single networks are the training runs of a setting, averages are those of analysis=ensemble.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, FiniteFloat

from zfnet.studies.reference_results import IMAGENET, OTHERS_ON_IMAGENET
from zfnet.studies.report.ablations import VARIED, train_command, training_runs
from zfnet.studies.report.claims import TABLE_2
from zfnet.studies.report.comparison import PAPER, Comparison, Key, Label, judge_both
from zfnet.studies.report.discovery import read_run
from zfnet.studies.report.measures import Measure
from zfnet.studies.report.runs import Problem, Run, RunIndex, relative_path
from zfnet.studies.report.settings import Setting, ablation_of, data_name, group_by_setting

COLUMNS = {"val top-1": "top1_error", "val top-5": "top5_error"}
SINGLE = {
    ("alexnet", "none"): "alexnet",
    ("zfnet", "none"): "zfnet",
    ("zfnet", "wide_3_4_5"): "wide",
}  # the rows of single networks
AVERAGES = {("zfnet",): "zfnets", ("wide", "zfnet"): "zfnets and wide"}  # the rows of averages
CROPS = 10
ROWS = {errors.name: errors for errors in OTHERS_ON_IMAGENET} | IMAGENET
REFERENCE = {
    (row, column): Measure(value)
    for row, errors in ROWS.items()
    for column, value in zip((*COLUMNS, "test top-5"), errors[1:], strict=True)
    if value is not None
}


class Average(BaseModel):
    """Networks whose probabilities were averaged, and the errors."""

    name: str
    nets: list[str]
    crops: int
    top1_error: FiniteFloat
    top5_error: FiniteFloat | None

    @property
    def measures(self) -> dict[str, Measure]:
        """The errors in per cent by column. An average counts its networks, and has one value."""
        errors = {column: getattr(self, key) for column, key in COLUMNS.items()}
        return {
            column: Measure(100 * error, None, len(self.nets), (100 * error,))
            for column, error in errors.items()
            if error is not None
        }


class Ensemble(BaseModel):
    """What the report reads of ensemble.json."""

    rows: list[Average]


def make_tables(index: RunIndex) -> list[Comparison]:
    """Table 2 of each setting with several kinds of networks, or of all settings if there is none.

    Ensembles of networks whose runs were not found have a table each.
    """
    single = [
        run
        for run in training_runs(index)
        if ablation_of(run) in SINGLE and "test/top1_error" in run.result
    ]
    ensembles = [run for run in index.analyses("ensemble") if run.get("split", "val") == "val"]
    settings = group_by_setting(single, VARIED, ablation_of)
    groups = {setting: [run for run in ensembles if _is_of(run, setting)] for setting in settings}
    several = [each for each in groups if groups[each] or len(set(map(ablation_of, each.runs))) > 1]
    tables = [_make_table(index, each.label, each, groups[each]) for each in several or groups]
    known = [run for runs in groups.values() for run in runs]
    others = [run for run in ensembles if run not in known]
    return tables + [_make_table(index, data_name(run), None, [run]) for run in others]


def _is_of(ensemble: Run, setting: Setting) -> bool:
    """Whether all its networks were trained in the setting."""
    nets = ensemble.config.get("ckpt") or []
    folders = {_run_folder(net) for net in (nets if isinstance(nets, list) else [nets])}
    return folders <= {run.folder for run in setting.runs}


def _run_folder(ckpt: str) -> Path:
    """RUN of RUN/checkpoints/last.ckpt."""
    return Path(ckpt).resolve().parent.parent


def _make_table(
    index: RunIndex, label: str, setting: Setting | None, ensembles: Sequence[Run]
) -> Comparison:
    here: dict[Key, Measure] = {}
    for run in ensembles:
        ensemble = index.parse(run, Ensemble.model_validate)
        for average in ensemble.rows if ensemble else []:
            if average.crops == CROPS:
                row = _row_of(average.nets) or ("other", average.name)
                here |= {(row, column): measure for column, measure in average.measures.items()}
    if setting:
        single = setting.measure(
            {name: f"test/{key}" for name, key in COLUMNS.items()}, ablation_of
        )
        here |= {(SINGLE[row], column): measure for (row, column), measure in single.items()}
    others = {row: row[1] for row, _ in here if row not in ROWS}
    return Comparison(
        "Table 2",
        Label(label),
        "error (%)",
        {column: column for column in (*COLUMNS, "test top-5")},
        {row: errors.name for row, errors in ROWS.items()} | others,
        here,
        REFERENCE,
        judge_both(TABLE_2, here, REFERENCE),
        shows={"test top-5": [PAPER]},
        counted="nets",
        missing=_find_missing(here, setting) if setting else (),
    )


def _row_of(nets: list[str]) -> str | None:
    """The paper's row of some networks, None if it has none."""
    runs = [read_run(_run_folder(net)) for net in nets]
    kinds = {SINGLE.get(ablation_of(run)) if run else None for run in runs}
    if len(nets) == 1:
        return kinds.pop()
    return AVERAGES.get(tuple(sorted(map(str, kinds))))


def _find_missing(here: Mapping[Key, Measure], setting: Setting) -> list[Problem]:
    """Single networks to be trained in this setting, and averages of those that were trained."""
    runs: dict[str, list[Run]] = {row: [] for row in SINGLE.values()}
    for run in setting.runs:
        runs[SINGLE[ablation_of(run)]].append(run)
    commands = {row: train_command(setting, key) for key, row in SINGLE.items()}
    zfnets, wide = runs["zfnet"][:5], runs["wide"][:1]
    for row, nets in {
        "zfnets": zfnets,
        "zfnets and wide": [*zfnets, *wide] if wide else [],
    }.items():
        paths = [relative_path(run.folder / "checkpoints" / "last.ckpt") for run in nets]
        overrides = ["analysis=ensemble", f"ckpt=[{','.join(paths)}]"]
        if len(nets) > 1:
            commands[row] = shlex.join(["python", "analyze.py", *overrides])
    absent = {row: command for row, command in commands.items() if (row, "val top-1") not in here}
    return [Problem(IMAGENET[row].name, "not run yet", line) for row, line in absent.items()]
