"""Linear probes on a trained net's frozen features for other data (section 5.2, Tables 4-6).

    python train.py transfer=frozen ckpt=CKPT data=caltech101 data.images_per_class=15 data.fold=2

The features of the whole data set are computed once and cached (feature_extraction.py). Each fold,
number of images and head takes rows of them. C is chosen on a held-out part of the training images.
With ten crops, each crop is a sample of a tenth of the weight; the test on the center crop
(`val/...`) is followed by one on the mean probability of ten crops (`test/...`).

Where images show several classes (VOC), each class ranks the images by its probability, which is
measured by average precision. The head is then one binary decision per class ("sigmoid"), or the
paper's single softmax, which takes each class that an image shows as a training sample of its own.
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
from zfnet.data.preprocessing import CENTER
from zfnet.data.source import MultiLabelSource
from zfnet.errors import InputError, check_choice
from zfnet.metrics import evaluation_metrics
from zfnet.model_on_data import ModelOnData
from zfnet.models.default_layers import top_layer
from zfnet.probing.average_precision import average_precision
from zfnet.probing.feature_extraction import cached_features
from zfnet.probing.linear_probe import GramFeatures, choose_C, fit_linear_probe

HEADS = ("softmax", "sigmoid")
CROPS = ("center", "ten")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TransferConfig:
    """How the linear probe is fitted.

    Attributes:
        layer: whose features it sees; None is the last layer before the net's own classifier.
        pool: feature maps larger than this are averaged down to pool x pool; None keeps them whole.
        head: "softmax", or "sigmoid" for one binary decision per class.
        C: the values to choose from on held-out training images; as scikit-learn's, weight of the
            loss.
        crops: "center", or "ten" for the paper's ten crops of each image.

    Raises:
        InputError: the head or the crops are unknown.
    """

    layer: str | None = None
    pool: int | None = None
    head: Literal["softmax", "sigmoid"] = "softmax"
    C: Sequence[float] = (1, 10, 100, 1000)
    crops: Literal["center", "ten"] = "center"

    def __post_init__(self) -> None:
        check_choice("transfer.head", self.head, HEADS)
        check_choice("transfer.crops", self.crops, CROPS)


def transfer(
    train: ModelOnData, val: ModelOnData, config: TransferConfig, folder: Path, seed: int = 0
) -> dict[str, Any]:
    """Fits a linear probe to a net's features of the training images, and tests it.

    Args:
        train: the net and the training images.
        val: the same net and the test images.
        config: how the probe is fitted.
        folder: of cached features.
        seed: of the held-out sample.

    Returns:
        Errors and accuracies, fractions, with the prefixes "train_eval/", "val/" and "test/"; and
        under "chosen" the layer, its number of features, C, and the number of images.

    Raises:
        InputError: an unknown layer, or a class without images.
    """
    truths = {"train": true_labels(train, "train"), "val": true_labels(val, "val")}
    net, classes = train.net, list(train.images.classes)
    layer = config.layer or top_layer(net, next(net.parameters()).new_zeros(1, *train.shape))
    features, test_features = (
        frozen_features(each, layer, config, folder) for each in (train, val)
    )
    ten = config.crops == "ten"
    center = features[:, CENTER] if ten else features
    gram = GramFeatures(center)
    targets = truths["train"]
    if config.head == "sigmoid" and targets.dim() == 1:
        targets = F.one_hot(targets, len(classes))
    C = choose_C(gram.train, targets, config.head, config.C, seed=seed)
    log.info("%d features of %s, C=%g of %s", features.shape[-1], layer, C, list(config.C))
    if ten:
        gram, targets = GramFeatures(features.flatten(0, 1)), targets.repeat_interleave(10, 0)
    probe = fit_linear_probe(gram.train, targets, config.head, C / (10 if ten else 1))

    def probabilities(given: Tensor) -> Tensor:
        scores = probe.scores(gram.transform(given))
        return scores.softmax(1) if config.head == "softmax" else scores.sigmoid()

    result = measure(probabilities(center), truths["train"], classes, "train_eval/")
    crops = [probabilities(crop) for crop in (test_features.unbind(1) if ten else [test_features])]
    result |= measure(crops[CENTER if ten else 0], truths["val"], classes, "val/")
    if ten:
        result |= measure(torch.stack(crops).mean(0), truths["val"], classes, "test/")
    images = {"train": len(train.images), "val": len(val.images)}
    chosen = {"layer": layer, "features": features.shape[-1], "C": C, "images": images}
    return result | {"chosen": chosen}


def true_labels(subject: ModelOnData, split: str) -> Tensor:
    """What the images of a split show.

    Args:
        subject: the images.
        split: their name, for the message.

    Returns:
        Labels (N,), or targets (N, classes) of 1, 0 and -1 (not counted) where images show several
        classes.

    Raises:
        InputError: a class that no image shows.
    """
    source, images = subject.source, subject.images
    if not isinstance(source, MultiLabelSource):
        return images.labels
    rows = {id_: row for row, id_ in enumerate(source.ids)}
    targets = source.targets[[rows[id_] for id_ in images.ids]]  # some images may be unreadable
    for name, shows in zip(images.classes, targets.T, strict=True):
        if not (shows == 1).any():
            raise InputError(f"{source.name}: no image of {split} shows class {name!r}")
    return targets


def whole_data_set(images: ImageDataset) -> tuple[ImageDataset, Tensor]:
    """The data set that images are chosen from, and their rows in it."""
    if isinstance(images, Subset):
        return images.base, images.rows
    return images, torch.arange(len(images))


def frozen_features(
    subject: ModelOnData, layer: str, config: TransferConfig, folder: Path
) -> Tensor:
    """The features of the images, (N, D), or (N, 10, D) of ten crops; those of the whole data set
    are cached."""
    base, rows = whole_data_set(subject.images)
    features = cached_features(
        subject.net,
        subject.prepare,
        base,
        [layer],
        folder,
        config.pool,
        config.crops,
        subject.batch_size,
    )
    return features[layer][rows]


def measure(answers: Tensor, truth: Tensor, classes: list[str], prefix: str) -> dict[str, Any]:
    """Errors and accuracy per class, or average precisions where images show several classes.

    Args:
        answers: (N, classes), probabilities.
        truth: (N,) labels, or (N, classes) targets.
        classes: the class names.
        prefix: of the names of the measures.
    """
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
