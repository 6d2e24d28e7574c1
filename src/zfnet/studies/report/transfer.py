"""Tables 4 and 5 and Figure 9: accuracy per class over k training images per class, pre-trained and from scratch.

Mean and deviation are over folds. Data sets that the paper does not have stand beside its Caltech-101.
"""

from functools import partial

from zfnet.studies.reference_results import CALTECH_101, CALTECH_256, Pair
from zfnet.studies.report.claims import transfer_claims
from zfnet.studies.report.comparison import Comparison
from zfnet.studies.report.document import DIFFERENCE, HERE, PAPER, Row, Table
from zfnet.studies.report.measures import Measure, beside_paper, of_paper, to_measure
from zfnet.studies.report.missing_runs import complete, find_missing
from zfnet.studies.report.runs import Found, Run
from zfnet.studies.report.settings import Setting, net_name, settings
from zfnet.studies.report.text import Code, Text, joined

PAPERS = {"caltech101": ("Table 4", CALTECH_101), "caltech256": ("Table 5", CALTECH_256)}
NAMES = {"scratch": "from scratch", "frozen": "pre-trained, frozen"}
VARIED = (
    *("transfer.method", "transfer.head", "transfer.strengths"),
    *("data.images_per_class", "data.fold", "model"),
)
ACCURACY = "val/class_accuracy"
Key = tuple[str, int]  # how, and images per class


def results(found: Found) -> list[Comparison]:
    """Table 4, 5, or one like them, of each data set."""
    return [
        Comparison(
            title(each),
            each.label,
            _table(found, each),
            transfer_claims(title(each)),
            _accuracies(each),
            _papers(each),
        )
        for each in transfers(found)
    ]


def transfers(found: Found) -> list[Setting]:
    """Runs on few images per class by data set and pre-trained net."""
    runs = [
        run
        for run in found.runs
        if run.choices.get("transfer") in NAMES and run.word("data.images_per_class")
    ]
    return settings(runs, VARIED, key)


def method(run: Run) -> str:
    """frozen or scratch, and the frozen net's new head where it is not the paper's softmax."""
    how, head = str(run.choices["transfer"]), run.word("transfer.head")
    return how if how == "scratch" or head in (None, "softmax") else f"{how} {head}"


def key(run: Run) -> Key:
    return method(run), int(run.word("data.images_per_class"))


def _accuracies(setting: Setting) -> dict[Key, Measure]:
    """In per cent over folds, of what is finished."""
    found = {}
    for each in sorted({key(run) for run in setting.runs}):
        runs = [run for run in setting.runs if key(run) == each and ACCURACY in run.result]
        folds = [(run.word("data.fold"), run.word("seed")) for run in runs]
        if measure := to_measure([run.result[ACCURACY] for run in runs], 100, [str(fold) for fold in folds]):
            found[each] = measure
    return found


def _rows(setting: Setting) -> dict[str, dict[int, Pair]]:
    """The paper's table for the data set."""
    return PAPERS.get(setting.data, PAPERS["caltech101"])[1]


def _papers(setting: Setting) -> dict[Key, Measure]:
    """Its rows scratch and frozen, as `accuracies` has them."""
    rows = _rows(setting)
    return {(how, k): Measure(*pair) for how in NAMES for k, pair in rows[how].items()}


def _table(found: Found, setting: Setting) -> Table:
    """Rows of the paper and ours; a group of columns for each k."""
    here, paper = _accuracies(setting), _rows(setting)
    of_paper_too = setting.data in PAPERS
    ks = sorted({key(run)[1] for run in setting.runs} | (set(paper["frozen"]) if of_paper_too else set()))
    methods = sorted({method(run) for run in setting.runs} | set(NAMES), reverse=True)
    rows = [
        Row(name, [cell for k in ks for cell in beside_paper(None, of_paper(pairs.get(k)))] + [""])
        for name, pairs in paper.items()
        if name not in NAMES and of_paper_too
    ]
    for how in methods:
        cells = [
            cell
            for k in ks
            for cell in beside_paper(here.get((how, k)), of_paper(paper[how.split()[0]].get(k)))
        ]
        folds = [each.count for (name, _), each in here.items() if name == how]
        rows.append(Row(row_name(how), [*cells, str(min(folds)) if folds else ""]))
    absent = [(how, k) for how in methods for k in ks if (how, k) not in here]
    columns = [(f"{k} images per class", name) for k in ks for name in (HERE, PAPER, DIFFERENCE)]
    command = partial(_command, setting)
    notes = find_missing(
        found, setting.runs, absent, key, lambda each: f"{row_name(each[0])}, {each[1]}", command
    )
    return Table(
        f"{title(setting)} on {setting.label}",
        "accuracy per class (%)",
        [*columns, ("", "folds")],
        rows,
        [_pre_trained(setting), *notes],
    )


def _pre_trained(setting: Setting) -> Text:
    """On what the frozen net was trained, as far as its name tells, and where it is read."""
    nets = dict.fromkeys(str(run.config.get("ckpt") or run.word("model.weights")) for run in setting.runs)
    layer = setting.runs[0].word("transfer.layer") or "the layer before the classifier"
    paper = "in the paper: on ImageNet 2012, at 224 pixels, at layer 7."
    return ["Pre-trained here: ", joined(Code(net_name(net)) for net in nets), f", read at {layer}; {paper}"]


def title(setting: Setting) -> str:
    return PAPERS[setting.data][0] if setting.data in PAPERS else "Tables 4 and 5"


def row_name(how: str) -> str:
    word, _, rest = how.partition(" ")
    return f"{NAMES[word]} ({rest})" if rest else NAMES[word]


def curves(setting: Setting) -> dict[str, list[tuple[int, Measure]]]:
    """Figure 9: points over k of each method."""
    points: dict[str, list[tuple[int, Measure]]] = {}
    for (how, k), measure in sorted(_accuracies(setting).items()):
        points.setdefault(row_name(how), []).append((k, measure))
    return points


def papers_curves(rows: dict[str, dict[int, Pair]]) -> dict[str, list[tuple[int, Measure]]]:
    """The same of a table of the paper, all its rows."""
    return {
        NAMES.get(name, name): [(k, measure) for k, pair in pairs.items() if (measure := of_paper(pair))]
        for name, pairs in rows.items()
    }


def _command(setting: Setting, each: Key) -> str:
    run, (how, k) = setting.runs[0], each
    if run.choices.get("experiment"):
        return complete(run, {"transfer": None, "data.images_per_class": None, "data.fold": None})
    return complete(run, {"transfer": how.split()[0], "data.images_per_class": str(k)})
