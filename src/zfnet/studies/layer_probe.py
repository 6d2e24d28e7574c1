"""Table 7: how much a linear classifier reads from each layer of a trained net, on a few pictures per class.

    python analyze.py analysis=layer_probe ckpt=outputs/train/demo/checkpoints/last.ckpt data=caltech101

For each number of training pictures, fold, layer and head ("svm", "softmax", of probing.linear_probe) a classifier
is fitted on the layer's features and tested on the fold's other pictures: mean accuracy per class, its mean and
deviation over the folds, beside the paper's. The strength of the fit is chosen on a fifth of the training pictures
that is held out; maps larger than `pool` x `pool` are averaged down to it. The features of the whole data set are
computed once and kept for other folds, numbers and runs. `layer_probe.png`, `layer_probe.json`; a run that is
stopped goes on with resume=true.
"""

import logging
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from zfnet.data.image_store import ImageDataset, ImageStore, OnTheFly, Subset
from zfnet.data.subset import Selection
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData, images_fingerprint
from zfnet.probing.feature_extraction import cached_features
from zfnet.probing.linear_probe import GramFeatures, Kind, choose_strength, class_accuracy, fit_linear_probe
from zfnet.progress import progress_bar
from zfnet.studies.json_output import write_json
from zfnet.studies.layers import all_but_classifier, papers_numbers
from zfnet.studies.reference_results import LAYERS
from zfnet.studies.resuming import load_progress, save_progress
from zfnet.validation import Count, Positive, Seed
from zfnet.viz.layer_probe import Line, draw_probe

log = logging.getLogger(__name__)

OF_THE_PAPER = {"caltech101": (0, 30), "caltech256": (1, 60)}  # column of Table 7, training images per class
HEADS = ("svm", "softmax")


@dataclass(frozen=True)
class Fold:
    """The rows of a whole data set's pictures that train, (n,), and that test, (m,)."""

    per_class: int
    number: int
    train: Tensor
    test: Tensor


def study(
    subject: ModelOnData,
    folder: Path,
    images_per_class: Annotated[Sequence[Count], Field(min_length=1)],
    folds: Count,
    layers: Sequence[str] | None,
    pool: Count | None,
    heads: Annotated[Sequence[Kind], Field(min_length=1)],
    strengths: Annotated[Sequence[Positive], Field(min_length=1)],
    kept: str,
    seed: Seed,
) -> None:
    """Probes the layers on the folds 0 to `folds` - 1 of the subject's data set."""
    image = subject.inputs([0])
    layers = list(layers) if layers else all_but_classifier(subject.net, image)
    if unknown := [head for head in heads if head not in HEADS]:
        raise InputError(f"heads={list(heads)}: {unknown[0]!r} is unknown: choose from {', '.join(HEADS)}")
    if folds < 1 or not images_per_class or not heads:
        raise InputError(
            f"folds={folds}, images_per_class={list(images_per_class)}, heads={list(heads)}: at least one of each"
        )
    whole = subject.images.base if isinstance(subject.images, Subset) else subject.images
    drawn = [
        Fold(k, number, *(_rows(subject, whole, split, k, number) for split in ("train", "val")))
        for k in images_per_class
        for number in range(folds)
    ]
    settings = {"layers": layers, "pool": pool, "strengths": list(strengths), "seed": seed}
    data = images_fingerprint(whole, subject.source.name)
    done = _Done(folder / "probed.json", settings, {**subject.fingerprint(), "data": data, **settings})
    features = cached_features(
        subject.net, subject.prepare, whole, layers, _folder(whole, kept), pool, batch_size=subject.batch_size
    )
    with progress_bar() as bar:
        task = bar.add_task("", total=len(layers) * sum(len(fold.train) for fold in drawn))
        for layer in layers:
            for fold in drawn:
                _probe(features[layer], whole.labels, layer, fold, heads, done)
                bar.update(task, advance=len(fold.train))
    dead = [layer for layer in layers if all(row.equal(features[layer][0]) for row in features[layer])]
    result = {
        layer: {
            head: {str(k): done.over_folds(layer, head, k, folds) for k in images_per_class} for head in heads
        }
        for layer in layers
    }
    name, numbers = subject.source.name, papers_numbers(subject.net, layers, image)
    for k in images_per_class:
        log.info("%s, %d training images per class:\n%s", name, k, _table(result, numbers, k, name))
    if dead:
        log.warning(
            "dead, the same for all images, so that its accuracy is that of a guess: %s", ", ".join(dead)
        )
    panels = {
        f"{name}, {k} training images per class": _lines(result, numbers, k, name) for k in images_per_class
    }
    draw_probe(panels, folder / "layer_probe.png")
    sizes = {layer: features[layer].shape[1] for layer in layers}
    write_json(
        {
            "data": name,
            "folds": folds,
            **settings,
            "features": sizes,
            "numbers": numbers,
            "dead": dead,
            "layers": result,
        },
        folder / "layer_probe.json",
        indent=1,
    )
    done.path.unlink(missing_ok=True)


