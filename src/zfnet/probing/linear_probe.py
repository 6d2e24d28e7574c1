"""A linear classifier on features that stand still: the support vector machine and the softmax of Tables 4-7.

    svm        one class against the rest: ½|w|² + C Σ max(0, 1 - y f(x))², the bias one more weight
    softmax    multinomial logistic regression: ½|w|² - C Σ log p(label), the bias free
    sigmoid    one logistic regression a class, of targets 1, 0 and -1 (not counted)

These are the problems of scikit-learn's LinearSVC and LogisticRegression, and the answers are theirs; solver.py
finds them in a fraction of the time. C is the strength. Features are divided by the mean norm of the training ones,
so that a strength means the same for every layer. n pictures span at most n dimensions: X = Z Vᵀ with Vᵀ V = 1
has the same inner products and therefore the same classifier, for less work where features outnumber pictures:

    few = GramFeatures(features[train])                                      # (n, d) → (n, n) if n < d
    strength = choose_strength(few.train, labels, "svm", [0.1, 1, 10], seed=0)
    readout = fit_linear_probe(few.train, labels, "svm", strength)
    readout.scores(few.of(features[test]))                              # (m, classes)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from zfnet.errors import InputError
from zfnet.probing.average_precision import average_precision
from zfnet.probing.solver import TOLERANCE, CrossEntropy, Logistic, Loss, SquaredHinge, minimize

Kind = Literal["svm", "softmax", "sigmoid"]
KINDS = ("svm", "softmax", "sigmoid")
CHUNK = 4096  # features at a time, in float64
ROUGH = 1e-3  # tolerance of fits that only choose the strength
ROUNDING = 1e-10  # of a squared norm: less than float32 tells


class GramFeatures:
    """Features (n, d) in the dimensions that they span: `train` (n, n), inner products and all.

    X Xᵀ = L Lᵀ (Cholesky) gives Z = L and V = Xᵀ L^-T. Where n >= d nothing is to be gained and the features stay
    what they are.
    """

    def __init__(self, train: Tensor) -> None:
        self._basis: Tensor | None = None
        self.train = train
        if len(train) < train.shape[1]:
            products = _products(train, train)
            # equal pictures have a factor too
            products.diagonal().add_(ROUNDING * products.diagonal().mean())
            self._basis, self._factor = train, torch.linalg.cholesky(products)
            self.train = self._factor.to(train.dtype)

    def of(self, features: Tensor) -> Tensor:
        """Other features (m, d) in the same dimensions, (m, n): what is outside them no classifier sees."""
        if self._basis is None:
            return features
        products = _products(features, self._basis)  # (m, n)
        turned = torch.linalg.solve_triangular(self._factor.T, products, upper=True, left=False)
        return turned.to(features.dtype)


def _products(a: Tensor, b: Tensor) -> Tensor:
    """a bᵀ in float64."""
    total = torch.zeros(len(a), len(b), dtype=torch.float64, device=a.device)
    for one, other in zip(a.split(CHUNK, 1), b.split(CHUNK, 1), strict=True):
        total.addmm_(one.double(), other.double().T)
    return total


@dataclass(frozen=True)
class LinearProbe:
    """weights (d, classes), bias (classes,)."""

    weights: Tensor
    bias: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """(N, d) → (N, classes): margins of "svm", logits of "softmax" and "sigmoid"."""
        return features @ self.weights + self.bias


def fit_linear_probe(
    train: Tensor, labels: Tensor, kind: Kind, strength: float, tolerance: float = TOLERANCE
) -> LinearProbe:
    """Fits `train` (n, d) to labels (n,) from 0 to the largest, or to targets (n, classes): "sigmoid" as above,
    "softmax" to each class that a picture shows (1) as a sample of its own.

    The gradient falls to `tolerance` of what it is at the start.
    """
    if kind not in KINDS:
        raise InputError(f"head={kind!r} is unknown: choose one of {', '.join(KINDS)}")
    if strength <= 0:
        raise InputError(f"strength={strength}: must be above 0")
    scale = 1 / float(train.norm(dim=1).mean().clamp_min(1e-12))
    if kind == "sigmoid":
        loss: Loss = Logistic(labels.to(train.dtype))
    else:
        classes = int(labels.max()) + 1 if labels.dim() == 1 else labels.shape[1]
        if labels.dim() == 2:
            shown, labels = (labels > 0).nonzero(as_tuple=True)
            train = train[shown]
        of_label = F.one_hot(labels, classes).to(train.dtype)
        loss = SquaredHinge(2 * of_label - 1) if kind == "svm" else CrossEntropy(of_label)
    weights, bias = minimize(train * scale, loss, strength, tolerance)
    return LinearProbe(weights * scale, bias)


def choose_strength(
    train: Tensor,
    labels: Tensor,
    kind: Kind,
    strengths: Sequence[float],
    held_out: float = 0.2,
    seed: int = 0,
) -> float:
    """The strength that is best on a part of the training pictures kept out of the fit: by mean accuracy per
    class, of targets (n, classes) by mean average precision. Of equal ones the smallest.

    `held_out` of each class, one at least, a random sample (`seed`); targets overlap, and there it is of all. Raises
    InputError for a class with one picture; a single strength is not tried at all.
    """
    if not strengths:
        raise InputError("strengths=[]: at least one is needed")
    if len(strengths) == 1:
        return float(strengths[0])
    groups = labels if labels.dim() == 1 else torch.zeros(len(labels), dtype=torch.long)
    out = _held_out(groups, held_out, seed)
    best: tuple[float, float] | None = None
    for strength in sorted(strengths):
        readout = fit_linear_probe(train[~out], labels[~out], kind, strength, ROUGH)
        quality = _quality(readout.scores(train[out]), labels[out], kind)
        if best is None or quality > best[0]:
            best = quality, float(strength)
    assert best is not None
    return best[1]


def _held_out(labels: Tensor, share: float, seed: int) -> Tensor:
    """Which of (n,) pictures are kept out: `share` of each label's, bool."""
    generator = torch.Generator().manual_seed(seed)
    out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        members = (labels == label).nonzero()[:, 0]
        if len(members) < 2:
            raise InputError(
                f"class {label} has one training picture and no held-out one to choose the strength on: "
                "give one strength"
            )
        count = min(max(1, round(share * len(members))), len(members) - 1)
        out[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return out


def _quality(scores: Tensor, labels: Tensor, kind: Kind) -> float:
    if labels.dim() == 1:
        return class_accuracy(scores, labels)
    scores = scores.softmax(1) if kind == "softmax" else scores  # pictures are compared by probabilities
    shown = [column for column in range(labels.shape[1]) if (labels[:, column] > 0).any()]
    precisions = [average_precision(scores[:, column], labels[:, column]) for column in shown]
    return sum(precisions) / max(1, len(precisions))


def class_accuracy(scores: Tensor, labels: Tensor) -> float:
    """The mean over classes of the share of each class's pictures that score highest for it (Tables 4, 5 and 7)."""
    right = (scores.argmax(1) == labels).double()
    return torch.stack([right[labels == label].mean() for label in labels.unique()]).mean().item()
