"""Table 1: the sign change of features when a part is masked, by analyze.py analysis=correspondence."""

from dataclasses import replace
from typing import Any

from pydantic import BaseModel, FiniteFloat

from zfnet.studies.reference_results import CORRESPONDENCE
from zfnet.studies.report.claims import TABLE_1
from zfnet.studies.report.comparison import Comparison
from zfnet.studies.report.document import DIFFERENCE, HERE, PAPER, Row, Table
from zfnet.studies.report.figures import of
from zfnet.studies.report.measures import Measure, beside_paper
from zfnet.studies.report.runs import Found, Run

LAYERS = ("layer 5", "layer 7")  # the paper's, beside the first and the second of the run


class Change(BaseModel):
    """Of one part and layer; null where no square changes the layer."""

    mean: FiniteFloat | None
    std: FiniteFloat | None


class Changes(BaseModel):
    """What the report reads of correspondence.json."""

    images: list[Any]
    layers: dict[str, dict[str, Change]]


def results(found: Found) -> list[Comparison]:
    """Table 1 of each run on two layers."""
    return [each for run in found.analyses("correspondence") if (each := found.analyzed(run, _compared))]


def _compared(run: Run) -> Comparison | None:
    changes = Changes.model_validate(run.results["correspondence"])
    layers = changes.layers
    if len(layers) != len(LAYERS):
        return None
    here = {
        (name, papers): Measure(each.mean, each.std, values=(each.mean,))
        for papers, parts in zip(LAYERS, layers.values(), strict=True)
        for name, each in parts.items()
        if each.mean is not None
    }
    paper = {
        (name, layer): Measure(*pair) for name, row in CORRESPONDENCE.items() for layer, pair in row.items()
    }
    rows = []
    for name in dict.fromkeys(name for name, _ in [*paper, *here]):
        pairs = [(here.get((name, layer)), paper.get((name, layer))) for layer in LAYERS]
        rows.append(Row(name.replace("_", " "), [cell for pair in pairs for cell in beside_paper(*pair, 3)]))
    heads = [f"{own} ({papers})" for own, papers in zip(layers, LAYERS, strict=True)]
    columns = [(head, name) for head in heads for name in (HERE, PAPER, DIFFERENCE)]
    note = f"Mean ± std over pairs of {len(changes.images)} images; the paper has five images of dogs."
    table = Table(["Table 1: ", of(run)], "sign change", columns, rows, [note])
    return Comparison("Table 1", of(run), table, TABLE_1, _means(here), _means(paper))


def _means(numbers: dict[tuple[str, str], Measure]) -> dict[tuple[str, str], Measure]:
    """Without deviations: these are over pairs of images, no noise of the mean."""
    return {key: replace(measure, deviation=None) for key, measure in numbers.items()}
