"""Table 3: rows of both nets by architecture and ablation, mean and deviation over seeds.

A setting (data set, size, epochs, recipe) has one table if anything but the whole nets was trained in it.
"""

from functools import partial

from zfnet.studies.reference_results import ABLATIONS
from zfnet.studies.report.claims import TABLE_3
from zfnet.studies.report.comparison import Comparison
from zfnet.studies.report.document import DIFFERENCE, HERE, PAPER, Row, Table
from zfnet.studies.report.measures import Measure, beside_paper, to_measure
from zfnet.studies.report.missing_runs import complete, find_missing
from zfnet.studies.report.runs import Found, Run
from zfnet.studies.report.settings import Setting, ablation, settings

COLUMNS = {"train top-1": "trained/top1_error", "val top-1": "val/top1_error", "val top-5": "val/top5_error"}
HALVES = {"alexnet": "Krizhevsky's net", "zfnet": "The net of Figure 3"}
EDITED = {row for row in ABLATIONS if row[1] != "none"}
VARIED = ("model.edit", "model.architecture")
Key = tuple[str, str]


def results(found: Found) -> list[Comparison]:
    """Table 3 of each setting in which an ablation was trained."""
    grouped = settings(trained_whole(found), VARIED, ablation)
    grids = [each for each in grouped if any(ablation(run) in EDITED for run in each.runs)]
    return [
        Comparison("Table 3", each.label, _table(found, each), TABLE_3, _errors(each), _papers())
        for each in grids
    ]


def trained_whole(found: Found) -> list[Run]:
    """Training runs of the two nets that are no transfer, finished or not."""
    return [
        run
        for run in found.runs
        if run.script == "train" and not run.choices.get("transfer") and ablation(run)[0] in HALVES
    ]


def _errors(setting: Setting) -> dict[tuple[Key, str], Measure]:
    """By row and column, in per cent over seeds, of what is finished."""
    found = {}
    for row in dict.fromkeys(map(ablation, setting.runs)):
        for column, key in COLUMNS.items():
            values = [run.result[key] for run in setting.runs if ablation(run) == row and key in run.result]
            if each := to_measure(values, scale=100):
                found[row, column] = each
    return found


def _papers() -> dict[tuple[Key, str], Measure]:
    """The same of the paper."""
    return {
        (row, column): Measure(value)
        for row, (_, *values) in ABLATIONS.items()
        for column, value in zip(COLUMNS, values, strict=True)
    }


def _table(found: Found, setting: Setting) -> Table:
    """Every row of the paper, and beneath them what else was edited."""
    here, paper = _errors(setting), _papers()
    others = sorted({ablation(run) for run in setting.runs} - set(ABLATIONS))
    rows = []
    for architecture, heading in HALVES.items():
        rows.append(Row(heading, heading=True))
        for row in [key for key in [*ABLATIONS, *others] if key[0] == architecture]:
            name = ABLATIONS[row].name if row in ABLATIONS else row[1]
            rows.append(Row(name, _cells(row, here, paper)))
    columns = [(group, name) for group in COLUMNS for name in (HERE, PAPER, DIFFERENCE)]
    absent = [row for row in ABLATIONS if (row, "val top-1") not in here]
    return Table(
        f"Table 3 on {setting.label}",
        "error (%)",
        [*columns, ("", "runs")],
        rows,
        find_missing(
            found, setting.runs, absent, ablation, lambda row: ABLATIONS[row].name, partial(command, setting)
        ),
    )


def _cells(
    row: Key, here: dict[tuple[Key, str], Measure], paper: dict[tuple[Key, str], Measure]
) -> list[str]:
    cells: list[str] = []
    for column in COLUMNS:
        cells += beside_paper(here.get((row, column)), paper.get((row, column)))
    count = here.get((row, "val top-1"))
    return [*cells, str(count.count) if count else ""]


def command(setting: Setting, row: Key) -> str:
    """What trains a row that nobody started, in this setting."""
    architecture, name = row
    run = setting.runs[0]
    if str(run.choices.get("experiment")).startswith("table3_"):
        return complete(run, {"model": None, "ablation": None, "experiment": f"table3_{architecture}"})
    return complete(run, {"model": architecture, "ablation": name})
