"""The layer probe's linear SVM against scikit-learn's LinearSVC: the same answers.

Rectified random clusters of 101 classes, 8 pictures each, 4,096 features: the probe's shape on
Caltech-101 (30 pictures, 9,216 features of layer 5) at a ninth of the size. Ours includes the
rotation."""

from collections.abc import Callable

import torch
from sklearn.svm import LinearSVC
from torch import Tensor

from benchmarks.measuring import Row, Worker, alternate, seconds_of, sized
from zfnet.probing.linear_probe import GramFeatures, fit_linear_probe

CLASSES, PICTURES, WIDTH, NOISE = sized((101, 8, 4096, 3.0), (4, 8, 64, 0.1))


def bench() -> list[Row]:
    with Worker(timed, ours) as one, Worker(timed, peer) as other:
        seconds = alternate(one, other, repeats=3)
    same = (ours() == peer()).double().mean().item()
    count = CLASSES * PICTURES
    return [
        Row("layer probe's SVM", *(f"{s:.2f} s" for s in seconds), seconds[1] / seconds[0], ">= 1"),
        Row(
            "its predictions, those of the peer", f"{same * count:.0f}", f"{count}", same, ">= 0.99"
        ),
    ]


def data() -> tuple[Tensor, Tensor, Tensor]:
    """Training and test features, scaled as the probe scales them, and the labels of both."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(CLASSES).repeat(PICTURES)
    centres = torch.randn(CLASSES, WIDTH, generator=generator)
    train, test = (
        (centres[labels] + NOISE * torch.randn(len(labels), WIDTH, generator=generator)).relu()
        for _ in "ab"
    )
    scale = 1 / train.norm(dim=1).mean()
    return train * scale, test * scale, labels


def ours() -> Tensor:
    train, test, labels = data()
    few = GramFeatures(train)
    return fit_linear_probe(few.train, labels, "svm", 1.0).scores(few.transform(test)).argmax(1)


def peer() -> Tensor:
    train, test, labels = data()
    return torch.from_numpy(LinearSVC().fit(train.numpy(), labels.numpy()).predict(test.numpy()))


def timed(fit: Callable[[], Tensor]) -> Callable[[], float]:
    return lambda: seconds_of(fit)
