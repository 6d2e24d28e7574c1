"""Table 1: the sign change of features when a part is masked, by analysis=correspondence."""

from dataclasses import replace
from typing import Any

from pydantic import BaseModel, FiniteFloat

from zfnet.studies.reference_results import CORRESPONDENCE
from zfnet.studies.report.claims import TABLE_1
from zfnet.studies.report.comparison import Comparison, Label, Numbers, judge_both
from zfnet.studies.report.measures import Measure
from zfnet.studies.report.runs import Run, RunIndex
from zfnet.studies.report.settings import data_name, net_names

LAYERS = ("layer 5", "layer 7")  # the paper's, compared with the first and the second of the run
PAPER = {
    (part, layer): Measure(*pair)
    for part, row in CORRESPONDENCE.items()
    for layer, pair in row.items()
}


class Change(BaseModel):
    """The sign change by one part at one layer. None if masking never changes the layer."""

    mean: FiniteFloat | None
    std: FiniteFloat | None


class Changes(BaseModel):
    """What the report reads of correspondence.json."""

    images: list[Any]
    layers: dict[str, dict[str, Change]]


def make_tables(index: RunIndex) -> list[Comparison]:
    """Table 1 of each run with two layers."""
    tables = []
    for run in index.analyses("correspondence"):
        changes = index.parse(run, Changes.model_validate)
        if changes and len(changes.layers) == len(LAYERS):
            tables.append(_make_table(run, changes))
    return tables


def _make_table(run: Run, changes: Changes) -> Comparison:
    here = {
        (part, paper_layer): Measure(change.mean, change.std, values=(change.mean,))
        for paper_layer, parts in zip(LAYERS, changes.layers.values(), strict=True)
        for part, change in parts.items()
        if change.mean is not None
    }
    names = zip(LAYERS, changes.layers, strict=True)
    note = (
        f"Mean ± std over pairs of {len(changes.images)} images. The paper has five images of dogs."
    )
    return Comparison(
        "Table 1",
        Label(data_name(run), net_names(run)),
        "sign change",
        {layer: f"{own} ({layer})" for layer, own in names},
        {part: part.replace("_", " ") for part, _ in [*PAPER, *here]},
        here,
        PAPER,
        judge_both(TABLE_1, _means(here), _means(PAPER)),
        digits=3,
        notes=[note],
    )


def _means(numbers: Numbers) -> Numbers:
    """Without deviations: those over pairs of images are not the noise of the mean."""
    return {key: replace(measure, deviation=None) for key, measure in numbers.items()}
