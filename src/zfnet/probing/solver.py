"""Convex losses of linear scores, minimised for all classes at once: Newton's steps by conjugate gradients.

    ½|w|² + C Σ loss(Z w + b)

The Hessian P + C Zᵀ h Z, of curvatures h that differ from picture to picture, is not formed but multiplied with, for
all classes in one matrix product. P + C h̄ Zᵀ Z, of the mean curvature h̄, is formed, once for all classes, and its
Cholesky factor preconditions: the first step is then exact, and later ones take a few products (Keerthi and
DeCoste 2005 for the squared hinge; Lin, Weng and Keerthi 2008 for the logistic loss). Losses of one class each
end one by one.

    weights, bias = minimize(features, SquaredHinge(targets), strength=1.0)      # (d, classes), (classes,)
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

TOLERANCE = 1e-5  # of the gradient's norm at the start
STEPS, PRODUCTS, HALVINGS = 100, 150, 30  # at most


class Loss(Protocol):
    """Of scores (n, classes), summed over pictures."""

    bias_penalty: ClassVar[float]
    joint: ClassVar[bool]  # all classes are one problem

    @property
    def targets(self) -> Tensor:
        """(n, classes)."""

    def value(self, scores: Tensor) -> Tensor:
        """(classes,), or one number where the classes are one problem."""

    def slope(self, scores: Tensor) -> Tensor:
        """The gradient in the scores."""

    def curvature(self, scores: Tensor) -> Tensor:
        """The Hessian's diagonal in the scores."""

    def bent(self, scores: Tensor, direction: Tensor) -> Tensor:
        """The Hessian times a direction, (n, classes)."""


@dataclass(frozen=True)
class _EachClass:
    """Losses in which a class's scores stand alone."""

    targets: Tensor
    joint: ClassVar[bool] = False

    def curvature(self, scores: Tensor) -> Tensor:
        raise NotImplementedError

    def bent(self, scores: Tensor, direction: Tensor) -> Tensor:
        return self.curvature(scores) * direction


class SquaredHinge(_EachClass):
    """max(0, 1 - t s)² of targets t = 1 and -1, one class against the rest; the bias is one more weight."""

    bias_penalty: ClassVar[float] = 1.0

    def value(self, scores: Tensor) -> Tensor:
        return self._short(scores).square().sum(0)

    def slope(self, scores: Tensor) -> Tensor:
        return -2 * self.targets * self._short(scores)

    def curvature(self, scores: Tensor) -> Tensor:
        return 2 * (self._short(scores) > 0).to(scores.dtype)

    def _short(self, scores: Tensor) -> Tensor:
        return (1 - self.targets * scores).clamp_min(0)


class Logistic(_EachClass):
    """log(1 + e^s) - t s of targets t = 1 and 0, one yes or no a class; -1 is not counted."""

    bias_penalty: ClassVar[float] = 0.0

    def value(self, scores: Tensor) -> Tensor:
        return (self._counted * (F.softplus(scores) - self.targets * scores)).sum(0)

    def slope(self, scores: Tensor) -> Tensor:
        return self._counted * (scores.sigmoid() - self.targets)

    def curvature(self, scores: Tensor) -> Tensor:
        yes = scores.sigmoid()
        return self._counted * yes * (1 - yes)

    @property
    def _counted(self) -> Tensor:
        return (self.targets >= 0).to(self.targets.dtype)


@dataclass(frozen=True)
class CrossEntropy:
    """-log softmax(s)[label], of targets 1 for the label and 0 for the others."""

    targets: Tensor
    bias_penalty: ClassVar[float] = 0.0
    joint: ClassVar[bool] = True

    def value(self, scores: Tensor) -> Tensor:
        return (scores.logsumexp(1) - (self.targets * scores).sum(1)).sum()

    def slope(self, scores: Tensor) -> Tensor:
        return scores.softmax(1) - self.targets

    def curvature(self, scores: Tensor) -> Tensor:
        p = scores.softmax(1)
        return p * (1 - p)

    def bent(self, scores: Tensor, direction: Tensor) -> Tensor:
        p = scores.softmax(1)
        pulled = p * direction
        return pulled - p * pulled.sum(1, keepdim=True)


