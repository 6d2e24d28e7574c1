"""A trained net on another data set (section 5.2, Tables 4-6).

Its layers stay as they are, and a new classifier on top of them learns from a few pictures per class.

    python train.py transfer=frozen ckpt=CKPT data=caltech101 data.images_per_class=15 data.fold=2

The layers' features of the whole data set are computed once and kept (features.py); each fold, number of pictures
and head takes rows of them. How strongly the classifier is fitted is chosen on a held-out part of the training
pictures alone. By ten crops each of them is a sample, of a tenth of the weight, and testing on the centre crop
(`val/...`) is followed by the mean of ten answers (`test/...`).

Where pictures show several classes (VOC) it is asked how well each class ranks them, by average precision. Its head
is then one yes or no a class ("sigmoid"), or the paper's single softmax: each class that a picture shows is a
training sample of its own, and a class ranks pictures by its probability.
"""

import logging
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from zfnet.data import ImageData
from zfnet.data.image_store import Chosen, Images
from zfnet.data.preprocessing import CENTRE, Preprocessing
from zfnet.errors import InputError
from zfnet.models.default_layers import top_layer
from zfnet.models.pretrained import input_of
from zfnet.training.average_precision import average_precision
from zfnet.training.checkpoint import build_net, check_image_size, load
from zfnet.training.classifier import evaluation_metrics
from zfnet.training.features import kept_features
from zfnet.training.linear import Rotated, chosen_strength, fit_readout
from zfnet.training.result import finish, objective

HEADS = ("softmax", "sigmoid")
CROPS = ("centre", "ten")
CLASSES = 1000  # of a net that comes without a checkpoint of train.py
log = logging.getLogger(__name__)


def transfer(cfg: DictConfig, data: ImageData, folder: Path) -> float:
    """Fits a new classifier on the training pictures, tests it, writes result.json, and returns its objective.

    Raises InputError for a net that has learned nothing, an unknown head, and a class without pictures.
    """
    start, words = time.perf_counter(), cfg.transfer
    for word, known in (("head", HEADS), ("crops", CROPS)):
        if words[word] not in known:
            raise InputError(f"transfer.{word}={words[word]!r} is unknown: choose one of {', '.join(known)}")
    net, prepare = trunk(cfg, data)
    images = {split: data.open(split) for split in ("train", "val")}
    truths = {split: truth(data, split, each) for split, each in images.items()}
    if cfg.ckpt is None:
        prepare.set_mean(whole(images["train"])[0].mean)
    layer = words.layer or top_layer(net, next(net.parameters()).new_zeros(1, 3, prepare.crop, prepare.crop))
    train, val = (frozen_features(net, prepare, each, layer, words, data) for each in images.values())
    ten = words.crops == "ten"
    centre = train[:, CENTRE] if ten else train
    few = Rotated(centre)
    wanted, strengths = truths["train"], list(words.strengths)
    if words.head == "sigmoid" and wanted.dim() == 1:
        wanted = F.one_hot(wanted, len(data.classes))
    strength = chosen_strength(few.train, wanted, words.head, strengths, seed=cfg.seed)
    log.info("%d features of %s, strength %g of %s", train.shape[-1], layer, strength, strengths)
    if ten:
        few, wanted = Rotated(train.flatten(0, 1)), wanted.repeat_interleave(10, 0)
    readout = fit_readout(few.train, wanted, words.head, strength / (10 if ten else 1))

    def probabilities(features: Tensor) -> Tensor:
        scores = readout.scores(features)
        return scores.softmax(1) if words.head == "softmax" else scores.sigmoid()

    result = measured(probabilities(few.of(centre)), truths["train"], data.classes, "trained/")
    crops = [probabilities(few.of(crop)) for crop in (val.unbind(1) if ten else [val])]
    result |= measured(crops[CENTRE if ten else 0], truths["val"], data.classes, "val/")
    if ten:
        result |= measured(torch.stack(crops).mean(0), truths["val"], data.classes, "test/")
    pictures = {split: len(each) for split, each in images.items()}
    chosen = {"layer": layer, "features": train.shape[-1], "strength": strength, "pictures": pictures}
    result |= {"chosen": chosen, "seconds": round(time.perf_counter() - start, 1)}
    finish(result, folder)
    return objective(result)


def truth(data: ImageData, split: str, images: Images) -> Tensor:
    """Labels (N,); targets (N, classes) of 1, 0 and -1 (not counted) where a picture may show several classes."""
    source = data.sources[split]
    targets = getattr(source, "targets", None)
    if targets is None:
        return images.labels
    rows = {id_: row for row, id_ in enumerate(source.ids)}
    targets = targets[[rows[id_] for id_ in images.ids]]  # some may have been unreadable
    for name, shows in zip(data.classes, targets.T, strict=True):
        if not (shows == 1).any():
            raise InputError(f"{source.name}: no picture of {split} shows class {name!r}")
    return targets


def trunk(cfg: DictConfig, data: ImageData) -> tuple[nn.Module, Preprocessing]:
    """The net of `ckpt=`, or of a `model=` with weights, on its device; and how its input is prepared."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if cfg.ckpt is not None:
        classifier = load(cfg.ckpt, cfg.trust)
        check_image_size(classifier.prepare.crop, cfg.ckpt, data.image_size)
        return classifier.net.to(device), classifier.prepare
    model: dict[str, Any] = OmegaConf.to_container(cfg.model, resolve=True)  # type: ignore[assignment]
    if model.get("weights") is None:
        raise InputError(
            "transfer=frozen needs a net that has learned: ckpt=CHECKPOINT of train.py, or model=torchvision "
            "with model.name= and model.weights="
        )
    torch.manual_seed(cfg.seed)  # for what the weights leave out
    net = build_net(model, CLASSES, data.image_size).to(memory_format=torch.channels_last).to(device)
    expected = input_of(model)
    if expected and (expected.crop, expected.size) != (data.image_size, data.store_size):
        log.info(
            "%s expects %s; here it is %d of %d pixels, bilinear",
            *(model["name"], expected, data.image_size, data.store_size),
        )
    channels = (expected.mean, expected.std) if expected else ()
    return net, Preprocessing(data.store_size, data.image_size, model["pixels"], *channels)


def whole(images: Images) -> tuple[Images, Tensor]:
    """The data set that images are chosen from, and their rows in it."""
    if isinstance(images, Chosen):
        return images.base, images.rows
    return images, torch.arange(len(images))


def frozen_features(
    net: nn.Module, prepare: Preprocessing, images: Images, layer: str, words: DictConfig, data: ImageData
) -> Tensor:
    """(N, D), or (N, 10, D) by ten crops; those of the whole data set are computed or found."""
    base, rows = whole(images)
    folder = data.folder.parents[1] / "features" / data.folder.name
    kept = kept_features(net, prepare, base, [layer], folder, words.pool, words.crops, data.batch_size)
    return kept[layer][rows]


def measured(answers: Tensor, truth: Tensor, classes: list[str], prefix: str) -> dict[str, Any]:
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
