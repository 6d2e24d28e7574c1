"""Convex losses of linear scores, for all classes at once: Newton steps by conjugate gradients.

    ½|w|² + C Σ loss(Z w + b)

The Hessian is P + C Zᵀ h Z, with the penalty P and curvatures h that differ between images. It is
not formed: only its products with directions are computed, for all classes in one matrix product.
The preconditioner is the Cholesky factor of P + C h̄ Zᵀ Z with the mean curvature h̄, formed once
for all classes. With it the first step is exact, and later ones take a few products (Keerthi and
DeCoste 2005 for the squared hinge; Lin, Weng and Keerthi 2008 for the logistic loss). Losses that
are separate for each class end separately.

    weights, bias = minimize(features, SquaredHinge(targets), C=1.0)      # (d, classes), (classes,)
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

TOLERANCE = 1e-5  # of the norm of the gradient, relative to the start
STEPS, PRODUCTS, HALVINGS = 100, 150, 30  # at most


class Loss(Protocol):
    """A loss of scores (n, classes), summed over images.

    Attributes:
        bias_penalty: weight of the squared bias, relative to that of the weights.
        joint: all classes are one problem; else each class is one of its own.
    """

    bias_penalty: ClassVar[float]
    joint: ClassVar[bool]

    @property
    def targets(self) -> Tensor:
        """(n, classes)."""

    def value(self, scores: Tensor) -> Tensor:
        """The loss, (classes,) or, if joint, one number."""

    def gradient(self, scores: Tensor) -> Tensor:
        """The derivative with respect to the scores, (n, classes)."""

    def curvature(self, scores: Tensor) -> Tensor:
        """The diagonal of the Hessian with respect to the scores, (n, classes)."""

    def hessian_vector_product(self, scores: Tensor, direction: Tensor) -> Tensor:
        """The Hessian with respect to the scores, times a direction (n, classes)."""


@dataclass(frozen=True)
class _SeparateLoss:
    """A loss in which the classes are separate."""

    targets: Tensor
    joint: ClassVar[bool] = False

    def curvature(self, scores: Tensor) -> Tensor:
        raise NotImplementedError

    def hessian_vector_product(self, scores: Tensor, direction: Tensor) -> Tensor:
        return self.curvature(scores) * direction


class SquaredHinge(_SeparateLoss):
    """max(0, 1 - t s)² with targets t of 1 and -1, one class against the rest. The bias is one more
    weight."""

    bias_penalty: ClassVar[float] = 1.0

    def value(self, scores: Tensor) -> Tensor:
        return self._slack(scores).square().sum(0)

    def gradient(self, scores: Tensor) -> Tensor:
        return -2 * self.targets * self._slack(scores)

    def curvature(self, scores: Tensor) -> Tensor:
        return 2 * (self._slack(scores) > 0).to(scores.dtype)

    def _slack(self, scores: Tensor) -> Tensor:
        return (1 - self.targets * scores).clamp_min(0)


class Logistic(_SeparateLoss):
    """log(1 + e^s) - t s with targets t of 1 and 0, one binary decision per class. -1 is not
    counted."""

    bias_penalty: ClassVar[float] = 0.0

    def value(self, scores: Tensor) -> Tensor:
        return (self._counted * (F.softplus(scores) - self.targets * scores)).sum(0)

    def gradient(self, scores: Tensor) -> Tensor:
        return self._counted * (scores.sigmoid() - self.targets)

    def curvature(self, scores: Tensor) -> Tensor:
        p = scores.sigmoid()
        return self._counted * p * (1 - p)

    @property
    def _counted(self) -> Tensor:
        return (self.targets >= 0).to(self.targets.dtype)


@dataclass(frozen=True)
class CrossEntropy:
    """-log softmax(s)[label], with a target of 1 for the label and 0 for the others."""

    targets: Tensor
    bias_penalty: ClassVar[float] = 0.0
    joint: ClassVar[bool] = True

    def value(self, scores: Tensor) -> Tensor:
        return (scores.logsumexp(1) - (self.targets * scores).sum(1)).sum()

    def gradient(self, scores: Tensor) -> Tensor:
        return scores.softmax(1) - self.targets

    def curvature(self, scores: Tensor) -> Tensor:
        p = scores.softmax(1)
        return p * (1 - p)

    def hessian_vector_product(self, scores: Tensor, direction: Tensor) -> Tensor:
        p = scores.softmax(1)
        product = p * direction
        return product - p * product.sum(1, keepdim=True)


def minimize(
    features: Tensor, loss: Loss, C: float, tolerance: float = TOLERANCE
) -> tuple[Tensor, Tensor]:
    """Minimizes ½|w|² + C Σ loss.

    Args:
        features: (n, d), with norms of about 1.
        loss: of the scores.
        C: weight of the loss, as scikit-learn's.
        tolerance: the norm of the gradient at the end, relative to that at the start.

    Returns:
        Weights (d, classes) and bias (classes,).
    """
    count = len(features)
    z = torch.cat([features, features.new_ones(count, 1)], 1)
    gram = z.T @ z
    penalty = z.new_ones(z.shape[1], 1)
    penalty[-1] = loss.bias_penalty
    classes = loss.targets.shape[1]
    weights, scores = z.new_zeros(z.shape[1], classes), z.new_zeros(count, classes)
    left, active = torch.arange(classes, device=z.device), loss  # classes that are not done
    limit: Tensor | None = None  # of the gradient's norm, below which a class is done
    for _ in range(STEPS):
        w, s = weights[:, left], scores[:, left]
        gradient = penalty * w + C * (z.T @ active.gradient(s))
        if loss.joint:  # a common shift of all scores changes nothing; rounding must not add one
            gradient = gradient - gradient.mean(1, keepdim=True)
        norm = _dot(gradient, gradient, loss.joint).sqrt()
        limit = tolerance * norm if limit is None else limit
        going = norm > limit
        if not going.any():
            break
        if not loss.joint and not going.all():
            left, limit, w, s = left[going], limit[going], w[:, going], s[:, going]
            gradient, norm = gradient[:, going], norm[going]
            active = type(loss)(loss.targets[:, left])  # type: ignore[call-arg]
        curvature = C * float(active.curvature(s).mean())
        factor = _preconditioner(gram, penalty, curvature)
        accuracy = (norm * tolerance / limit).sqrt().clamp_max(0.1)  # finer near the end
        step, ds = _newton_step(z, penalty, C, active, s, gradient, factor, accuracy)
        t = _line_search(penalty, C, active, (w, s), (step, ds), _dot(gradient, step, loss.joint))
        weights[:, left], scores[:, left] = w + t * step, s + t * ds
        if not (t > 0).any():  # no lower in float32
            break
    return weights[:-1], weights[-1]


def _dot(a: Tensor, b: Tensor, joint: bool) -> Tensor:
    """The inner product for each class or, if joint, one number."""
    return (a * b).sum() if joint else (a * b).sum(0)


def _preconditioner(gram: Tensor, penalty: Tensor, curvature: float) -> Tensor:
    """The Cholesky factor of P + curvature ZᵀZ; the curvature is limited by the precision of
    float32 products."""
    curvature = min(curvature, 1e6 / float(gram[-1, -1]))
    matrix = curvature * gram.double()
    matrix.diagonal().add_(penalty[:, 0].clamp_min(1e-3))
    return torch.linalg.cholesky(matrix).to(gram.dtype)


def _newton_step(
    z: Tensor,
    penalty: Tensor,
    C: float,
    loss: Loss,
    scores: Tensor,
    gradient: Tensor,
    factor: Tensor,
    accuracy: Tensor,
) -> tuple[Tensor, Tensor]:
    """Preconditioned conjugate gradients: the step (d + 1, classes), and its change of the scores
    (n, classes)."""
    step, ds = torch.zeros_like(gradient), torch.zeros_like(scores)
    residual = -gradient
    direction = preconditioned = torch.cholesky_solve(residual, factor)
    energy = _dot(residual, preconditioned, loss.joint)
    limit = accuracy * _dot(residual, residual, loss.joint).sqrt()
    for _ in range(PRODUCTS):
        shift = z @ direction
        product = penalty * direction + C * (z.T @ loss.hessian_vector_product(scores, shift))
        if loss.joint:
            product = product - product.mean(1, keepdim=True)
        curvature = _dot(direction, product, loss.joint)
        # only rounding makes a curvature 0 or less, where the minimum is reached
        amount = torch.where(curvature > 0, energy / curvature, 0.0)
        step, ds, residual = (
            step + amount * direction,
            ds + amount * shift,
            residual - amount * product,
        )
        if (_dot(residual, residual, loss.joint).sqrt() <= limit).all():
            break
        preconditioned = torch.cholesky_solve(residual, factor)
        before, energy = energy, _dot(residual, preconditioned, loss.joint)
        direction = preconditioned + energy / before.clamp_min(1e-30) * direction
    return step, ds


def _line_search(
    penalty: Tensor,
    C: float,
    loss: Loss,
    start: tuple[Tensor, Tensor],
    step: tuple[Tensor, Tensor],
    slope: Tensor,
) -> Tensor:
    """The fraction of the step to take, for each class: 1, halved until the objective decreases
    enough, or 0."""

    def objective(t: Tensor | float) -> Tensor:
        weights, scores = (at + t * by for at, by in zip(start, step, strict=True))
        return _dot(penalty * weights, weights, loss.joint) / 2 + C * loss.value(scores)

    before, t = objective(0.0), torch.ones_like(slope)
    for _ in range(HALVINGS):
        high = objective(t) > before + 1e-4 * t * slope + 1e-6 * before.abs()  # rounding
        if not high.any():
            return t
        t = torch.where(high, t / 2, t)
    return torch.where(high, 0.0, t)