def minimize(
    features: Tensor, loss: Loss, strength: float, tolerance: float = TOLERANCE
) -> tuple[Tensor, Tensor]:
    """Weights (d, classes) and bias (classes,) for features (n, d) of norm about 1; `strength` is C."""
    count = len(features)
    z = torch.cat([features, features.new_ones(count, 1)], 1)
    gram = z.T @ z
    penalty = z.new_ones(z.shape[1], 1)
    penalty[-1] = loss.bias_penalty
    classes = loss.targets.shape[1]
    weights, scores = z.new_zeros(z.shape[1], classes), z.new_zeros(count, classes)
    left, part = torch.arange(classes, device=z.device), loss
    limit: Tensor | None = None  # of the gradient's norm, where a class is done
    for _ in range(STEPS):
        w, s = weights[:, left], scores[:, left]
        gradient = penalty * w + strength * (z.T @ part.slope(s))
        if loss.joint:  # moving all classes' scores changes nothing: rounding must not
            gradient = gradient - gradient.mean(1, keepdim=True)
        norm = _dot(gradient, gradient, loss.joint).sqrt()
        limit = tolerance * norm if limit is None else limit
        going = norm > limit
        if not going.any():
            break
        if not loss.joint and not going.all():
            left, limit, w, s = left[going], limit[going], w[:, going], s[:, going]
            gradient, norm = gradient[:, going], norm[going]
            part = type(loss)(loss.targets[:, left])  # type: ignore[call-arg]
        curvature = strength * float(part.curvature(s).mean())
        factor = _factor(gram, penalty, curvature)
        exact = (norm * tolerance / limit).sqrt().clamp_max(0.1)  # 0.1 far off, finer near the end
        step, ds = _newton_step(z, penalty, strength, part, s, gradient, factor, exact)
        t = _length(penalty, strength, part, (w, s), (step, ds), _dot(gradient, step, loss.joint))
        weights[:, left], scores[:, left] = w + t * step, s + t * ds
        if not (t > 0).any():  # as low as float32 tells
            break
    return weights[:-1], weights[-1]


def _dot(a: Tensor, b: Tensor, joint: bool) -> Tensor:
    """Of each class, or one number where they are one problem."""
    return (a * b).sum() if joint else (a * b).sum(0)


def _factor(gram: Tensor, penalty: Tensor, curvature: float) -> Tensor:
    """Cholesky's, of P + curvature ZᵀZ; held within what float32 products are exact to."""
    curvature = min(curvature, 1e6 / float(gram[-1, -1]))
    matrix = curvature * gram.double()
    matrix.diagonal().add_(penalty[:, 0].clamp_min(1e-3))
    return torch.linalg.cholesky(matrix).to(gram.dtype)


def _newton_step(
    z: Tensor,
    penalty: Tensor,
    strength: float,
    loss: Loss,
    scores: Tensor,
    gradient: Tensor,
    factor: Tensor,
    exact: Tensor,
) -> tuple[Tensor, Tensor]:
    """Preconditioned conjugate gradients: the step (d + 1, classes), and what it adds to the scores."""
    step, ds = torch.zeros_like(gradient), torch.zeros_like(scores)
    rest = -gradient
    direction = ready = torch.cholesky_solve(rest, factor)
    energy = _dot(rest, ready, loss.joint)
    limit = exact * _dot(rest, rest, loss.joint).sqrt()
    for _ in range(PRODUCTS):
        moved = z @ direction
        product = penalty * direction + strength * (z.T @ loss.bent(scores, moved))
        if loss.joint:
            product = product - product.mean(1, keepdim=True)
        curvature = _dot(direction, product, loss.joint)
        # rounding alone makes a curvature 0 or less, where nothing is left to gain
        amount = torch.where(curvature > 0, energy / curvature, 0.0)
        step, ds, rest = step + amount * direction, ds + amount * moved, rest - amount * product
        if (_dot(rest, rest, loss.joint).sqrt() <= limit).all():
            break
        ready = torch.cholesky_solve(rest, factor)
        before, energy = energy, _dot(rest, ready, loss.joint)
        direction = ready + energy / before.clamp_min(1e-30) * direction
    return step, ds


def _length(
    penalty: Tensor,
    strength: float,
    loss: Loss,
    start: tuple[Tensor, Tensor],
    step: tuple[Tensor, Tensor],
    slope: Tensor,
) -> Tensor:
    """How much of the step to take, of each class: 1, halved until the objective falls as it should; 0 if never."""

    def objective(t: Tensor | float) -> Tensor:
        weights, scores = (at + t * by for at, by in zip(start, step, strict=True))
        return _dot(penalty * weights, weights, loss.joint) / 2 + strength * loss.value(scores)

    before, t = objective(0.0), torch.ones_like(slope)
    for _ in range(HALVINGS):
        high = objective(t) > before + 1e-4 * t * slope + 1e-6 * before.abs()  # rounding
        if not high.any():
            return t
        t = torch.where(high, t / 2, t)
    return torch.where(high, 0.0, t)
