"""Sets of image ids, stored as ranges: consecutive ids take one range, whatever their number.

>>> import torch
>>> from zfnet.deconv.ids import Ids
>>> ids = Ids.of(torch.tensor([4, 5, 6]))
>>> ids.ranges
tensor([[4, 7]])
>>> ids.repeated(torch.tensor([6, 7]))
tensor([6])
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor


def _none() -> Tensor:
    return torch.empty(0, 2, dtype=torch.long)


@dataclass(frozen=True)
class Ids:
    """A set of integers. `ranges` (N, 2) are half-open, ascending, and do not touch."""

    ranges: Tensor = field(default_factory=_none)

    @staticmethod
    def of(ids: Tensor) -> "Ids":
        """Returns the set of the ids (B,)."""
        numbers = ids.unique()
        return Ids(torch.stack([numbers, numbers + 1], 1)).union(Ids())

    def union(self, other: "Ids") -> "Ids":
        """Returns the ids of both sets."""
        starts, stops = torch.cat([self.ranges, other.ranges]).sort(dim=0).values.unbind(1)
        first = torch.ones_like(starts, dtype=torch.bool)
        first[1:] = starts[1:] > stops[:-1]  # a gap: the previous range ends before this one starts
        return Ids(torch.stack([starts[first], stops[first.roll(-1)]], 1))

    def repeated(self, ids: Tensor) -> Tensor:
        """Returns those of `ids` (B,) that are in this set, or occur more than once."""
        numbers, counts = ids.unique(return_counts=True)
        place = torch.searchsorted(self.ranges[:, 0].contiguous(), numbers, right=True) - 1
        inside = torch.zeros_like(numbers, dtype=torch.bool)
        known = place >= 0
        inside[known] = numbers[known] < self.ranges[place[known], 1]
        return numbers[inside | (counts > 1)]
