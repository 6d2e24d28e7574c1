"""Matches the channels of two layers that have seen the same images.

Layers are given by activations (N, C): the largest activation of each of C channels in each of N
images. A channel that has the same value in all images is dead.

    r          Pearson's correlation, over the images, of a channel of a and a channel of b
    matching   each channel has at most one partner; the sum of all r is as large as possible
    chance     the r that partners reach when the images of b are shuffled

Neither the order nor the positive scale of channels matters. The matching is that of Li et al.,
"Convergent Learning: Do different neural networks learn the same representations?" (2016).

    >>> import torch
    >>> from zfnet.analysis import match_channels
    >>> generator = torch.Generator().manual_seed(0)
    >>> a, b = torch.rand(500, 4, generator=generator), torch.rand(500, 4, generator=generator)
    >>> b[:, 3] = 2 * a[:, 0]
    >>> b[:, 2] = b[:, 2] + 0.5 * a[:, 1]
    >>> matching = match_channels(a, b)
    >>> matching.status_a, matching.status_b
    (['kept', 'changed', 'lost', 'lost'], ['new', 'new', 'changed', 'kept'])
"""

import math
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from zfnet.analysis.centered import CenteredLayer, center_layers, channel_products

KEPT = 0.7  # least r of a channel that is kept: the two share r², half of their variance
CHANCE = 0.99  # quantile of the r of shuffled images
PAIRS = 1000  # with shuffled images: ten of them lie above the quantile
SHUFFLES = 100  # at most: limits the time of a matching with few pairs


@dataclass(frozen=True)
class Matching:
    """Partners of the channels of layer a among those of layer b.

    Attributes:
        partners: int64 (C1,), channel of b; -1 without a partner.
        scores: float64 (C1,), r with the partner; NaN without one.
        chance: the r that 1 % of the pairs exceed when the images of b are shuffled; NaN if all
            channels of a layer are dead.
        dead_a: bool (C1,), whether each channel of a has the same value in all images.
        dead_b: bool (C2,), the same for b.
    """

    partners: Tensor
    scores: Tensor
    chance: float
    dead_a: Tensor
    dead_b: Tensor

    @property
    def status_a(self) -> list[str]:
        """What became of each channel of a.

        - "dead": it has the same value in all images;
        - "kept": chance < r and 0.7 <= r;
        - "changed": chance < r < 0.7;
        - "lost": r <= chance, or it has no partner.

        With few images chance can exceed 0.7. Then no channel is "changed".
        """
        return [
            "dead" if dead else self._status(score)
            for score, dead in zip(self.scores.tolist(), self.dead_a.tolist(), strict=True)
        ]

    @property
    def status_b(self) -> list[str]:
        """Where each channel of b comes from.

        - "dead": it has the same value in all images;
        - "kept" or "changed": it is the partner of such a channel of a;
        - "new": it has no partner, or its partner is "lost".
        """
        result = ["dead" if dead else "new" for dead in self.dead_b.tolist()]
        for partner, status in zip(self.partners.tolist(), self.status_a, strict=True):
            if status in ("kept", "changed"):
                result[partner] = status
        return result

    def _status(self, score: float) -> str:
        if not score > self.chance:  # NaN, without a partner, is not
            return "lost"
        return "kept" if score >= KEPT else "changed"


def correlations(a: Tensor, b: Tensor) -> Tensor:
    """Computes Pearson's correlation of every channel of a with every channel of b.

    Args:
        a: (N, C1), in memory or memory-mapped.
        b: (N, C2), of the same images in the same order.

    Returns:
        float64 (C1, C2), between -1 and 1; 0 for a channel that has the same value in all images.

    Raises:
        InputError: the layers are not (N, C1) and (N, C2), N is less than 2, or a value is not
            finite.

    Example:
        >>> a = torch.tensor([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]])
        >>> b = torch.tensor([[5.0], [3.0], [1.0]])
        >>> correlations(a, b).round(decimals=6)
        tensor([[-1.],
                [ 0.]], dtype=torch.float64)
    """
    one, other = center_layers([("a", a), ("b", b)])
    return _correlations(one, other)


def match_channels(a: Tensor, b: Tensor, seed: int = 0) -> Matching:
    """Finds the one-to-one matching of channels with the largest sum of correlations.

    As many channels as possible are matched, also those whose r is small or negative. Dead channels
    have no partner. If one layer has more channels, the rest has no partner. Of two equal channels
    of a, one can be "lost": b may have their like only once.

    Chance is one number for all channels: the 0.99 quantile of r after the images of b are shuffled
    and the channels matched anew. This is repeated until there are 1,000 pairs, at most 100 times.
    A channel that is active in very few images can exceed it by accident.

    Args:
        a: (N, C1), in memory or memory-mapped.
        b: (N, C2), of the same images in the same order.
        seed: of the shuffling.

    Raises:
        InputError: as for `correlations`.

    Example:
        >>> a = torch.rand(100, 3, generator=torch.Generator().manual_seed(0))
        >>> matching = match_channels(a, a[:, [2, 0]])
        >>> matching.partners, matching.status_a
        (tensor([ 1, -1,  0]), ['kept', 'lost', 'kept'])
    """
    one, other = center_layers([("a", a), ("b", b)])
    partners = torch.full((len(one.norm),), -1)
    scores = torch.full((len(one.norm),), math.nan, dtype=torch.float64)
    rows, columns, found = _assign(one, other)
    partners[rows], scores[rows] = columns, found
    return Matching(partners, scores, _chance(one, other, seed), one.norm == 0, other.norm == 0)


def _correlations(one: CenteredLayer, other: CenteredLayer, order: Tensor | None = None) -> Tensor:
    result = channel_products(one, other, order)  # exactly 0 for dead channels
    for norm in (one.norm[:, None], other.norm):
        result /= torch.where(norm > 0, norm, 1)
    return result.clamp_(-1, 1)


def _assign(
    one: CenteredLayer, other: CenteredLayer, order: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the channels of both layers that are matched (K,), and their correlations (K,)."""
    rows, columns = (layer.norm.nonzero().flatten() for layer in (one, other))
    found = _correlations(one, other, order)[rows[:, None], columns]
    i, j = (torch.from_numpy(each) for each in linear_sum_assignment(found.numpy(), maximize=True))
    return rows[i], columns[j], found[i, j]


def _chance(one: CenteredLayer, other: CenteredLayer, seed: int) -> float:
    pairs = int(min(layer.norm.count_nonzero() for layer in (one, other)))
    if not pairs:
        return math.nan
    generator = torch.Generator().manual_seed(seed)
    orders = (
        torch.randperm(len(one.values), generator=generator)
        for _ in range(min(math.ceil(PAIRS / pairs), SHUFFLES))
    )
    return torch.cat([_assign(one, other, order)[2] for order in orders]).quantile(CHANCE).item()
