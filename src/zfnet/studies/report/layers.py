"""Table 7: linear classifiers on the features of each layer, by analysis=layer_probe.

A table for each number of images per class. The paper has Caltech-101 at 30 and Caltech-256 at 60.
Other data sets are compared with the former.
"""

from functools import partial

from pydantic import BaseModel, FiniteFloat

from zfnet.studies.reference_results import LAYERS
from zfnet.studies.report.claims import TABLE_7
from zfnet.studies.report.comparison import Comparison, Key, Label, judge_both
from zfnet.studies.report.measures import Measure, to_measure
from zfnet.studies.report.runs import Run, RunIndex
from zfnet.studies.report.settings import data_name, net_names

HEADS = {"svm": "SVM", "softmax": "softmax"}


class Folds(BaseModel):
    """The accuracy of a layer's classifier on each fold."""

    folds: list[FiniteFloat]


class Probe(BaseModel):
    """What the report reads of layer_probe.json: accuracies by layer, head and images per class."""

    layers: dict[str, dict[str, dict[int, Folds]]]
    numbers: dict[str, int | None]


def make_tables(index: RunIndex) -> list[Comparison]:
    """Table 7 of each run and number of images per class."""
    tables = []
    for run in index.analyses("layer_probe"):
        tables += index.parse(run, partial(_make_tables, run)) or []
    return tables


def _make_tables(run: Run, content: object) -> list[Comparison]:
    """Rows are keyed by the paper's layer number, or by the layer's name if it has none."""
    probe = Probe.model_validate(content)
    # Of several layers with one number, the last.
    names = {number: layer for layer, number in probe.numbers.items() if number}
    keys: dict[str, int | str] = {layer: layer for layer in probe.layers}
    keys |= {layer: number for number, layer in names.items()}
    by_k: dict[int, dict[Key, Measure]] = {}
    for layer, heads in probe.layers.items():
        for head, accuracies in heads.items():
            for k, each in accuracies.items():
                if measure := to_measure(each.folds, 100, range(len(each.folds))):
                    by_k.setdefault(k, {})[keys[layer], head] = measure
    return [_make_table(run, k, here, names) for k, here in sorted(by_k.items())]


def _make_table(run: Run, k: int, here: dict[Key, Measure], names: dict[int, str]) -> Comparison:
    column = 1 if data_name(run) == "caltech256" else 0
    paper = {(layer, head): Measure(*pairs[column]) for (head, layer), pairs in LAYERS.items()}
    layers = {layer for layer, _ in [*here, *paper]}
    rows = {}
    for layer in sorted(layers, key=lambda layer: (isinstance(layer, str), layer)):
        name = layer if isinstance(layer, str) else f"layer {layer}"
        rows[layer] = f"{name} ({names[layer]})" if layer in names else name
    folds = min(measure.count for measure in here.values())
    return Comparison(
        "Table 7",
        Label(f"{data_name(run)}, {k} images per class", net_names(run)),
        "accuracy (%)",
        HEADS,
        rows,
        here,
        paper,
        judge_both(TABLE_7, here, paper),
        notes=[f"Mean ± std over {folds} folds of the mean accuracy per class."],
    )
