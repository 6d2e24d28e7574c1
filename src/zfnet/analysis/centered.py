"""Activations of a layer minus the mean of each channel, and products of two such layers.

Activations (N, C) are the largest activation of each of C channels in each of N images. They are
read in blocks of images, so they can be memory-mapped. All sums are float64, of values minus their
mean: a channel with a large mean and small deviations loses nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zfnet.errors import InputError

AT_ONCE = 2**21  # float64 values in a block: 16 MB


@dataclass(frozen=True)
class CenteredLayer:
    """Activations and what centers them.

    Attributes:
        values: (N, C), as given.
        mean: float64 (C,).
        norm: float64 (C,), the root of the sum of squares of the values minus their mean; exactly 0
            for a channel with the same value in all images.
    """

    values: Tensor
    mean: Tensor
    norm: Tensor

    def read(self, images: slice | Tensor, channels: slice = slice(None)) -> Tensor:
        """Returns values minus their mean, float64; exactly 0 for channels of norm 0."""
        return _double(self.values[images, channels]) - self.mean[channels]


def center_layers(layers: Sequence[tuple[str, Tensor]]) -> list[CenteredLayer]:
    """Computes mean and norm of the channels of each layer.

    Args:
        layers: names, for messages, and activations (N, C) of the same images.

    Raises:
        InputError: a layer is not (N, C), N is less than 2 or differs between layers, or a value is
            not finite.
    """
    for name, values in layers:
        if values.dim() != 2 or len(values) < 2:
            raise InputError(
                f"{name}: activations {tuple(values.shape)}: (images, channels) of at least 2 "
                "images are needed"
            )
        if len(values) != len(layers[0][1]):
            raise InputError(
                f"{name}: activations of {len(values)} images, and {layers[0][0]} has "
                f"{len(layers[0][1])}: give those of the same images, in the same order"
            )
    return [_center(name, values) for name, values in layers]


def channel_products(
    one: CenteredLayer, other: CenteredLayer, order: Tensor | None = None
) -> Tensor:
    """Computes X'Y of two centered layers, (C1, C2).

    Args:
        one: X, (N, C1).
        other: Y, (N, C2).
        order: int64 (N,), rearranges the images of Y.
    """
    result = torch.zeros(len(one.norm), len(other.norm), dtype=torch.float64)
    for block in _blocks(len(one.values), sum(result.shape)):
        images = block if order is None else order[block]
        result.addmm_(one.read(block).T, other.read(images))
    return result


def image_products(layer: CenteredLayer) -> Tensor:
    """Computes XX' of a centered layer, (N, N)."""
    images, channels = layer.values.shape
    result = torch.zeros(images, images, dtype=torch.float64)
    for block in _blocks(channels, images):
        part = layer.read(slice(None), block)
        result.addmm_(part, part.T)
    return result


def _center(name: str, values: Tensor) -> CenteredLayer:
    """Updates mean and sum of squares block by block (Chan, Golub and LeVeque, 1983)."""
    first = _double(values[0])
    mean, squares = torch.zeros_like(first), torch.zeros_like(first)
    varies = torch.zeros_like(first, dtype=torch.bool)
    for block in _blocks(*values.shape):
        part = _double(values[block])
        varies |= (part != first).any(0)
        part_mean = part.mean(0)
        share = len(part) / block.stop
        squares += (part - part_mean).square_().sum(0)
        squares += (part_mean - mean).square() * (block.start * share)
        mean += (part_mean - mean) * share
    if bad := (~squares.isfinite()).nonzero().flatten().tolist():
        raise InputError(
            f"{name}: channel {bad[0]} holds a value that is no finite number: compare layers of "
            "finite activations"
        )
    return CenteredLayer(
        values, torch.where(varies, mean, first), torch.where(varies, squares, 0).sqrt()
    )


def _double(values: Tensor) -> Tensor:
    return values.to("cpu", torch.float64)


def _blocks(length: int, width: int) -> Iterator[slice]:
    """Yields slices of a (length, width) array that hold about AT_ONCE values each."""
    size = max(AT_ONCE // max(width, 1), 1)
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))
