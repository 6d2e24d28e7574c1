"""Table 1: the sign change of features when a part is masked, by analyze.py analysis=correspondence."""

from zfnet.studies.paper import CORRESPONDENCE
from zfnet.studies.report.claims import TABLE_1
from zfnet.studies.report.compared import Compared
from zfnet.studies.report.document import DIFFERENCE, HERE, PAPER, Row, Table
from zfnet.studies.report.figures import of
from zfnet.studies.report.measures import Measure, beside
from zfnet.studies.report.runs import Found, Run, readable

LAYERS = ("layer 5", "layer 7")  # the paper's, beside the first and the second of the run


def results(found: Found) -> list[Compared]:
    """Table 1 of each run on two layers."""
    return [each for run in found.analyses("correspondence") if (each := readable(found, run, _compared))]


def _compared(run: Run) -> Compared | None:
    layers = run.results["correspondence"]["layers"]
    if len(layers) != len(LAYERS):
        return None
    here = {
        (name, papers): Measure(each["mean"], each["std"])
        for papers, parts in zip(LAYERS, layers.values(), strict=True)
        for name, each in parts.items()
    }
    paper = {
        (name, layer): Measure(*pair) for name, row in CORRESPONDENCE.items() for layer, pair in row.items()
    }
    rows = []
    for name in dict.fromkeys(name for name, _ in [*paper, *here]):
        pairs = [(here.get((name, layer)), paper.get((name, layer))) for layer in LAYERS]
        rows.append(Row(name.replace("_", " "), [cell for pair in pairs for cell in beside(*pair, 3)]))
    heads = [f"{own} ({papers})" for own, papers in zip(layers, LAYERS, strict=True)]
    columns = [(head, name) for head in heads for name in (HERE, PAPER, DIFFERENCE)]
    count = len(run.results["correspondence"]["images"])
    note = f"Mean ± std over pairs of {count} images; the paper has five images of dogs."
    table = Table(f"Table 1: {of(run)}", "sign change", columns, rows, [note])
    return Compared("Table 1", of(run), table, TABLE_1, _means(here), _means(paper))


def _means(numbers: dict[tuple[str, str], Measure]) -> dict[tuple[str, str], Measure]:
    """Without deviations: these are over pairs of images, no noise of the mean."""
    return {key: Measure(measure.mean) for key, measure in numbers.items()}
