"""Tables 4 and 5: accuracy over k training images per class, pre-trained and from scratch.

Mean and deviation are over folds. Other data sets than the paper's are compared with Caltech-101.
"""

from functools import partial

from zfnet.studies.reference_results import CALTECH_101, CALTECH_256, Pair
from zfnet.studies.report.claims import TABLES_4_AND_5
from zfnet.studies.report.comparison import Comparison, Label, judge_both
from zfnet.studies.report.measures import Measure
from zfnet.studies.report.missing_runs import change_command, find_missing
from zfnet.studies.report.runs import Run, RunIndex
from zfnet.studies.report.settings import Setting, group_by_setting, net_name

PAPER = {"caltech101": ("Table 4", CALTECH_101), "caltech256": ("Table 5", CALTECH_256)}
METHODS = {"scratch": "from scratch", "frozen": "pre-trained, frozen"}
VARIED = (
    *("transfer.method", "transfer.head", "transfer.C"),
    *("data.images_per_class", "data.fold", "model"),
)
Key = tuple[str, int]  # method, images per class


def make_tables(index: RunIndex) -> list[Comparison]:
    """Table 4, 5, or one like them, of each data set."""
    return [_make_table(index, setting) for setting in few_image_settings(index)]


def few_image_settings(index: RunIndex) -> list[Setting]:
    """Runs on k images per class by data set and pre-trained network."""
    runs = [
        run
        for run in index.runs
        if run.choices.get("transfer") in METHODS and run.get("data.images_per_class")
    ]
    return group_by_setting(runs, VARIED, key_of)


def method_of(run: Run) -> str:
    """frozen or scratch, and the head on the frozen network if it is not the paper's softmax."""
    method, head = run.choices["transfer"], run.get("transfer.head")
    return method if method == "scratch" or head in (None, "softmax") else f"{method} {head}"


def method_name(method: str) -> str:
    """The name of a method in tables and figures."""
    word, _, head = method.partition(" ")
    return f"{METHODS[word]} ({head})" if head else METHODS[word]


def key_of(run: Run) -> Key:
    """Method and images per class."""
    return method_of(run), int(run.get("data.images_per_class"))


def measure_accuracies(setting: Setting) -> dict[Key, Measure]:
    """Accuracies in per cent over folds, sorted by method and images per class."""
    measures = setting.measure(
        {"accuracy": "val/class_accuracy"},
        key_of,
        lambda run: str((run.get("data.fold"), run.get("seed"))),
    )
    return {
        key: measure for (key, _), measure in sorted(measures.items(), key=lambda item: item[0])
    }


def reference(setting: Setting) -> tuple[str, dict[str, dict[int, Pair]]]:
    """Title and rows of the paper's table that the setting is compared with."""
    return PAPER.get(setting.data, ("Tables 4 and 5", CALTECH_101))


def _make_table(index: RunIndex, setting: Setting) -> Comparison:
    here = measure_accuracies(setting)
    title, published = reference(setting)
    in_paper = setting.data in PAPER
    keys = {key_of(run) for run in setting.runs}
    ks = sorted({k for _, k in keys} | (set(published["frozen"]) if in_paper else set()))
    methods = sorted({method for method, _ in keys} | set(METHODS), reverse=True)
    others = [name for name in published if name not in METHODS and in_paper]
    paper = {
        (row, k): Measure(*pair)
        for row in [*others, *methods]
        for k, pair in published[row if row in published else row.split()[0]].items()
    }
    names = {method: method_name(method) for method in methods}
    absent = {
        (method, k): f"{name}, {k}"
        for method, name in names.items()
        for k in ks
        if (method, k) not in here
    }
    nets = dict.fromkeys(
        str(run.config.get("ckpt") or run.get("model.weights")) for run in setting.runs
    )
    layer = setting.runs[0].get("transfer.layer") or "the layer before the classifier"
    command = partial(_command, setting)
    return Comparison(
        title,
        Label(setting.label),
        "accuracy per class (%)",
        {k: f"{k} images per class" for k in ks},
        {name: name for name in others} | names,
        here,
        paper,
        judge_both(
            TABLES_4_AND_5, here, {key: each for key, each in paper.items() if key[0] in METHODS}
        ),
        counted="folds",
        nets=([net_name(net) for net in nets], str(layer)),
        missing=find_missing(index, setting.runs, absent, key_of, command),
    )


def _command(setting: Setting, key: Key) -> str:
    """The command of a row that was not started."""
    run, (method, k) = setting.runs[0], key
    if run.choices.get("experiment"):
        return change_command(
            run, dict.fromkeys(("transfer", "data.images_per_class", "data.fold"))
        )
    return change_command(run, {"transfer": method.split()[0], "data.images_per_class": str(k)})