class _Done:
    """What was measured, by layer, number of training images, fold and head: on the disk after each."""

    def __init__(self, path: Path, settings: dict[str, Any], fingerprint: dict[str, Any]) -> None:
        self.path, self.settings, self.fingerprint = path, settings, fingerprint
        self.found: dict[str, dict[str, float]] = load_progress(path, fingerprint, _measured) or {}
        if self.found:
            log.info("going on after %d classifiers", len(self.found))

    def get(self, layer: str, k: int, fold: int, head: str) -> dict[str, float] | None:
        return self.found.get(f"{layer}/{k}/{fold}/{head}")

    def put(self, layer: str, k: int, fold: int, head: str, result: dict[str, float]) -> None:
        self.found[f"{layer}/{k}/{fold}/{head}"] = result
        save_progress(self.path, self.fingerprint, self.found)

    def over_folds(self, layer: str, head: str, k: int, folds: int) -> dict[str, Any]:
        """Every fold's accuracy and strength, their mean and deviation."""
        each = [self.found[f"{layer}/{k}/{fold}/{head}"] for fold in range(folds)]
        accuracies = [result["accuracy"] for result in each]
        std = statistics.stdev(accuracies) if folds > 1 else math.nan
        mean = {"mean": statistics.fmean(accuracies), "std": std}
        return {"folds": accuracies, **mean, "strengths": [result["strength"] for result in each]}


def _measured(found: Any) -> dict[str, dict[str, float]]:
    """Results by layer, number, fold and head; ValueError where they are none."""
    for key, result in found.items():
        if not (0 <= result["accuracy"] <= 1 and 0 < result["strength"] < math.inf):
            raise ValueError(f"{key} has the accuracy {result['accuracy']}, strength {result['strength']}")
    return found


def _rows(subject: ModelOnData, whole: ImageDataset, split: str, k: int, fold: int) -> Tensor:
    """The pictures of one split of one fold, by their rows in the whole."""
    source = subject.source
    if not isinstance(source, Selection) or source.redrawn is None:
        raise InputError(
            f"{source.name}: has no folds of a few pictures per class; choose data=caltech101, caltech256, "
            "creatures_few, or class_folders for one's own"
        )
    chosen = source.redrawn(source.pool, split=split, images_per_class=k, fold=fold)
    numbers = {id_: row for row, id_ in enumerate(whole.ids)}
    return torch.tensor([numbers[id_] for id_ in chosen.ids if id_ in numbers])  # some may be unreadable


def _folder(whole: ImageDataset, kept: str) -> Path:
    """Where the data set's features are kept, those of transfer=frozen too."""
    name = whole.folder.parent.name if isinstance(whole, ImageStore | OnTheFly) else "features"
    return Path(kept) / name


def _probe(
    features: Tensor, labels: Tensor, layer: str, fold: Fold, heads: Sequence[Kind], done: _Done
) -> None:
    """Fits and tests the heads that are missing."""
    missing = [head for head in heads if not done.get(layer, fold.per_class, fold.number, head)]
    if not missing:
        return
    few = GramFeatures(features[fold.train])
    test, truth = few.of(features[fold.test]), labels[fold.test]
    for head in missing:
        wanted = labels[fold.train]
        strengths, seed = done.settings["strengths"], done.settings["seed"]
        strength = choose_strength(few.train, wanted, head, strengths, seed=seed)
        accuracy = class_accuracy(fit_linear_probe(few.train, wanted, head, strength).scores(test), truth)
        done.put(layer, fold.per_class, fold.number, head, {"accuracy": accuracy, "strength": strength})
        told = (layer, head, fold.per_class, fold.number, 100 * accuracy, strength)
        log.info("%s, %s, %d per class, fold %d: %.1f %% (strength %g)", *told)


def _paper(name: str, head: str, number: int | None) -> tuple[float, float] | None:
    """Table 7's accuracy and deviation in per cent: of Caltech-101 for data sets that are not the paper's."""
    column, _ = OF_THE_PAPER.get(name, OF_THE_PAPER["caltech101"])
    pair = None if number is None else LAYERS.get((head, number))
    return None if pair is None else (pair[column][0], pair[column][1] or 0.0)


def _table(result: dict[str, Any], numbers: dict[str, int | None], k: int, name: str) -> str:
    """A line for each layer: accuracy in per cent and its deviation, the paper's in brackets."""
    lines = []
    for layer, heads in result.items():
        cells = []
        for head, by_k in heads.items():
            each, paper = by_k[str(k)], _paper(name, head, numbers[layer])
            deviation = "" if math.isnan(each["std"]) else f" ± {100 * each['std']:.1f}"
            of_paper = f" ({paper[0]} ± {paper[1]})" if paper else ""
            cells.append(f"{head} {100 * each['mean']:.1f}{deviation}{of_paper}")
        lines.append(f"  {layer:12} {', '.join(cells)}")
    return "\n".join(lines)


def _lines(result: dict[str, Any], numbers: dict[str, int | None], k: int, name: str) -> list[Line]:
    """Ours and the paper's, for a panel."""
    _, per_class = OF_THE_PAPER.get(name, OF_THE_PAPER["caltech101"])
    data = name if name in OF_THE_PAPER else "caltech101"
    lines = []
    for head in next(iter(result.values())):
        ours = {layer: result[layer][head][str(k)] for layer in result}
        points = [(layer, 100 * each["mean"], 100 * each["std"]) for layer, each in ours.items()]
        papers = [(layer, _paper(name, head, numbers[layer])) for layer in result]
        lines.append(Line(head, points, ours=True))
        theirs = [(layer, *pair) for layer, pair in papers if pair]
        lines.append(Line(f"{head}, paper ({data}, {per_class})", theirs, ours=False))
    return lines
