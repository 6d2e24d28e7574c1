"""The slow deconvnet's layers that the paper's nets do not have, in float64 numpy.

They work like those in deconvnet.py, on maps (C, H, W) or tokens (T, C). What multiplies and
depends on the image is remembered on the way up and constant on the way down:

    activation      max(R, 0); "guided" masks it by the output; "gradient" is R times the derivative
    normalization   R·γ/σ
    gate            R times the gate
    attention       R goes to the values, by the weights of the way up

    layers = [Conv(...), Activation(*GELU), Residual([Tokens(), LayerNorm(gamma, beta, 1, 1e-5)])]
    values = up(layers, image)
    projection = down(layers, seed)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tests.reference.deconvnet import PAPER, Array, Layer, Variant

Scalar = Callable[[float], float]
Curve = tuple[Scalar, Scalar]  # a function and its derivative


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def normal(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


def mish(x: float) -> float:
    return x * math.tanh(math.log1p(math.exp(x)))


def mish_slope(x: float) -> float:
    inner = math.tanh(math.log1p(math.exp(x)))
    return inner + x * sigmoid(x) * (1 - inner**2)


GELU: Curve = (
    lambda x: x * normal(x),
    lambda x: normal(x) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi),
)
SILU: Curve = (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x))))
MISH: Curve = (mish, mish_slope)
SOFTPLUS: Curve = (lambda x: math.log1p(math.exp(x)), sigmoid)
HARDSWISH: Curve = (
    lambda x: x * min(max(x + 3, 0), 6) / 6,
    lambda x: 0 if x <= -3 else 1 if x >= 3 else (2 * x + 3) / 6,
)
RELU6: Curve = (lambda x: min(max(x, 0), 6), lambda x: float(0 < x < 6))


def leaky(slope: float) -> Curve:
    return lambda x: x if x > 0 else slope * x, lambda x: 1 if x > 0 else slope


def elu(alpha: float, scale: float = 1.0, width: float = 1.0) -> Curve:
    """scale·x above 0, below it scale·alpha·(exp(x/width) - 1)."""
    return (
        lambda x: scale * (x if x > 0 else alpha * math.expm1(x / width)),
        lambda x: scale * (1 if x > 0 else alpha / width * math.exp(x / width)),
    )


def threshold(low: float) -> Curve:
    return lambda x: x if x > low else 0, lambda x: float(x > low)


def each(f: Scalar, x: Array) -> Array:
    return np.array([f(float(value)) for value in x.reshape(-1)]).reshape(x.shape)


@dataclass
class Activation(Layer):
    f: Scalar
    slope: Scalar

    def up(self, x: Array) -> Array:
        self.seen = x
        return each(self.f, x)

    def down(self, R: Array, variant: Variant) -> Array:
        if variant.relu == "gradient":
            return R * each(self.slope, self.seen)
        R = np.maximum(R, 0)
        return R if variant.relu == "deconv" else R * (each(self.f, self.seen) > 0)


@dataclass
class Norm(Layer):
    """(x - mean) / sqrt(variance + eps) · γ + β over each of some groups of cells."""

    gamma: Array  # (C,)
    beta: Array
    eps: float
    axis: int  # of the channels
    centered: bool = True  # False: the root of the mean square, without a mean

    def groups(self, x: Array) -> Array:
        """The group of each cell, ints of x's shape. By default the cells of one position."""
        positions = np.arange(x.size // x.shape[self.axis])
        rest = [n for i, n in enumerate(x.shape) if i != self.axis]
        return np.broadcast_to(np.expand_dims(positions.reshape(rest), self.axis), x.shape)

    def along(self, numbers: Array, x: Array) -> Array:
        return numbers.reshape([-1 if i == self.axis else 1 for i in range(x.ndim)])

    def up(self, x: Array) -> Array:
        groups, result = self.groups(x), np.zeros(x.shape)
        self.sigma = np.zeros(x.shape)
        for group in np.unique(groups):
            cells = groups == group
            mean = x[cells].sum() / cells.sum() if self.centered else 0.0
            variance = ((x[cells] - mean) ** 2).sum() / cells.sum()
            self.sigma[cells] = math.sqrt(variance + self.eps)
            result[cells] = (x[cells] - mean) / self.sigma[cells]
        return result * self.along(self.gamma, x) + self.along(self.beta, x)

    def down(self, R: Array, variant: Variant) -> Array:
        return R * self.along(self.gamma, R) / self.sigma


@dataclass
class GroupNorm(Norm):
    count: int = 1

    def groups(self, x: Array) -> Array:
        numbers = np.arange(len(x)) // (len(x) // self.count)
        return np.broadcast_to(numbers.reshape(-1, *(1,) * (x.ndim - 1)), x.shape)


@dataclass
class SqueezeExcitation(Layer):
    """Maps times a gate (C,) that a small net computes from their means."""

    excite: Callable[[Array], Array]

    def up(self, x: Array) -> Array:
        self.gate = self.excite(x.mean((1, 2)))[:, None, None]
        return x * self.gate

    def down(self, R: Array, variant: Variant) -> Array:
        return R * self.gate


@dataclass
class Largest(Layer):
    """The largest cell along some axes, which keep the size 1. R goes to this cell."""

    axes: tuple[int, ...]

    def up(self, x: Array) -> Array:
        self.places = np.zeros(x.shape, bool)
        out = np.zeros([1 if axis in self.axes else size for axis, size in enumerate(x.shape)])
        for index in np.ndindex(out.shape):
            group = tuple(
                slice(None) if a in self.axes else slice(i, i + 1) for a, i in enumerate(index)
            )
            out[index] = x[group].max()
            self.places[group] = x[group] == out[index]
        return out

    def down(self, R: Array, variant: Variant) -> Array:
        return R * self.places


@dataclass
class GatedLinearUnit(Layer):
    """One half of the channels times a function of the other; `first`: the first half is gated."""

    f: Scalar
    axis: int
    first: bool = True

    def up(self, x: Array) -> Array:
        halves = np.split(x, 2, self.axis)
        value, gate = halves if self.first else halves[::-1]
        self.gate = each(self.f, gate)
        return value * self.gate

    def down(self, R: Array, variant: Variant) -> Array:
        halves = [R * self.gate, np.zeros(R.shape)]
        return np.concatenate(halves if self.first else halves[::-1], self.axis)


@dataclass
class Attention(Layer):
    """Self-attention of tokens (T, C). `query`, `key` and `value` are weights (C', C) and biases.

    `mask` (T, T) is added to the scores; -inf hides a token.
    """

    query: tuple[Array, Array]
    key: tuple[Array, Array]
    value: tuple[Array, Array]
    heads: int
    key_heads: int
    mask: Array | None = None

    def up(self, x: Array) -> Array:
        q, k, v = (x @ w.T + b for w, b in (self.query, self.key, self.value))
        tokens, width = len(x), q.shape[1] // self.heads
        out = np.zeros((tokens, self.heads * width))
        self.weights = np.zeros((self.heads, tokens, tokens))
        for head in range(self.heads):
            shared = head // (self.heads // self.key_heads)
            mine, its = (slice(h * width, (h + 1) * width) for h in (head, shared))
            for i in range(tokens):
                scores = np.array([q[i, mine] @ k[j, its] for j in range(tokens)])
                scores /= math.sqrt(width)
                if self.mask is not None:
                    scores += self.mask[i]
                if np.isinf(scores).all():
                    continue  # a token that sees none
                odds = np.exp(scores - scores.max())
                self.weights[head, i] = odds / odds.sum()
                for j in range(tokens):
                    out[i, mine] += self.weights[head, i, j] * v[j, its]
        return out

    def down(self, R: Array, variant: Variant) -> Array:
        weight = self.value[0]
        tokens, width = len(R), R.shape[1] // self.heads
        values = np.zeros((tokens, len(weight)))
        for head in range(self.heads):
            shared = head // (self.heads // self.key_heads)
            mine, its = (slice(h * width, (h + 1) * width) for h in (head, shared))
            for i in range(tokens):
                for j in range(tokens):
                    values[j, its] += self.weights[head, i, j] * R[i, mine]
        return values @ weight


@dataclass
class TokenLinear(Layer):
    weight: Array
    bias: Array

    def up(self, x: Array) -> Array:
        return x @ self.weight.T + self.bias

    def down(self, R: Array, variant: Variant) -> Array:
        return R @ self.weight


class Tokens(Layer):
    """Maps (C, H, W) as tokens (H * W, C)."""

    def up(self, x: Array) -> Array:
        self.seen = x
        return x.reshape(len(x), -1).T

    def down(self, R: Array, variant: Variant) -> Array:
        return R.T.reshape(self.seen.shape)


@dataclass
class Scaled(Layer):
    """LayerScale: constants (C,) times the channels, which are on the last axis or the first."""

    gamma: Array
    last: bool = True

    def up(self, x: Array) -> Array:
        return self.down(x, PAPER)

    def down(self, R: Array, variant: Variant) -> Array:
        return R * (self.gamma if self.last else self.gamma.reshape(-1, *(1,) * (R.ndim - 1)))


@dataclass
class Residual(Layer):
    """x + branch(x)."""

    branch: Sequence[Layer]

    def up(self, x: Array) -> Array:
        return x + up(self.branch, x)

    def down(self, R: Array, variant: Variant) -> Array:
        return R + down(self.branch, R, variant)


def up(layers: Sequence[Layer], x: Array) -> Array:
    for part in layers:
        x = part.up(x)
    return x


def down(layers: Sequence[Layer], R: Array, variant: Variant = PAPER) -> Array:
    for part in reversed(layers):
        R = part.down(R, variant)
    return R
