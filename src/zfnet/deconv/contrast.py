"""Contrastive projections: what a unit's projection does not share with those of other channels.

Much of a projection is the same for all channels at a position: the image's switches, seen through
the lower filters. With p the projection of a unit, and m the mean of the projections of K random
other channels at the same position, the contrastive projection is

    p − ⟨p, m⟩ m / ⟨m, m⟩

It is ours, not the paper's. It is signed: where its sign is not that of m, the unit has less than
the others. The others start with 1, whether active or not, and each counts with norm 1. One that
projects to 0 has no direction and is left out of the mean. The unit's own channel is not among the
others. If K is larger than the number of other channels, all of them are used.

A unit that is not active has p = 0, and 0 as contrastive projection. If m = 0, as in a layer of
one channel, all of p is the unit's own. What is 0 but for rounding is 0: if p is a multiple of m,
the contrastive projection is not noise.

>>> import torch
>>> from zfnet.deconv.contrast import subtract_shared
>>> projection = torch.tensor([[[2.0, 3.0]]])  # (C, H, W)
>>> others = [torch.tensor([[[5.0, 0.0]]]), torch.zeros(1, 1, 2)]
>>> subtract_shared(projection, others)
tensor([[[0., 3.]]])
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zfnet.deconv.units import Unit
from zfnet.errors import InputError

FLOATS = 2**25  # of the projections that are held at once: 128 MB
Project = Callable[[Sequence[Unit]], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Contrast:
    """The random channels that each unit's projection is compared with.

    Attributes:
        count: K, the number of channels; 0 for plain projections.
        seed: of the sample.

    Raises:
        InputError: `count` is no whole number from 0.
    """

    count: int
    seed: int = 0

    def __post_init__(self) -> None:
        if type(self.count) is not int or self.count < 0:
            raise InputError(
                f"contrast={self.count!r}: the number of channels to compare with is needed, or 0"
            )

    def others(self, channel: int, channels: int) -> list[int]:
        """Returns the channels that one channel is compared with.

        The sample depends on the seed only. A smaller one is part of a larger one.

        Args:
            channel: the channel itself, which is left out.
            channels: the number of channels of the layer.
        """
        order = torch.randperm(channels, generator=torch.Generator().manual_seed(self.seed))
        return [other for other in order.tolist() if other != channel][: self.count]

    def settings(self, channels: int) -> dict[str, int] | None:
        """Returns K and the seed, for results; None for plain projections.

        Args:
            channels: the number of channels of the layer.
        """
        if not self.count:
            return None
        return {"channels": min(self.count, channels - 1), "seed": self.seed}

    def describe(self, channels: int) -> str:
        """Says how projections are compared, for figures: "" for plain projections.

        Args:
            channels: the number of channels of the layer.

        Example:
            >>> Contrast(16).describe(channels=256)
            "contrastive projections, K = 16: ours, not the paper's"
        """
        if not (settings := self.settings(channels)):
            return ""
        return f"contrastive projections, K = {settings['channels']}: ours, not the paper's"

    def project(
        self,
        project: Project,
        units: Sequence[Unit],
        channels: int,
        signal: Callable[[Tensor], Tensor],
        floats: int,
    ) -> tuple[Tensor, Tensor]:
        """Projects units, and subtracts what they share with others.

        Args:
            project: see `compare`.
            units: N units of one layer.
            channels: the number of channels of the layer.
            signal: returns the signal with which units of these activations start.
            floats: the largest number of floats of one projection.

        Returns:
            The contrastive projections (N, C, h, w) and the activations (N,).
        """
        activations, projections = [], []
        for part in self.compare(project, units, channels, floats):
            plain = part.own * signal(part.values).view(-1, 1, 1, 1)
            projections.append(part.contrastive(plain))
            activations.append(part.values)
        return torch.cat(projections), torch.cat(activations)

    def compare(
        self, project: Project, units: Sequence[Unit], channels: int, floats: int
    ) -> Iterator["Compared"]:
        """Projects units and the others of each.

        Args:
            project: returns the projections (M, C, h, w) of M units, which start with 1, and their
                activations (M,). It is called for many units and all others of each.
            units: N units of one layer.
            channels: the number of channels of the layer.
            floats: the largest number of floats of one projection.

        Yields:
            Some of the units in order, at least once.
        """
        at_once = max(1, FLOATS // floats // (1 + min(self.count, channels)))
        for start in range(0, max(1, len(units)), at_once):
            part = units[start : start + at_once]
            others = [
                [replace(unit, channel=other) for other in self.others(unit.channel, channels)]
                for unit in part
            ]
            groups = zip(part, others, strict=True)
            every = dict.fromkeys(each for unit, beside in groups for each in (unit, *beside))
            rows = {unit: row for row, unit in enumerate(every)}
            forced, values = project(list(rows))
            own = torch.tensor([rows[unit] for unit in part], dtype=torch.long)
            beside = [[forced[rows[other]] for other in each] for each in others]
            yield Compared(forced[own], values[own], beside)


@dataclass(frozen=True)
class Compared:
    """Projections of units and of the channels that they are compared with, all started with 1.

    Attributes:
        own: the projections of N units, (N, C, h, w).
        values: their activations, (N,).
        others: for each unit K projections (C, h, w).
    """

    own: Tensor
    values: Tensor
    others: list[list[Tensor]]

    def contrastive(self, plain: Tensor) -> Tensor:
        """Returns the contrastive projections of the units, whose plain ones are given."""
        each = zip(plain, self.others, strict=True)
        return torch.stack([subtract_shared(*one) for one in each]) if len(plain) else plain


def subtract_shared(projection: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Subtracts from a projection its part along the mean of others.

    Args:
        projection: (C, H, W), signed.
        others: K projections (C, H, W), of any scale.

    Returns:
        (C, H, W), orthogonal to the mean.
    """
    if not others:
        return projection
    dtype = torch.promote_types(projection.dtype, torch.float32)
    rounding = torch.finfo(projection.dtype).eps ** 0.5
    each = _normalize(torch.stack(list(others)).flatten(1).to(dtype))
    each = each[each.any(1)]
    shared = each.sum(0)  # the mean, but for its scale
    if shared.norm() <= rounding * len(each):
        return projection
    direction = shared / shared.norm()
    whole = projection.flatten().to(dtype)
    (unit,) = _normalize(whole[None])
    own = unit - (unit @ direction) * direction
    if own.norm() <= rounding:
        return torch.zeros_like(projection)
    return (own * (whole @ unit)).to(projection.dtype).view_as(projection)


def _normalize(vectors: Tensor) -> Tensor:
    """Returns vectors (N, D) with norm 1, or 0 for those that are 0."""
    largest = vectors.abs().amax(1, keepdim=True)
    vectors = vectors / largest.where(largest != 0, 1)  # squares of tiny numbers would be 0
    return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1)
