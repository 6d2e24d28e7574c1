"""A trained net on another data set (section 5.2, Tables 4-6).

Its layers stay as they are, and a new classifier on top of them learns from a few pictures per class.

    python train.py transfer=frozen ckpt=CKPT data=caltech101 data.images_per_class=15 data.fold=2

The layers' features of the whole data set are computed once and kept (feature_extraction.py); each fold, number of
pictures and head takes rows of them. How strongly the classifier is fitted is chosen on a held-out part of the
training pictures alone. By ten crops each of them is a sample, of a tenth of the weight, and testing on the centre
crop (`val/...`) is followed by the mean of ten answers (`test/...`).

Where pictures show several classes (VOC) it is asked how well each class ranks them, by average precision. Its head
is then one yes or no a class ("sigmoid"), or the paper's single softmax: each class that a picture shows is a
training sample of its own, and a class ranks pictures by its probability.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from zfnet.data.image_store import ImageDataset, Subset
from zfnet.data.preprocessing import CENTRE
from zfnet.errors import InputError
from zfnet.metrics import evaluation_metrics
from zfnet.model_on_data import ModelOnData
from zfnet.models.default_layers import top_layer
from zfnet.probing.average_precision import average_precision
from zfnet.probing.feature_extraction import cached_features
from zfnet.probing.linear_probe import GramFeatures, choose_strength, fit_linear_probe

HEADS = ("softmax", "sigmoid")
CROPS = ("centre", "ten")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TransferConfig:
    """How the new classifier learns.

    Attributes:
        layer: what it sees; None is the last layer before the net's own classifier.
        pool: maps larger than this are averaged down to pool x pool; None keeps them whole.
        head: "softmax", or "sigmoid" for one yes or no a class.
        strengths: of the fit, one of which is chosen on held-out training images.
        crops: "centre", or "ten" for the paper's ten crops of each image.
    """

    layer: str | None = None
    pool: int | None = None
    head: Literal["softmax", "sigmoid"] = "softmax"
    strengths: Sequence[float] = (1, 10, 100, 1000)
    crops: Literal["centre", "ten"] = "centre"

    def __post_init__(self) -> None:
        for word, known in (("head", HEADS), ("crops", CROPS)):
            if getattr(self, word) not in known:
                raise InputError(
                    f"transfer.{word}={getattr(self, word)!r} is unknown: choose one of {', '.join(known)}"
                )


def transfer(
    train: ModelOnData, val: ModelOnData, config: TransferConfig, kept: Path, seed: int = 0
) -> dict[str, Any]:
    """Fits a new classifier on a net's features of the training images, and tests it.

    Args:
        train: the net and the training images.
        val: the same net and the test images.
        config: how the classifier learns.
        kept: the folder of cached features.
        seed: of the choice of held-out images.

    Returns:
        Errors and accuracies, fractions, with the prefixes "trained/", "val/" and "test/"; and "chosen".

    Raises:
        InputError: an unknown layer, or a class without images.
    """
    truths = {"train": true_labels(train, "train"), "val": true_labels(val, "val")}
    net, side, classes = train.net, train.crop, list(train.images.classes)
    layer = config.layer or top_layer(net, next(net.parameters()).new_zeros(1, 3, side, side))
    features, tested = (frozen_features(each, layer, config, kept) for each in (train, val))
    ten = config.crops == "ten"
    centre = features[:, CENTRE] if ten else features
    few = GramFeatures(centre)
    wanted, strengths = truths["train"], list(config.strengths)
    if config.head == "sigmoid" and wanted.dim() == 1:
        wanted = F.one_hot(wanted, len(classes))
    strength = choose_strength(few.train, wanted, config.head, strengths, seed=seed)
    log.info("%d features of %s, strength %g of %s", features.shape[-1], layer, strength, strengths)
    if ten:
        few, wanted = GramFeatures(features.flatten(0, 1)), wanted.repeat_interleave(10, 0)
    readout = fit_linear_probe(few.train, wanted, config.head, strength / (10 if ten else 1))

    def probabilities(given: Tensor) -> Tensor:
        scores = readout.scores(given)
        return scores.softmax(1) if config.head == "softmax" else scores.sigmoid()

    result = measure(probabilities(few.of(centre)), truths["train"], classes, "trained/")
    crops = [probabilities(few.of(crop)) for crop in (tested.unbind(1) if ten else [tested])]
    result |= measure(crops[CENTRE if ten else 0], truths["val"], classes, "val/")
    if ten:
        result |= measure(torch.stack(crops).mean(0), truths["val"], classes, "test/")
    images = {"train": len(train.images), "val": len(val.images)}
    chosen = {"layer": layer, "features": features.shape[-1], "strength": strength, "pictures": images}
    return result | {"chosen": chosen}


def true_labels(subject: ModelOnData, split: str) -> Tensor:
    """Labels (N,); targets (N, classes) of 1, 0 and -1 (not counted) where an image may show several classes."""
    source, images = subject.source, subject.images
    targets = getattr(source, "targets", None)
    if targets is None:
        return images.labels
    rows = {id_: row for row, id_ in enumerate(source.ids)}
    targets = targets[[rows[id_] for id_ in images.ids]]  # some may have been unreadable
    for name, shows in zip(images.classes, targets.T, strict=True):
        if not (shows == 1).any():
            raise InputError(f"{source.name}: no picture of {split} shows class {name!r}")
    return targets


def whole_data_set(images: ImageDataset) -> tuple[ImageDataset, Tensor]:
    """The data set that images are chosen from, and their rows in it."""
    if isinstance(images, Subset):
        return images.base, images.rows
    return images, torch.arange(len(images))


def frozen_features(subject: ModelOnData, layer: str, config: TransferConfig, folder: Path) -> Tensor:
    """(N, D), or (N, 10, D) by ten crops; those of the whole data set are computed or found."""
    base, rows = whole_data_set(subject.images)
    kept = cached_features(
        subject.net, subject.prepare, base, [layer], folder, config.pool, config.crops, subject.batch_size
    )
    return kept[layer][rows]


def measure(answers: Tensor, truth: Tensor, classes: list[str], prefix: str) -> dict[str, Any]:
    """Errors and accuracy per class as training has them; average precisions where pictures show several classes."""
    if truth.dim() == 1:
        errors = evaluation_metrics(len(classes), prefix)(answers, truth)
        return {key: value.item() for key, value in errors.items()}
    each = {
        name: average_precision(score, shows)
        for name, score, shows in zip(classes, answers.T, truth.T, strict=True)
    }
    return {
        f"{prefix}mean_average_precision": sum(each.values()) / len(each),
        f"{prefix}average_precision": each,
    }
