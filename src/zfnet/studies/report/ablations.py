"""Table 3: both networks by architecture and ablation, mean and deviation over seeds.

A setting (data set, size, epochs, recipe) has one table if an ablation was trained in it.
"""

from functools import partial

from zfnet.studies.reference_results import ABLATIONS
from zfnet.studies.report.claims import TABLE_3
from zfnet.studies.report.comparison import Comparison, Label, judge_both
from zfnet.studies.report.measures import Measure
from zfnet.studies.report.missing_runs import change_command, find_missing
from zfnet.studies.report.runs import Run, RunIndex
from zfnet.studies.report.settings import Setting, ablation_of, group_by_setting

COLUMNS = {
    "train top-1": "train_eval/top1_error",
    "val top-1": "val/top1_error",
    "val top-5": "val/top5_error",
}
HEADINGS = {"alexnet": "Krizhevsky's net", "zfnet": "The net of Figure 3"}
VARIED = ("model.edit", "model.architecture")
PAPER = {
    (row, column): Measure(value)
    for row, (_, *values) in ABLATIONS.items()
    for column, value in zip(COLUMNS, values, strict=True)
}


def make_tables(index: RunIndex) -> list[Comparison]:
    """Table 3 of each setting in which an ablation was trained."""
    settings = group_by_setting(training_runs(index), VARIED, ablation_of)
    edited = {row for row in ABLATIONS if row[1] != "none"}
    return [
        _make_table(index, each)
        for each in settings
        if not edited.isdisjoint(map(ablation_of, each.runs))
    ]


def training_runs(index: RunIndex) -> list[Run]:
    """The runs that train one of the two networks on a whole data set, finished or not."""
    return [
        run
        for run in index.runs
        if run.script == "train"
        and not run.choices.get("transfer")
        and ablation_of(run)[0] in HEADINGS
    ]


def row_names(setting: Setting) -> dict[tuple[str, str], str]:
    """The names of the paper's rows, and of those that only the setting has."""
    others = sorted({ablation_of(run) for run in setting.runs} - set(ABLATIONS))
    return {row: ablation.name for row, ablation in ABLATIONS.items()} | {
        row: row[1] for row in others
    }


def train_command(setting: Setting, row: tuple[str, str]) -> str:
    """The command that trains a row in this setting."""
    architecture, name = row
    run = setting.runs[0]
    if str(run.choices.get("experiment")).startswith("table3_"):
        changes = {"model": None, "ablation": None, "experiment": f"table3_{architecture}"}
        return change_command(run, changes)
    return change_command(run, {"model": architecture, "ablation": name})


def _make_table(index: RunIndex, setting: Setting) -> Comparison:
    """Every row of the paper, and below them those that the paper does not have."""
    here = setting.measure(COLUMNS, ablation_of)
    rows = row_names(setting)
    absent = {row: rows[row] for row in ABLATIONS if (row, "val top-1") not in here}
    command = partial(train_command, setting)
    return Comparison(
        "Table 3",
        Label(setting.label),
        "error (%)",
        {column: column for column in COLUMNS},
        {row: rows[row] for row in sorted(rows, key=lambda row: row[0])},
        here,
        PAPER,
        judge_both(TABLE_3, here, PAPER),
        headings={(architecture, "none"): name for architecture, name in HEADINGS.items()},
        counted="runs",
        missing=find_missing(index, setting.runs, absent, ablation_of, command),
    )
