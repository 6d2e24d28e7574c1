"""The deconvnet, slowly: one image, loops over windows and filters, float64 numpy.

Each layer goes up (`up`, which remembers its input) and comes down (`down`) as the definition says:

    normalization   identity
    max pooling     R(v) = Σ of R(u) over the windows u whose first maximum in row-major order is v
    ReLU            max(R, 0), without the mask of the way up
    convolution     R times the filter, added at every window's place; no bias; cropped to the input

    layers = described(net)
    projection = unit_projection(layers, image, "conv2", map=1, y=3, x=0)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from zfnet.models import ContrastNormalization

Array = np.ndarray[Any, np.dtype[np.float64]]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Variant:
    """`relu`: deconv, guided or gradient; `unpool`: sum, overwrite or centre."""

    relu: str = "deconv"
    unpool: str = "sum"


PAPER = Variant()


class Layer:
    """(C, H, W), or (C,) behind a Flatten, up; the same shapes back down."""

    seen: Array  # the input of the way up

    def up(self, x: Array) -> Array:
        raise NotImplementedError

    def down(self, R: Array, variant: Variant) -> Array:
        raise NotImplementedError


@dataclass
class Conv(Layer):
    weight: Array  # (out, in / groups, kh, kw)
    bias: Array
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def places(self, shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, int, int], Any]]:
        """Every unit (channel, y, x) with the part of the padded input that its filter covers."""
        (maps, inputs, *kernel), sides = self.weight.shape, []
        for n, k, s, p, d in zip(
            shape[1:], kernel, self.stride, self.padding, self.dilation, strict=True
        ):
            count = (n + 2 * p - d * (k - 1) - 1) // s + 1
            sides.append([slice(i * s, i * s + d * (k - 1) + 1, d) for i in range(count)])
        for c in range(maps):
            first = c // (maps // self.groups) * inputs
            for y, rows in enumerate(sides[0]):
                for x, columns in enumerate(sides[1]):
                    yield (c, y, x), (slice(first, first + inputs), rows, columns)

    def padded(self, x: Array) -> Array:
        return np.pad(x, [(0, 0), *[(p, p) for p in self.padding]])

    def up(self, x: Array) -> Array:
        self.seen, padded = x, self.padded(x)
        values = {
            unit: (padded[place] * self.weight[unit[0]]).sum() + self.bias[unit[0]]
            for unit, place in self.places(x.shape)
        }
        return np.array(list(values.values())).reshape([n + 1 for n in max(values)])

    def down(self, R: Array, variant: Variant) -> Array:
        padded = self.padded(np.zeros(self.seen.shape))
        for unit, place in self.places(self.seen.shape):
            padded[place] += R[unit] * self.weight[unit[0]]
        (_, height, width), (top, left) = self.seen.shape, self.padding
        return padded[:, top : top + height, left : left + width]


@dataclass
class Relu(Layer):
    def up(self, x: Array) -> Array:
        self.seen = x
        return np.maximum(x, 0)

    def down(self, R: Array, variant: Variant) -> Array:
        if variant.relu != "gradient":
            R = np.maximum(R, 0)
        return R if variant.relu == "deconv" else R * (self.seen > 0)


@dataclass
class MaxPool(Layer):
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil_mode: bool
    doubtful: bool = False  # a maximum that rounding could move to another cell

    def starts(self, axis: int) -> list[int]:
        """Where the windows of an axis begin; in ceil mode the last begins inside or in the left
        padding."""
        n, k, s = self.seen.shape[1 + axis], self.kernel[axis], self.stride[axis]
        p, d = self.padding[axis], self.dilation[axis]
        reach = n + 2 * p - d * (k - 1) - 1
        count = (reach + (s - 1 if self.ceil_mode else 0)) // s + 1
        if self.ceil_mode and (count - 1) * s >= n + p:
            count -= 1
        return [i * s - p for i in range(count)]

    def cells(self, start: int, axis: int) -> list[int]:
        span = [start + i * self.dilation[axis] for i in range(self.kernel[axis])]
        return [i for i in span if 0 <= i < self.seen.shape[1 + axis]]

    def centre(self, start: int, axis: int) -> int:
        middle = start + (self.kernel[axis] - 1) // 2 * self.dilation[axis]
        return min(max(middle, 0), self.seen.shape[1 + axis] - 1)

    def up(self, x: Array) -> Array:
        self.seen, self.doubtful = x, False
        tops, lefts = self.starts(0), self.starts(1)
        result = np.zeros((len(x), len(tops), len(lefts)))
        self.switch: dict[tuple[int, int, int], tuple[int, int, int]] = {}
        for c, y, i in np.ndindex(result.shape):
            best = None
            values = []
            for row in self.cells(tops[y], 0):
                for column in self.cells(lefts[i], 1):
                    values.append(x[c, row, column])
                    if best is None or x[c, row, column] > x[best]:
                        best = (c, row, column)
            assert best is not None
            self.switch[c, y, i], result[c, y, i] = best, x[best]
            runner_up = sorted(values)[-2:][0]
            self.doubtful |= (
                len(values) > 1 and x[best] != 0 and runner_up > x[best] - 1e-9 * abs(x[best])
            )
        return result

    def down(self, R: Array, variant: Variant) -> Array:
        tops, lefts = self.starts(0), self.starts(1)
        result = np.zeros(self.seen.shape)
        for c, y, x in np.ndindex(R.shape):
            if variant.unpool == "sum":
                result[self.switch[c, y, x]] += R[c, y, x]
            elif variant.unpool == "overwrite":
                result[self.switch[c, y, x]] = R[c, y, x]
            else:
                result[c, self.centre(tops[y], 0), self.centre(lefts[x], 1)] += R[c, y, x]
        return result


@dataclass
class AveragePool(Layer):
    kernel: Pair
    stride: Pair

    def up(self, x: Array) -> Array:
        self.seen = x
        (kh, kw), (sh, sw) = self.kernel, self.stride
        result = np.zeros((len(x), (x.shape[1] - kh) // sh + 1, (x.shape[2] - kw) // sw + 1))
        for c, y, i in np.ndindex(result.shape):
            result[c, y, i] = x[c, y * sh : y * sh + kh, i * sw : i * sw + kw].sum() / (kh * kw)
        return result

    def down(self, R: Array, variant: Variant) -> Array:
        result = np.zeros(self.seen.shape)
        (kh, kw), (sh, sw) = self.kernel, self.stride
        for c, y, x in np.ndindex(R.shape):
            result[c, y * sh : y * sh + kh, x * sw : x * sw + kw] += R[c, y, x] / (kh * kw)
        return result


@dataclass
class Normalization(Layer):
    """Krizhevsky's contrast normalization on the way up, nothing on the way down."""

    size: int
    alpha: float
    k: float

    def up(self, x: Array) -> Array:
        result, half = np.zeros(x.shape), self.size // 2
        for c in range(len(x)):
            near = x[max(0, c - half) : c + half + 1]
            result[c] = x[c] / (self.k + self.alpha * (near**2).sum(0)) ** 0.75
        return result

    def down(self, R: Array, variant: Variant) -> Array:
        return R


