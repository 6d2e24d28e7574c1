"""Table 6: average precision of each class on PASCAL VOC 2012, and the mean."""

from statistics import fmean

from zfnet.studies.reference_results import VOC_2012, VOC_2012_MEANS
from zfnet.studies.report.claims import TABLE_6
from zfnet.studies.report.comparison import Comparison
from zfnet.studies.report.document import DIFFERENCE, HERE, Row, Table
from zfnet.studies.report.measures import Measure, difference, format_measure, to_measure
from zfnet.studies.report.missing_runs import told, what_became
from zfnet.studies.report.runs import Found
from zfnet.studies.report.settings import Setting, settings
from zfnet.studies.report.transfer import NAMES, VARIED, method, row_name

PRECISION = "val/average_precision"


def results(found: Found) -> list[Comparison]:
    """Table 6 of each pre-trained net."""
    return [
        Comparison("Table 6", each.label, _table(found, each), TABLE_6, _means(each), _papers())
        for each in on_voc(found)
    ]


def on_voc(found: Found) -> list[Setting]:
    """Transfer runs with several labels a picture, by pre-trained net."""
    runs = [
        run
        for run in found.runs
        if run.choices.get("transfer") in NAMES and run.choices.get("data") == "voc2012"
    ]
    return settings(runs, VARIED, method)


def _precisions(setting: Setting) -> dict[str, dict[str, Measure]]:
    """Of each method the classes and "mean", in per cent over runs."""
    found: dict[str, dict[str, Measure]] = {}
    for how in sorted({method(run) for run in setting.runs}):
        lists = [
            run.result[PRECISION] for run in setting.runs if method(run) == how and PRECISION in run.result
        ]
        if lists:
            known = [{name: value for name, value in each.items() if value is not None} for each in lists]
            rows = {name: [each[name] for each in known if name in each] for name in lists[0]}
            rows["mean"] = [fmean(each.values()) for each in known if each]
            found[how] = {
                name: each for name, values in rows.items() if (each := to_measure(values, scale=100))
            }
    return found


def _means(setting: Setting) -> dict[str, Measure]:
    """The best method's mean beside the two that the paper compares with."""
    means = [each["mean"] for each in _precisions(setting).values() if "mean" in each]
    others = {name: each for name, each in _papers().items() if name != "mean"}
    return others | ({"mean": max(means, key=lambda each: each.mean)} if means else {})


def _papers() -> dict[str, Measure]:
    return {name: Measure(mean) for name, mean in VOC_2012_MEANS.items()}


def _table(found: Found, setting: Setting) -> Table:
    """A row a class; here and the difference of each method, then the paper's."""
    here = _precisions(setting)
    columns = [(row_name(how), name) for how in here for name in (HERE, DIFFERENCE)]
    columns += [("paper", "Zeiler & Fergus")]
    rows = []
    for name, (label, theirs) in [*VOC_2012.items(), ("mean", ("mean", VOC_2012_MEANS["mean"]))]:
        ours = [each.get(name) for each in here.values()]
        cells = [cell for each in ours for cell in (format_measure(each), difference(each, theirs))]
        rows.append(Row(label, [*cells, f"{theirs:.1f}"]))
    unfinished = [(method(run), what_became(found, run)) for run in setting.runs if not run.result]
    notes = [told(state, row_name(how), line) for how, (state, line) in dict.fromkeys(unfinished)]
    return Table(f"Table 6 on {setting.label}", "average precision (%)", columns, rows, notes)
