"""Table 7: what a linear classifier reads from each layer, by analyze.py analysis=layer_probe.

A table for each number of images per class. The paper has Caltech-101 at 30 and Caltech-256 at 60; other data sets
stand beside the former.
"""

from pydantic import BaseModel, FiniteFloat

from zfnet.studies.reference_results import LAYERS, Pair
from zfnet.studies.report.claims import TABLE_7
from zfnet.studies.report.comparison import Comparison
from zfnet.studies.report.document import DIFFERENCE, HERE, PAPER, Row, Table
from zfnet.studies.report.figures import of
from zfnet.studies.report.measures import Measure, beside_paper, of_paper, to_measure
from zfnet.studies.report.runs import Found, Run
from zfnet.studies.report.settings import data_name

COLUMNS = {"caltech101": 0, "caltech256": 1}  # of the paper's table
HEADS = {"svm": "SVM", "softmax": "softmax"}
Key = tuple[str, int | str]  # head, and the layer: the paper's number, or its name where it has none


class Folds(BaseModel):
    """The accuracies of a layer's classifier."""

    folds: list[FiniteFloat]


class Probe(BaseModel):
    """What the report reads of layer_probe.json: accuracies by layer, head and images per class."""

    layers: dict[str, dict[str, dict[int, Folds]]]
    numbers: dict[str, int | None]


def results(found: Found) -> list[Comparison]:
    """Table 7 of each run and number of images per class."""
    return [each for run in found.analyses("layer_probe") for each in found.analyzed(run, _tables) or []]


def _tables(run: Run) -> list[Comparison]:
    """One for each k: layers by number, folds averaged."""
    probe = Probe.model_validate(run.results["layer_probe"])
    layers, numbers = probe.layers, probe.numbers
    names = {number: layer for layer, number in numbers.items() if number}  # of two with one number the last
    keys = {layer: layer for layer in layers} | {layer: number for number, layer in names.items()}
    found: dict[int, dict[Key, Measure]] = {}
    for layer, heads in layers.items():
        for head, by_k in heads.items():
            for k, about in by_k.items():
                if each := to_measure(about.folds, 100, range(len(about.folds))):
                    found.setdefault(k, {})[head, keys[layer]] = each
    return [_compared(run, k, here, names) for k, here in sorted(found.items())]


def _compared(run: Run, k: int, here: dict[Key, Measure], names: dict[int, str]) -> Comparison:
    label = [of(run), f", {k} images per class"]
    paper: dict[Key, Measure] = {
        key: each for key, pair in LAYERS.items() if (each := of_paper(_pair(run, pair)))
    }
    rows = []
    for layer in sorted(
        {each for _, each in [*here, *paper]}, key=lambda each: (isinstance(each, str), each)
    ):
        name = layer if isinstance(layer, str) else f"layer {layer}"
        name += f" ({names[layer]})" if layer in names else ""
        cells = [beside_paper(here.get((head, layer)), paper.get((head, layer))) for head in HEADS]
        rows.append(Row(name, [cell for three in cells for cell in three]))
    columns = [(name, column) for name in HEADS.values() for column in (HERE, PAPER, DIFFERENCE)]
    folds = min(each.count for each in here.values())
    note = f"Mean ± std over {folds} folds of the mean accuracy per class."
    return Comparison(
        "Table 7",
        label,
        Table(["Table 7: ", label], "accuracy (%)", columns, rows, [note]),
        TABLE_7,
        here,
        paper,
    )


def _pair(run: Run, pair: tuple[Pair, Pair]) -> Pair:
    """The paper's number on the run's data set."""
    return pair[COLUMNS.get(data_name(run), 0)]