@dataclass
class Identity(Layer):
    def up(self, x: Array) -> Array:
        return x

    def down(self, R: Array, variant: Variant) -> Array:
        return R


@dataclass
class Scale(Layer):
    """Batch norm in evaluation: scale and shift per map."""

    scale: Array
    shift: Array

    def up(self, x: Array) -> Array:
        return x * self.scale[:, None, None] + self.shift[:, None, None]

    def down(self, R: Array, variant: Variant) -> Array:
        return R * self.scale[:, None, None]


@dataclass
class Flatten(Layer):
    def up(self, x: Array) -> Array:
        self.seen = x
        return x.reshape(-1)

    def down(self, R: Array, variant: Variant) -> Array:
        return R.reshape(self.seen.shape)


@dataclass
class Linear(Layer):
    weight: Array  # (out, in)
    bias: Array

    def up(self, x: Array) -> Array:
        return self.weight @ x + self.bias

    def down(self, R: Array, variant: Variant) -> Array:
        return R @ self.weight


def array(tensor: Any) -> Array:
    return tensor.detach().double().numpy()


def pair(value: Any) -> Pair:
    return (value, value) if isinstance(value, int) else tuple(value)


def layer(module: nn.Module) -> Layer:
    match module:
        case nn.Conv2d():
            bias = np.zeros(module.out_channels) if module.bias is None else array(module.bias)
            stride, padding, dilation = (
                pair(module.stride),
                pair(module.padding),
                pair(module.dilation),
            )
            return Conv(array(module.weight), bias, stride, padding, dilation, module.groups)
        case nn.Linear():
            return Linear(array(module.weight), array(module.bias))
        case nn.ReLU():
            return Relu()
        case nn.MaxPool2d():
            kernel, stride = pair(module.kernel_size), pair(module.stride)
            return MaxPool(
                kernel, stride, pair(module.padding), pair(module.dilation), module.ceil_mode
            )
        case nn.AvgPool2d():
            return AveragePool(pair(module.kernel_size), pair(module.stride))
        case nn.BatchNorm2d():
            scale = array(module.weight) / np.sqrt(array(module.running_var) + module.eps)
            return Scale(scale, array(module.bias) - array(module.running_mean) * scale)
        case ContrastNormalization():
            return Normalization(module.size, module.alpha, module.k)
        case nn.Flatten():
            return Flatten()
        case nn.Dropout():
            return Identity()
    raise NotImplementedError(module)


