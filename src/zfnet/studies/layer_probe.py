"""Table 7: linear probes on frozen features of each layer, with a few images per class.

    python analyze.py analysis=layer_probe data=caltech101 \\
        ckpt=outputs/train/demo/checkpoints/last.ckpt

For each number of training images, fold, layer and head ("svm", "softmax", of probing.linear_probe)
a classifier is fitted on the layer's features and tested on the fold's other images: mean accuracy
per class, its mean and deviation over the folds, beside the paper's. The strength of the fit is
chosen on a fifth of the training images that is held out; maps larger than `pool` x `pool` are
averaged down to it. The features of the whole data set are cached, for transfer=frozen too.
`layer_probe.png`, `layer_probe.json`. Safe to interrupt: resume=true continues."""

import logging
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from zfnet import ranks
from zfnet.data.image_store import ImageDataset, ImageStore, JpegStore, OnTheFly, Subset
from zfnet.data.subset import Selection
from zfnet.errors import InputError
from zfnet.json_output import write_json
from zfnet.model_on_data import ModelOnData, images_fingerprint
from zfnet.probing.feature_extraction import cached_features
from zfnet.probing.linear_probe import GramFeatures, choose_C, class_accuracy, fit_linear_probe
from zfnet.progress import progress_bar
from zfnet.progress_file import ProgressFile
from zfnet.studies import Analysis
from zfnet.studies.layers import all_but_classifier, paper_numbers
from zfnet.studies.reference_results import LAYERS
from zfnet.validation import Count, Positive, Seed
from zfnet.viz.layer_probe import Line, draw_probe

log = logging.getLogger(__name__)

# The column of Table 7, and the training images per class.
OF_THE_PAPER = {"caltech101": (0, 30), "caltech256": (1, 60)}
Head = Literal["svm", "softmax"]
# "accuracy" and "strength" by layer, images per class, fold, head.
Accuracies = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Fold:
    """The rows of a whole data set's images that train, (n,), and that test, (m,)."""

    per_class: int
    number: int
    train: Tensor
    test: Tensor

    def key(self, layer: str, head: str) -> str:
        return f"{layer}/{self.per_class}/{self.number}/{head}"


@dataclass
class LayerProbe(Analysis):
    """Probes layers on the folds 0, 1, ... of a data set; fields:
    conf/analysis/layer_probe.yaml."""

    images_per_class: Annotated[Sequence[Count], Field(min_length=1)]
    folds: Count
    layers: Sequence[str] | None
    pool: Count | None
    heads: Annotated[Sequence[Head], Field(min_length=1)]
    C: Annotated[Sequence[Positive], Field(min_length=1)]
    seed: Seed
    takes = "model"
    shares = True

    def run(self, model: ModelOnData, folder: Path) -> None:
        image, name = model.inputs([0]), model.source.name
        layers = list(self.layers or all_but_classifier(model.net, image))
        whole = model.images.base if isinstance(model.images, Subset) else model.images
        folds = [
            _fold(model, whole, k, i)
            for k in dict.fromkeys(self.images_per_class)
            for i in range(self.folds)
        ]
        settings = {
            "layers": layers,
            "pool": self.pool,
            "strengths": list(self.C),
            "seed": self.seed,
        }
        data = images_fingerprint(whole, name)
        probed = Probed(folder, {**model.fingerprint(), "data": data, **settings})
        if probed.done:
            log.info("continuing after %d classifiers", len(probed.done))
        features = cached_features(
            *(model.net, model.prepare, whole, layers, _cache(whole), self.pool),
            batch_size=model.batch_size,
        )
        mine = ranks.share([(layer, fold) for layer in layers for fold in folds])
        with progress_bar() as bar:
            task = bar.add_task("", total=sum(len(fold.train) for _, fold in mine))
            for layer, fold in mine:
                self._probe(features[layer], whole.labels, layer, fold, probed)
                bar.update(task, advance=len(fold.train))
        done = probed.of_all()
        if not ranks.is_first():
            return
        dead = [
            layer
            for layer in layers
            if all(row.equal(features[layer][0]) for row in features[layer])
        ]
        result = {
            layer: {head: self._over_folds(done, folds, layer, head) for head in self.heads}
            for layer in layers
        }
        numbers = paper_numbers(model.net, layers, image)
        panels = {}
        for k in self.images_per_class:
            title = f"{name}, {k} training images per class"
            log.info("%s:\n%s", title, _table(result, numbers, k, name))
            panels[title] = _curves(result, numbers, k, name)
        if dead:
            log.warning(
                "dead, the same for all images: %s; their accuracy is that of a guess",
                ", ".join(dead),
            )
        draw_probe(panels, folder / "layer_probe.png")
        output = {
            "data": name,
            "folds": self.folds,
            **settings,
            "features": {layer: features[layer].shape[1] for layer in layers},
            "numbers": numbers,
            "dead": dead,
            "layers": result,
        }
        write_json(output, folder / "layer_probe.json", indent=1)
        probed.delete()

    def _probe(
        self,
        features: Tensor,
        labels: Tensor,
        layer: str,
        fold: Fold,
        probed: "Probed",
    ) -> None:
        """Fits and tests the heads that have not been probed."""
        missing = [head for head in self.heads if fold.key(layer, head) not in probed.done]
        if not missing:
            return
        few, wanted = GramFeatures(features[fold.train]), labels[fold.train]
        test, truth = few.transform(features[fold.test]), labels[fold.test]
        for head in missing:
            strength = choose_C(few.train, wanted, head, self.C, seed=self.seed)
            accuracy = class_accuracy(
                fit_linear_probe(few.train, wanted, head, strength).scores(test), truth
            )
            probed.add(fold.key(layer, head), {"accuracy": accuracy, "strength": strength})
            where = (layer, head, fold.per_class, fold.number)
            log.info(
                "%s, %s, %d per class, fold %d: %.1f %% (strength %g)",
                *where,
                100 * accuracy,
                strength,
            )

    def _over_folds(
        self, done: Accuracies, folds: list[Fold], layer: str, head: str
    ) -> dict[str, Any]:
        """By the images per class: every fold's accuracy and strength, their mean and deviation."""
        result = {}
        for k in self.images_per_class:
            each = [done[fold.key(layer, head)] for fold in folds if fold.per_class == k]
            accuracies = [found["accuracy"] for found in each]
            result[str(k)] = {
                "folds": accuracies,
                "mean": statistics.fmean(accuracies),
                "std": statistics.stdev(accuracies) if len(accuracies) > 1 else math.nan,
                "strengths": [found["strength"] for found in each],
            }
        return result


