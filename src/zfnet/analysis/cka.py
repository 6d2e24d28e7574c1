"""Linear CKA: how similar two layers are that have seen the same images.

Kornblith et al., "Similarity of Neural Network Representations Revisited" (2019). With X (N, C1)
and Y (N, C2) the activations of N images minus the mean of each channel, and Frobenius norms,

    CKA = |Y'X|² / (|X'X| |Y'Y|)

It lies between 0 and 1. It does not change when the channels of a layer are permuted, rotated as a
space, or scaled together. With few images it is large for unrelated layers as well: 0.5 for random
layers of as many channels as images, 0.09 with ten times as many images.

    >>> import torch
    >>> from zfnet.analysis import linear_cka
    >>> generator = torch.Generator().manual_seed(0)
    >>> a, b = torch.rand(100, 5, generator=generator), torch.rand(100, 5, generator=generator)
    >>> round(linear_cka(a, 2 * a.flip(1)), 4), round(linear_cka(a, b), 4)
    (1.0, 0.0482)
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from zfnet.analysis.centered import CenteredLayer, center_layers, channel_products, image_products


def linear_cka(a: Tensor, b: Tensor) -> float:
    """Computes the linear CKA of two layers.

    Args:
        a: (N, C1), in memory or memory-mapped.
        b: (N, C2), of the same images in the same order.

    Returns:
        A number between 0 and 1; NaN if every channel of a layer has the same value in all images.

    Raises:
        InputError: the layers are not (N, C1) and (N, C2), N is less than 2, or a value is not
            finite.

    Example:
        >>> a = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> round(linear_cka(a, a[:, :1]), 6)
        0.790569
    """
    return cka_table({"a": a}, {"b": b}).item()


def cka_table(layers_a: Mapping[str, Tensor], layers_b: Mapping[str, Tensor]) -> Tensor:
    """Computes the linear CKA of every layer of one network with every layer of another.

    Args:
        layers_a: activations (N, C) of L1 layers, by name, in memory or memory-mapped.
        layers_b: activations (N, C) of L2 layers of the same images in the same order, by name.

    Returns:
        float64 (L1, L2), as of `linear_cka`.

    Raises:
        InputError: as for `linear_cka`; the message names the layer.

    Example:
        >>> layers = {"conv1": torch.rand(10, 3), "conv2": torch.rand(10, 4)}
        >>> cka_table(layers, layers).diagonal().round(decimals=6)
        tensor([1., 1.], dtype=torch.float64)
    """
    every = center_layers(
        [
            *((f"layers_a[{name!r}]", values) for name, values in layers_a.items()),
            *((f"layers_b[{name!r}]", values) for name, values in layers_b.items()),
        ]
    )
    own = torch.tensor(
        [math.sqrt(_squared_norm(layer, layer)) for layer in every], dtype=torch.float64
    )
    one, other = every[: len(layers_a)], every[len(layers_a) :]
    across = torch.tensor(
        [_squared_norm(x, y) for x in one for y in other], dtype=torch.float64
    ).view(len(one), len(other))
    return (across / torch.outer(own[: len(one)], own[len(one) :])).clamp(max=1)


def _squared_norm(x: CenteredLayer, y: CenteredLayer) -> float:
    """Computes |Y'X|² in the cheaper of two ways.

    Y'X takes N C1 C2 multiplications. XX' and YY', whose products sum up to the same, take
    N² (C1 + C2), or N² C if X is Y.
    """
    images, c1, c2 = len(x.values), len(x.norm), len(y.norm)
    if c1 * c2 <= images * (c1 if x is y else c1 + c2):
        return channel_products(x, y).square_().sum().item()
    gram = image_products(x)
    return (gram * (gram if x is y else image_products(y))).sum().item()
