"""The pictures that studies and training runs left, each with the paper's figure, its net, and its key numbers."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from zfnet.studies.report.document import Block, Gallery, Picture, Section, Words
from zfnet.studies.report.pictures import Album
from zfnet.studies.report.runs import Found, Run
from zfnet.studies.report.settings import data_name, label, net_name
from zfnet.studies.report.text import Code, Text, joined


@dataclass(frozen=True)
class Figure:
    """What an analysis shows, and the lines that say its JSON in short."""

    title: str
    text: str
    said: Callable[[Any], Iterable[str]]


def section(found: Found, name: str, album: Album) -> Section | None:
    """Every run of analyze.py analysis=NAME; None where there is none. A JSON of another shape is a problem."""
    figure = FIGURES[name]
    blocks: list[Block] = []
    for run in found.analyses(name):
        lines = found.analyzed(run, lambda run: list(figure.said(run.results[name])))
        if lines is None:
            continue
        blocks.append(Words(["Of ", of(run), f": {'; '.join(lines)}." if lines else "."]))
        paths = sorted(run.folder.glob("*.png"))
        blocks += gallery(
            album,
            [(path, [path.stem if len(paths) > 1 else figure.title, ", of ", of(run)]) for path in paths],
        )
    return Section(figure.title, [Words(figure.text), *blocks]) if blocks else None


def of(run: Run) -> Text:
    """The net or nets that a run of analyze.py looks at, and on what."""
    nets = run.config.get("ckpt") or run.word("model.name") or run.word("model.architecture") or []
    names = [Code(net_name(each)) for each in (nets if isinstance(nets, list) else [nets])]
    return [joined(names), " on ", data_name(run)] if names else data_name(run)


def gallery(album: Album, pictures: Iterable[tuple[Path, Text]]) -> list[Block]:
    """Those that can be read, with their captions."""
    shown = [Picture(each, caption) for path, caption in pictures if (each := album.add(path))]
    return [Gallery(shown)] if len(shown) > 1 else list(shown)


def trained_pictures(found: Found, album: Album) -> Section | None:
    """Curves, filters, Figure 4 and Figure 2 of training runs that belong to no sweep."""
    blocks: list[Block] = []
    for run in found.runs:
        if run.script != "train" or found.sweep_of(run):
            continue
        pictures: list[tuple[Path, Text]] = [
            (run.folder / f"{name}.png", caption) for name, caption in OF_A_RUN.items()
        ]
        for part, caption in OF_ITS_LAYERS.items():
            pictures += [
                (path, f"{caption}, {path.stem}") for path in sorted((run.folder / part).glob("*.png"))
            ]
        if there := [(path, caption) for path, caption in pictures if path.exists()]:
            blocks += [
                Words([Code(run.folder.name), f": {run.choices.get('model')} on {label(run)}."]),
                *gallery(album, there),
            ]
    return Section("Training", blocks) if blocks else None


OF_A_RUN = {"curves": "Loss and error over epochs", "filters": "Filters of layer 1 (Figure 6)"}
OF_ITS_LAYERS = {
    "evolution": "Features through training (Figure 4)",
    "top_activations": "What excites the maps most at the end (Figure 2)",
}


def _top_activations(found: Any) -> Iterable[str]:
    for layer, each in found["layers"].items():
        if "energy_on_object" in each:
            on, chance = (100 * each[key] for key in ("energy_on_object", "energy_by_chance"))
            yield f"{layer} {on:.0f} % of the projections' energy on the object ({chance:.0f} % by chance)"


def _occlusion(found: Any) -> Iterable[str]:
    for each in found["images"]:
        yield (
            f"{each['class']}: probability {each['probability']:.2f} falls to {each['least_probability']:.2f}, "
            f"activity of map {each['map']} by {100 * each['drop_on_projection']:.0f} % where its projection is "
            f"({100 * each['drop_anywhere']:.0f} % anywhere)"
        )


def _invariance(found: Any) -> Iterable[str]:
    for line in found["summary"]:
        if line["amount"] == "all":
            distances = (
                _known(value, f"{layer} {{:.2f}}") for layer, value in line["normalised_distance"].items()
            )
            yield f"{line['kind']}, mean normalised distance: {', '.join(distances)}"


def _known(value: float | None, pattern: str) -> str:
    return pattern.format(math.nan if value is None else value)


def _correspondence(found: Any) -> Iterable[str]:
    for layer, changes in found["layers"].items():
        parts = [
            each["mean"] for name, each in changes.items() if name != "random" and each["mean"] is not None
        ]
        random = changes.get("random", {}).get("mean", math.nan)
        if not parts or random is None:
            yield f"{layer}: dead, no square changes it"
            continue
        yield f"{layer}: sign change {fmean(parts):.3f} for parts, {random:.3f} for random squares"


def _filters(found: Any) -> Iterable[str]:
    for net in found:
        dead = ", ".join(f"{len(maps)} in {layer}" for layer, maps in net["dead"].items())
        yield (
            f"{net['name']}: the strongest filter is {net['dominance']:.1f} times the median, "
            f"{100 * net['beyond_stride']:.0f} % of the energy lies beyond what the stride tells apart, dead maps: "
            f"{dead}"
        )


def _sanity(found: Any) -> Iterable[str]:
    for name, each in found["similarity"].items():
        if name in ("other map", "other image", "both"):
            yield f"{name}: cosine {_known(each['cosine'], '{:.2f}')} with the original"
    for name, each in found["localisation"].get("methods", {}).items():
        yield f"{name} points at the object in {100 * each['pointing']:.0f} % of the images"


def _layer_probe(found: Any) -> Iterable[str]:
    yield (
        f"{found['folds']} folds, maps averaged to {found['pool']} x {found['pool']}"
        if found["pool"]
        else "whole maps"
    )


def _overlap(found: Any) -> Iterable[str]:
    yield f"{len(found['pairs'])} near-duplicates, of correlation {found['threshold']} and above"
    for each in found["compared"]:
        left_out = found["left_out"].get(each["split"], 0)
        yield f"{each['split']} ({each['pictures']:,}) with {each['with']}: {left_out} to be left out"


FIGURES = {
    "top_activations": Figure(
        "Figure 2: what excites the maps",
        "The strongest activations of maps of each layer, projected to pixels by the deconvnet, beside the pictures "
        "that cause them.",
        _top_activations,
    ),
    "invariance": Figure(
        "Figure 5: invariance",
        "Images moved, scaled and turned: how far the features of a low and of a high layer move, and the "
        "probability of the class.",
        _invariance,
    ),
    "filters": Figure(
        "Figure 6: the first layers",
        "Filters of layer 1 and projections of layer 2: dead, dominant, and aliased ones.",
        _filters,
    ),
    "occlusion": Figure(
        "Figure 7: occlusion",
        "A grey square slid over the picture: where the strongest map of the layer falls, and where the probability "
        "of the class does.",
        _occlusion,
    ),
    "correspondence": Figure(
        "Figure 8: correspondence",
        "The same part of several pictures masked: does the same change in their features?",
        _correspondence,
    ),
    "sanity": Figure(
        "Sanity checks",
        "Not in the paper. What stays of a projection when the weights, the map or the picture is another, and where "
        "methods point.",
        _sanity,
    ),
    "layer_probe": Figure(
        "What each layer tells apart, drawn",
        "Table 7 as curves: the accuracy of a linear classifier on the features of each layer.",
        _layer_probe,
    ),
    "overlap": Figure(
        "Overlap",
        "Pictures that are nearly the same as others: what of a test set was trained on.",
        _overlap,
    ),
}