class Probed:
    """The accuracies so far. Each process has a file, and begins with what all files have.

    Args:
        folder: where the files are.
        fingerprint: what the accuracies depend on.

    Raises:
        InputError: a file is damaged, or was made with another fingerprint.
    """

    def __init__(self, folder: Path, fingerprint: dict[str, Any]) -> None:
        self.folder, self.done = folder, Accuracies()
        for path in sorted(folder.glob("probed_*.json")):
            self.done |= ProgressFile(path, fingerprint).load(_check) or {}
        ranks.wait()  # before another process saves
        self._file = ProgressFile(folder / f"probed_{ranks.rank()}.json", fingerprint)

    def add(self, key: str, found: dict[str, float]) -> None:
        """Adds the accuracy and strength of a classifier, and saves them."""
        self.done[key] = found
        self._file.save(self.done)

    def of_all(self) -> Accuracies:
        """Returns the accuracies of all processes."""
        every: Accuracies = {}
        for done in ranks.collect([self.done]):
            every |= done
        return every

    def delete(self) -> None:
        """Deletes the files of all processes."""
        for path in self.folder.glob("probed_*.json"):
            path.unlink(missing_ok=True)


def _check(found: Any) -> Accuracies:
    """ValueError where what was saved is damaged."""
    for key, result in found.items():
        if not (0 <= result["accuracy"] <= 1 and 0 < result["strength"] < math.inf):
            raise ValueError(
                f"{key} has the accuracy {result['accuracy']}, strength {result['strength']}"
            )
    return found


def _fold(model: ModelOnData, whole: ImageDataset, k: int, number: int) -> Fold:
    source = model.source
    if not isinstance(source, Selection) or source.resample is None:
        raise InputError(
            f"{source.name}: has no folds of a few images per class; choose data=caltech101, "
            "caltech256, "
            "creatures_few, or class_folders for your own"
        )
    rows = {id_: row for row, id_ in enumerate(whole.ids)}
    train, test = (
        source.resample(source.pool, split=split, images_per_class=k, fold=number).ids
        for split in ("train", "val")
    )
    # ids without a row are of images that cannot be read
    return Fold(
        k, number, *(torch.tensor([rows[i] for i in ids if i in rows]) for ids in (train, test))
    )


def _cache(whole: ImageDataset) -> Path:
    """The folder of the data set's features, as of transfer=frozen."""
    assert isinstance(whole, ImageStore | JpegStore | OnTheFly)
    return whole.folder.parents[2] / "features" / whole.folder.parent.name


def _paper(name: str, head: str, number: int | None) -> tuple[float, float] | None:
    """Table 7's accuracy and deviation in per cent: of Caltech-101 for data sets that are not the
    paper's."""
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


def _curves(
    result: dict[str, Any], numbers: dict[str, int | None], k: int, name: str
) -> list[Line]:
    """Ours and the paper's, for a panel."""
    data = name if name in OF_THE_PAPER else "caltech101"
    lines = []
    for head in next(iter(result.values())):
        ours = {layer: heads[head][str(k)] for layer, heads in result.items()}
        papers = [(layer, _paper(name, head, numbers[layer])) for layer in result]
        points = [(layer, 100 * each["mean"], 100 * each["std"]) for layer, each in ours.items()]
        lines.append(Line(head, points, ours=True))
        theirs = [(layer, *pair) for layer, pair in papers if pair]
        lines.append(Line(f"{head}, paper ({data}, {OF_THE_PAPER[data][1]})", theirs, ours=False))
    return lines