def described(net: nn.Sequential) -> dict[str, Layer]:
    """The layers of a chain, nested or not, by the names of `named_modules`, in the order of the
    way up."""
    named = net.named_modules(remove_duplicate=False)
    return {name: layer(module) for name, module in named if not list(module.children())}


def outputs(layers: dict[str, Layer], image: Any) -> dict[str, Array]:
    """Every layer's output for one image (3, H, W)."""
    x, result = array(image), {}
    for name, part in layers.items():
        x = result[name] = part.up(x)
    return result


def doubtful(layers: dict[str, Layer]) -> bool:
    """Whether a switch of the last way up could fall elsewhere by rounding."""
    return any(part.doubtful for part in layers.values() if isinstance(part, MaxPool))


def down(layers: dict[str, Layer], name: str, seed: Array, variant: Variant = PAPER) -> Array:
    """`seed`, an output of layer `name` in the last image that went up, comes down to the pixels
    (3, H, W).

    A seed holds activations, so what is negative in it does not count.
    """
    R = np.maximum(seed, 0)
    for part in reversed(list(layers.values())[: list(layers).index(name) + 1]):
        R = part.down(R, variant)
    return R


def unit_projection(
    layers: dict[str, Layer],
    image: Any,
    name: str,
    channel: int,
    y: int = 0,
    x: int = 0,
    variant: Variant = PAPER,
) -> Array:
    """One unit keeps its activation, all others of its layer are 0."""
    values = outputs(layers, image)[name]
    unit = (channel, y, x)[: values.ndim]
    seed = np.zeros(values.shape)
    seed[unit] = values[unit]
    return down(layers, name, seed, variant)


def channel_projection(
    layers: dict[str, Layer], image: Any, name: str, channel: int, variant: Variant = PAPER
) -> Array:
    """One whole map keeps its activations, all others are 0."""
    values = outputs(layers, image)[name]
    seed = np.zeros(values.shape)
    seed[channel] = values[channel]
    return down(layers, name, seed, variant)


def field(layers: dict[str, Layer], name: str, y: int, x: int) -> tuple[int, int, int, int]:
    """(top, left, bottom, right), half-open: the pixels that can reach a unit, beyond the border
    too.

    Only in front of a Flatten.
    """
    first, last = [y, x], [y, x]
    for part in reversed(list(layers.values())[: list(layers).index(name) + 1]):
        if isinstance(part, Conv | MaxPool | AveragePool):
            kernel = part.weight.shape[2:] if isinstance(part, Conv) else part.kernel
            for axis in (0, 1):
                padding = 0 if isinstance(part, AveragePool) else part.padding[axis]
                dilation = 1 if isinstance(part, AveragePool) else part.dilation[axis]
                first[axis] = first[axis] * part.stride[axis] - padding
                last[axis] = (
                    last[axis] * part.stride[axis] - padding + (kernel[axis] - 1) * dilation
                )
    return first[0], first[1], last[0] + 1, last[1] + 1
