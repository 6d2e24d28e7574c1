"""Figures: the images of analyses and training runs, and those that the report draws itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from zfnet.studies.reference_results import CALTECH_256
from zfnet.studies.report import transfer
from zfnet.studies.report.ablations import VARIED, row_names, training_runs
from zfnet.studies.report.comparison import Label
from zfnet.studies.report.format import summarize
from zfnet.studies.report.images import Album, Image
from zfnet.studies.report.measures import Measure
from zfnet.studies.report.runs import Run, RunIndex
from zfnet.studies.report.settings import (
    ablation_of,
    data_name,
    describe,
    group_by_setting,
    net_names,
)
from zfnet.viz.small_multiples import draw_multiples
from zfnet.viz.transfer_curves import Panel, Points, draw_transfer

ANALYSES = {  # titles; templates/figures.jinja says what the images show
    "top_activations": "Figure 2: top activations",
    "invariance": "Figure 5: invariance",
    "filters": "Figure 6: the first layers",
    "occlusion": "Figure 7: occlusion",
    "correspondence": "Figure 8: correspondence",
    "sanity": "Sanity checks",
    "layer_probe": "Curves of Table 7",
    "overlap": "Overlap",
}
TRAINING = {  # images of a training run, and their captions
    "curves": "Loss and error over epochs",
    "filters": "Filters of layer 1 (Figure 6)",
    "evolution/*": "Features during training (Figure 4)",
    "top_activations/*": "Top activations at the end (Figure 2)",
}


@dataclass(frozen=True)
class Entry:
    """Images of one run, what was run, and its key numbers in a line."""

    label: Label | None
    summary: str
    images: Sequence[Image]


@dataclass(frozen=True)
class Figure:
    """A section of images. The template figures.jinja has a text for its name."""

    name: str
    title: str
    entries: Sequence[Entry]


def make_figures(index: RunIndex, album: Album) -> list[Figure]:
    """All figures that have entries, those of the paper first, by number."""
    figures = [
        _draw_figure_9(index, album),
        *(_show_analysis(index, name, album) for name in ANALYSES),
        _draw_learning_curves(index, album),
        Figure("training", "Training", _show_training(index, album)),
    ]
    shown = [figure for figure in figures if figure.entries]
    return sorted(shown, key=lambda each: each.title if each.title.startswith("Figure") else "~")


def _show_analysis(index: RunIndex, name: str, album: Album) -> Figure:
    """Every run of analysis=NAME. Results of another shape become a problem."""
    title = ANALYSES[name]
    entries = []
    for run in index.analyses(name):
        summary = index.parse(run, partial(summarize, name))
        if summary is not None:
            label = Label(data_name(run), net_names(run))
            of = f"{', '.join(label.nets)} on {label.text}" if label.nets else label.text
            paths = sorted(run.folder.glob("*.png"))
            captions = [f"{path.stem if len(paths) > 1 else title}, of {of}" for path in paths]
            images = album.add_all(zip(paths, captions, strict=True))
            entries.append(Entry(label, summary, images))
    return Figure(name, title, entries)


def _show_training(index: RunIndex, album: Album) -> list[Entry]:
    """Curves, filters, Figures 4 and 2 of the training runs that are not jobs of a sweep."""
    single = [run for run in index.runs if run.script == "train" and not index.sweep_of(run)]
    entries = []
    for run in single:
        if paths := _training_images(run):
            summary = f"{run.choices.get('model')} on {describe(run)}"
            entries.append(Entry(Label("", [run.folder.name]), summary, album.add_all(paths)))
    return entries


def _training_images(run: Run) -> list[tuple[Path, str]]:
    """The images of a training run, and their captions."""
    images = []
    for pattern, caption in TRAINING.items():
        for path in sorted(run.folder.glob(f"{pattern}.png")):
            images.append((path, f"{caption}, {path.stem}" if "*" in pattern else caption))
    return images


def _draw_figure_9(index: RunIndex, album: Album) -> Figure:
    """A panel of the paper's Caltech-256, and one of each setting here."""
    panels = [Panel("the paper, Caltech-256", paper=_published(CALTECH_256))]
    for setting in transfer.few_image_settings(index):
        if ours := _curves(transfer.measure_accuracies(setting)):
            paper = (
                _published(transfer.reference(setting)[1]) if setting.data in transfer.PAPER else {}
            )
            paper = {name: paper[name] for name in ours if name in paper}
            panels.append(Panel(_escape_dollars(setting.label), ours, paper))
    entries = []
    if len(panels) > 1:
        image = album.draw("figure9", "Figure 9.", partial(draw_transfer, panels))
        entries.append(Entry(None, "", [image]))
    return Figure("figure_9", "Figure 9: accuracy over images per class", entries)


def _published(rows: Mapping[str, Mapping[int, tuple[float, float | None]]]) -> dict[str, Points]:
    """The paper's curves by name."""
    return {
        transfer.METHODS.get(name, name): [(k, *pair) for k, pair in pairs.items()]
        for name, pairs in rows.items()
    }


def _curves(accuracies: Mapping[transfer.Key, Measure]) -> dict[str, Points]:
    """The curves of a setting by name."""
    curves: dict[str, list[tuple[int, float, float | None]]] = {}
    for (method, k), measure in accuracies.items():
        point = (k, measure.mean, measure.deviation)
        curves.setdefault(transfer.method_name(method), []).append(point)
    return dict(curves)


def _draw_learning_curves(index: RunIndex, album: Album) -> Figure:
    """An image for each setting of the sweeps: a panel per row of Table 3, a line per seed."""
    runs = [run for run in training_runs(index) if index.sweep_of(run) and "history" in run.results]
    entries = []
    for number, setting in enumerate(group_by_setting(runs, VARIED, ablation_of)):
        histories: dict[str, list[Any]] = {}
        for row, name in row_names(setting).items():
            if same := [run for run in setting.runs if ablation_of(run) == row]:
                title = _escape_dollars(f"{row[0]}: {name}")
                histories[title] = [run.results["history"] for run in same]
        caption = f"Top-1 error over epochs on {setting.label}, one line per seed."
        image = album.draw(f"curves-{number}", caption, partial(draw_multiples, histories))
        entries.append(Entry(None, "", [image]))
    return Figure("learning_curves", "Learning curves of the sweeps", entries)


def _escape_dollars(text: str) -> str:
    """Matplotlib reads text between two dollars as a formula."""
    return text.replace("$", r"\$")
