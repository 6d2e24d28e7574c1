"""What the report draws itself: Figure 9 of all transfer runs, learning curves of sweeps as small multiples."""

from functools import partial

from zfnet.studies.reference_results import ABLATIONS, CALTECH_101, CALTECH_256
from zfnet.studies.report.ablations import VARIED, trained_whole
from zfnet.studies.report.document import Picture, Section, Words
from zfnet.studies.report.measures import Measure
from zfnet.studies.report.pictures import Album
from zfnet.studies.report.runs import Found
from zfnet.studies.report.settings import ablation, settings
from zfnet.studies.report.transfer import curves, papers_curves, transfers
from zfnet.viz.small_multiples import draw_multiples
from zfnet.viz.transfer_curves import Panel, Points, draw_transfer

PAPERS = {"caltech101": CALTECH_101, "caltech256": CALTECH_256}


def figure_9(found: Found, album: Album) -> Section | None:
    """The paper's Caltech-256 first, then a panel for each data set here, the paper's curves in those it has."""
    measured = [(each, points) for each in transfers(found) if (points := curves(each))]
    if not measured:
        return None
    panels = [Panel("the paper, Caltech-256", paper=_points(papers_curves(CALTECH_256)))]
    for each, points in measured:
        own = papers_curves(PAPERS[each.data]) if each.data in PAPERS else {}
        panels.append(
            Panel(_no_formula(each.label), _points(points), _points({n: own[n] for n in points if n in own}))
        )
    figure = album.drawn("figure9", partial(draw_transfer, panels))
    words = (
        "Accuracy per class over the number of training images per class: new classifiers on a frozen, "
        "pre-trained net against the same pictures learned from scratch. Bars are deviations over folds; dotted "
        "lines are the paper's."
    )
    return Section("Figure 9: accuracy over images per class", [Words(words), Picture(figure, "Figure 9.")])


def learning_curves(found: Found, album: Album) -> Section | None:
    """A picture for each setting of the sweeps, a panel a row, a line a seed."""
    runs = [run for run in trained_whole(found) if found.sweep_of(run) and "history" in run.results]
    pictures = []
    for number, setting in enumerate(settings(runs, VARIED, ablation)):
        rows = {
            _no_formula(f"{row[0]}: {ABLATIONS[row].name if row in ABLATIONS else row[1]}"): [
                run.results["history"] for run in setting.runs if ablation(run) == row
            ]
            for row in sorted({ablation(run) for run in setting.runs}, key=_order)
        }
        print = album.drawn(f"curves-{number}", partial(draw_multiples, rows))
        pictures.append(Picture(print, f"Top-1 error over epochs on {setting.label}, a line a seed."))
    return Section("Learning curves of the sweeps", [*pictures]) if pictures else None


def _order(row: tuple[str, str]) -> tuple[int, tuple[str, str]]:
    known = list(ABLATIONS)
    return (known.index(row) if row in known else len(known), row)


def _no_formula(text: str) -> str:
    """Matplotlib reads what stands between two dollars as one."""
    return text.replace("$", r"\$")


def _points(named: dict[str, list[tuple[int, Measure]]]) -> dict[str, Points]:
    return {name: [(k, each.mean, each.deviation) for k, each in points] for name, points in named.items()}
