"""Linear classifiers on frozen features: the support vector machine and the softmax of Tables 4-7.

    svm        one class against the rest: ½|w|² + C Σ max(0, 1 - y f(x))², the bias is a weight too
    softmax    multinomial logistic regression: ½|w|² - C Σ log p(label), the bias is not penalized
    sigmoid    one logistic regression per class, with targets of 1, 0 and -1 (not counted)

These are the problems of scikit-learn's LinearSVC and LogisticRegression, with the same solutions;
solver.py finds them in a fraction of the time. Features are divided by the mean norm of the
training features, so that C means the same for every layer. n images span at most n dimensions: X =
Z Vᵀ with Vᵀ V = 1 has the same inner products and therefore the same classifier, which is faster
where there are more features than images:

    gram = GramFeatures(features[train])                              # (n, d) → (n, n) if n < d
    C = choose_C(gram.train, labels, "svm", [0.1, 1, 10], seed=0)
    probe = fit_linear_probe(gram.train, labels, "svm", C)
    probe.scores(gram.transform(features[test]))                      # (m, classes)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from zfnet.errors import InputError, check_choice
from zfnet.probing.average_precision import average_precision
from zfnet.probing.solver import TOLERANCE, CrossEntropy, Logistic, Loss, SquaredHinge, minimize
from zfnet.versions.python_names import renamed

Kind = Literal["svm", "softmax", "sigmoid"]
KINDS: tuple[str, ...] = get_args(Kind)
CHUNK = 4096  # features at a time, in float64
ROUGH = 1e-3  # tolerance of fits that only choose C
ROUNDING = 1e-10  # relative to a squared norm: below the precision of float32


@renamed(of="transform")
class GramFeatures:
    """Features in the dimensions that the training features span.

    X Xᵀ = L Lᵀ (Cholesky) gives Z = L and V = Xᵀ L^-T. Where n >= d, features are left as they are.

    Args:
        train: (n, d), the training features.

    Attributes:
        train: (n, min(n, d)), with the same inner products.
    """

    def __init__(self, train: Tensor) -> None:
        self._basis: Tensor | None = None
        self.train = train
        if len(train) < train.shape[1]:
            products = _products(train, train)
            products.diagonal().add_(ROUNDING * products.diagonal().mean())  # for equal images
            self._basis, self._factor = train, torch.linalg.cholesky(products)
            self.train = self._factor.to(train.dtype)

    def transform(self, features: Tensor) -> Tensor:
        """Other features (m, d) in the same dimensions, (m, min(n, d)). Classifiers do not see what
        is lost."""
        if self._basis is None:
            return features
        products = _products(features, self._basis)  # (m, n)
        transformed = torch.linalg.solve_triangular(
            self._factor.T, products, upper=True, left=False
        )
        return transformed.to(features.dtype)


def _products(a: Tensor, b: Tensor) -> Tensor:
    """a bᵀ in float64."""
    total = torch.zeros(len(a), len(b), dtype=torch.float64, device=a.device)
    for one, other in zip(a.split(CHUNK, 1), b.split(CHUNK, 1), strict=True):
        total.addmm_(one.double(), other.double().T)
    return total


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier: weights (d, classes) and bias (classes,)."""

    weights: Tensor
    bias: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """(N, d) → (N, classes): margins of "svm", logits of "softmax" and "sigmoid"."""
        return features @ self.weights + self.bias


@renamed(strength="C")
def fit_linear_probe(
    train: Tensor, labels: Tensor, kind: Kind, C: float, tolerance: float = TOLERANCE
) -> LinearProbe:
    """Fits a linear classifier.

    Args:
        train: (n, d), the training features.
        labels: (n,), from 0 to the largest; or targets (n, classes). With targets, "softmax" takes
            each class that an image shows (1) as a sample of its own.
        kind: "svm", "softmax" or "sigmoid".
        C: weight of the loss, as scikit-learn's.
        tolerance: the norm of the gradient at the end, relative to that at the start.

    Raises:
        InputError: `kind` is unknown, or C is not above 0.
    """
    check_choice("head", kind, KINDS)
    if C <= 0:
        raise InputError(f"C={C}: must be above 0")
    scale = 1 / float(train.norm(dim=1).mean().clamp_min(1e-12))
    if kind == "sigmoid":
        loss: Loss = Logistic(labels.to(train.dtype))
    else:
        classes = int(labels.max()) + 1 if labels.dim() == 1 else labels.shape[1]
        if labels.dim() == 2:
            shown, labels = (labels > 0).nonzero(as_tuple=True)
            train = train[shown]
        one_hot = F.one_hot(labels, classes).to(train.dtype)
        loss = SquaredHinge(2 * one_hot - 1) if kind == "svm" else CrossEntropy(one_hot)
    weights, bias = minimize(train * scale, loss, C, tolerance)
    return LinearProbe(weights * scale, bias)


@renamed(strengths="choices")
def choose_C(
    train: Tensor,
    labels: Tensor,
    kind: Kind,
    choices: Sequence[float],
    held_out: float = 0.2,
    seed: int = 0,
) -> float:
    """The C with the best quality on held-out training images; of equal ones the smallest.

    Quality is the mean accuracy per class or, of targets, the mean average precision.

    Args:
        train, labels, kind: as of `fit_linear_probe`.
        choices: values of C. A single one is returned without a fit.
        held_out: the share of each class's images that is held out, one at least; with targets, of
            all images.
        seed: of the random sample that is held out.

    Raises:
        InputError: `choices` is empty, or a class has one image.
    """
    if not choices:
        raise InputError("C=[]: at least one is needed")
    if len(choices) == 1:
        return float(choices[0])
    groups = labels if labels.dim() == 1 else torch.zeros(len(labels), dtype=torch.long)
    out = _hold_out(groups, held_out, seed)

    def quality(C: float) -> float:
        probe = fit_linear_probe(train[~out], labels[~out], kind, C, ROUGH)
        return _quality(probe.scores(train[out]), labels[out], kind)

    return float(max(sorted(choices), key=quality))


def _hold_out(labels: Tensor, share: float, seed: int) -> Tensor:
    """Which of (n,) images are held out, bool: `share` of each label's."""
    generator = torch.Generator().manual_seed(seed)
    out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        members = (labels == label).nonzero()[:, 0]
        if len(members) < 2:
            raise InputError(
                f"class {label} has one training image and no held-out one to choose C on: give "
                "one value of C"
            )
        count = min(max(1, round(share * len(members))), len(members) - 1)
        out[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return out


def _quality(scores: Tensor, labels: Tensor, kind: Kind) -> float:
    if labels.dim() == 1:
        return class_accuracy(scores, labels)
    # Images are ranked by probabilities.
    scores = scores.softmax(1) if kind == "softmax" else scores
    shown = [column for column in range(labels.shape[1]) if (labels[:, column] > 0).any()]
    precisions = [average_precision(scores[:, column], labels[:, column]) for column in shown]
    return sum(precisions) / max(1, len(precisions))


def class_accuracy(scores: Tensor, labels: Tensor) -> float:
    """The mean over classes of the accuracy on each class's images (Tables 4, 5 and 7), a fraction.

    Args:
        scores: (N, classes).
        labels: (N,).
    """
    right = (scores.argmax(1) == labels).double()
    return torch.stack([right[labels == label].mean() for label in labels.unique()]).mean().item()
