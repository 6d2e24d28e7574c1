"""Table 2: single nets and averages of several, tested on ten crops.

Single nets come from the training runs of a setting, averages from analyze.py analysis=ensemble of them.
"""

import shlex
from collections import Counter
from pathlib import Path

from pydantic import BaseModel, FiniteFloat

from zfnet.studies.reference_results import IMAGENET, OTHERS_ON_IMAGENET, Errors
from zfnet.studies.report.ablations import VARIED, command, trained_whole
from zfnet.studies.report.claims import TABLE_2
from zfnet.studies.report.comparison import Comparison
from zfnet.studies.report.document import DIFFERENCE, HERE, PAPER, Row, Table
from zfnet.studies.report.measures import Measure, beside_paper, format_measure, of_paper, to_measure
from zfnet.studies.report.missing_runs import told
from zfnet.studies.report.runs import Found, Run, relative_path, run_in
from zfnet.studies.report.settings import Setting, ablation, data_name, settings
from zfnet.studies.report.text import Text

COLUMNS = {"val top-1": "top1_error", "val top-5": "top5_error"}
KINDS = {("alexnet", "none"): "alexnet", ("zfnet", "none"): "zfnet", ("zfnet", "wide_3_4_5"): "wide"}
CROPS = 10
Rows = dict[tuple[str, str], Measure]  # by kind and column


class Average(BaseModel):
    """Nets whose probabilities were averaged, and the errors."""

    name: str
    nets: list[str]
    crops: int
    top1_error: FiniteFloat
    top5_error: FiniteFloat | None


class Tested(BaseModel):
    """What the report reads of ensemble.json."""

    rows: list[Average]


def results(found: Found) -> list[Comparison]:
    """Table 2 of each setting with nets to compare, of all settings where none has; and of ensembles of nets whose
    runs are not there."""
    whole = [
        run for run in trained_whole(found) if ablation(run) in KINDS and "test/top1_error" in run.result
    ]
    ensembles = [run for run in found.analyses("ensemble") if run.word("split", "val") == "val"]
    groups = {
        each: [run for run in ensembles if _is_of(run, each)] for each in settings(whole, VARIED, ablation)
    }
    several = [each for each, of in groups.items() if of or len({ablation(run) for run in each.runs}) > 1]
    tables = [_compared(each.label, each, groups[each], found) for each in several or groups]
    known = [run for of in groups.values() for run in of]
    return tables + [_compared(data_name(run), None, [run], found) for run in ensembles if run not in known]


def _is_of(ensemble: Run, setting: Setting) -> bool:
    """Whether all of its nets were trained in the setting."""
    folders = {run.folder for run in setting.runs}
    nets = ensemble.config.get("ckpt") or []
    return all(
        Path(net).resolve().parent.parent in folders for net in (nets if isinstance(nets, list) else [nets])
    )


def _compared(label: str, setting: Setting | None, ensembles: list[Run], found: Found) -> Comparison:
    single = _single(setting) if setting else {}
    several: Rows = {}
    others: dict[str, Rows] = {}
    for run in ensembles:
        for row in found.analyzed(run, lambda run: Tested.model_validate(run.results["ensemble"]).rows) or []:
            if row.crops == CROPS:
                kind = _kind(row.nets)
                into = several if kind in IMAGENET else others.setdefault(row.name, {})
                for column, value in zip(COLUMNS, (row.top1_error, row.top5_error), strict=True):
                    if value is not None and (each := to_measure([value], 100, count=len(row.nets))):
                        into[kind, column] = each
    here = {**several, **single}
    rows = [Row(each.name, _cells(each, None, {})) for each in OTHERS_ON_IMAGENET]
    rows += [Row(each.name, _cells(each, kind, here)) for kind, each in IMAGENET.items()]
    rows += [Row(name, _cells(None, next(iter(of))[0], of)) for name, of in others.items() if of]
    columns = [(group, name) for group in COLUMNS for name in (HERE, PAPER, DIFFERENCE)]
    table = Table(
        f"Table 2 on {label}",
        "error (%)",
        [*columns, ("test top-5", PAPER), ("", "nets")],
        rows,
        _missing(here, setting),
    )
    paper = {
        (kind, column): Measure(value)
        for kind, each in IMAGENET.items()
        for column, value in zip(COLUMNS, (each.val_top1, each.val_top5), strict=True)
    }
    return Comparison("Table 2", label, table, TABLE_2, here, paper)


def _kind(nets: list[str]) -> str:
    """A key of the paper's table, or a name of what the nets are."""
    runs = [run_in(Path(net).resolve().parent.parent) for net in nets]
    kinds = Counter(KINDS.get(ablation(run), "other") if run else "unknown" for run in runs)
    if len(nets) == 1:
        return next(iter(kinds))
    return {("zfnet",): "zfnets", ("wide", "zfnet"): "zfnets and wide"}.get(tuple(sorted(kinds)), "others")


def _single(setting: Setting) -> Rows:
    """Mean and deviation over seeds of the ten-crop errors of single nets."""
    rows: Rows = {}
    for key, kind in KINDS.items():
        for column, name in COLUMNS.items():
            runs = [run for run in setting.runs if ablation(run) == key and f"test/{name}" in run.result]
            if each := to_measure([run.result[f"test/{name}"] for run in runs], scale=100):
                rows[kind, column] = each
    return rows


def _cells(paper: Errors | None, kind: str | None, here: Rows) -> list[str]:
    theirs = (paper.val_top1, paper.val_top5) if paper else (None, None)
    cells = [
        cell
        for column, value in zip(COLUMNS, theirs, strict=True)
        for cell in beside_paper(here.get((kind, column)) if kind else None, of_paper(value))
    ]
    ours = here.get((kind, "val top-1")) if kind else None
    return [
        *cells,
        format_measure(of_paper(paper.test_top5 if paper else None)),
        str(ours.count) if ours else "",
    ]


def _missing(here: Rows, setting: Setting | None) -> list[Text]:
    """Single nets to be trained in this setting, then what can be averaged."""
    if setting is None:
        return []
    lines = [
        told("not run yet", IMAGENET[kind].name, command(setting, row))
        for row, kind in KINDS.items()
        if (kind, "val top-1") not in here
    ]
    for kind, members in _averages(setting).items():
        if (kind, "val top-1") not in here and len(members) > 1:
            checkpoints = ",".join(relative_path(run.folder / "checkpoints" / "last.ckpt") for run in members)
            line = shlex.join(["python", "analyze.py", "analysis=ensemble", f"ckpt=[{checkpoints}]"])
            lines.append(told("not run yet", IMAGENET[kind].name, line))
    return lines


def _averages(setting: Setting) -> dict[str, list[Run]]:
    """The nets of the paper's ensembles: five of one kind, and one of the other."""
    plain, wide = (
        [run for run in setting.runs if KINDS[ablation(run)] == kind] for kind in ("zfnet", "wide")
    )
    return {"zfnets": plain[:5]} | ({"zfnets and wide": [*plain[:5], wide[0]]} if wide else {})
