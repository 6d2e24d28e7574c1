"""Table 6: average precision of each class on PASCAL VOC 2012, and the mean."""

from statistics import fmean

from zfnet.studies.reference_results import VOC_2012, VOC_2012_MEANS
from zfnet.studies.report.claims import TABLE_6
from zfnet.studies.report.comparison import DIFFERENCE, HERE, PAPER, Comparison, Label, judge_both
from zfnet.studies.report.measures import Measure, to_measure
from zfnet.studies.report.missing_runs import state_of
from zfnet.studies.report.runs import Problem, Run, RunIndex
from zfnet.studies.report.settings import Setting, group_by_setting
from zfnet.studies.report.transfer import METHODS, VARIED, method_name, method_of

MEANS = {name: Measure(mean) for name, mean in VOC_2012_MEANS.items()}
ROWS = VOC_2012 | {"mean": ("mean", VOC_2012_MEANS["mean"])}


def make_tables(index: RunIndex) -> list[Comparison]:
    """Table 6 of each pre-trained network."""
    runs = [
        run
        for run in index.runs
        if run.choices.get("transfer") in METHODS and run.choices.get("data") == "voc2012"
    ]
    return [_make_table(index, setting) for setting in group_by_setting(runs, VARIED, method_of)]


def _make_table(index: RunIndex, setting: Setting) -> Comparison:
    """The best mean of several methods is compared with those of the paper."""
    here: dict[tuple[str, str], Measure] = {}
    for method in sorted({method_of(run) for run in setting.runs}):
        here |= _measure(method, [run for run in setting.runs if method_of(run) == method])
    methods = list(dict.fromkeys(method for _, method in here))
    means = [measure for (name, _), measure in here.items() if name == "mean"]
    best = {"mean": max(means, key=lambda measure: measure.mean)} if means else {}
    published = {name: measure for name, measure in MEANS.items() if name != "mean"}
    unfinished = [(method_of(run), state_of(index, run)) for run in setting.runs if not run.result]
    columns = [*methods, PAPER]
    return Comparison(
        "Table 6",
        Label(setting.label),
        "average precision (%)",
        {method: method_name(method) for method in methods} | {PAPER: "Zeiler & Fergus"},
        {name: label for name, (label, _) in ROWS.items()},
        here,
        {(row, column): Measure(each) for row, (_, each) in ROWS.items() for column in columns},
        judge_both(TABLE_6, published | best, MEANS),
        shows={method: [HERE, DIFFERENCE] for method in methods} | {PAPER: [PAPER]},
        missing=[
            Problem(method_name(method), *state) for method, state in dict.fromkeys(unfinished)
        ],
    )


def _measure(method: str, runs: list[Run]) -> dict[tuple[str, str], Measure]:
    """The precisions of the classes and "mean", in per cent over runs."""
    results = [
        run.result["val/average_precision"] for run in runs if "val/average_precision" in run.result
    ]
    known = [{name: value for name, value in each.items() if value is not None} for each in results]
    rows = {
        name: [each[name] for each in known if name in each]
        for name in (results[0] if results else ())
    }
    rows["mean"] = [fmean(each.values()) for each in known if each]
    measures = {name: to_measure(values, scale=100) for name, values in rows.items()}
    return {(name, method): measure for name, measure in measures.items() if measure}
