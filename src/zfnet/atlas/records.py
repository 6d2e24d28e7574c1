"""What the atlas says about each unit and each layer, as plain values for JSON.

The keys are described in docs/atlas.md. An image's activation of a channel is its largest
activation at any position.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zfnet.analysis.activation_statistics import ActivationStatistics
from zfnet.analysis.evolution import Winners
from zfnet.atlas.units import EXAMPLES, RANDOM_CHANNEL, UnitTiles
from zfnet.deconv import Deconvnet, Top, Unit
from zfnet.model_on_data import ModelOnData
from zfnet.sizes import sides

LINKS = 8  # of a unit, to the layer below and to the layer above
CLASS_CHANNELS = 12  # of a layer, listed for each class
DOMINANT = 5.0  # times the median of the largest activations of channels that are not dead
# A selective channel prefers its best class in this share of pairs, by this many deviations.
SELECTIVE, SIGNIFICANT = 0.9, 4.0


@dataclass(frozen=True)
class LayerFindings:
    """All that was measured of a layer.

    Attributes:
        name: of the layer.
        top: the strongest images of each of the C channels.
        examples: images with ordinary activations, at the quantiles EXAMPLES.
        statistics: of all layers.
        on_object: the share of energy on the objects, (C,); NaN where it is unknown.
        by_chance: the same by chance, (C,).
        feeds: for each channel the channels below, see `strongest_links`; [] for the first layer.
        read_by: the same for the layer above; [] for the last layer.
        winners: the strongest images by epoch, where the run's folder has them.
    """

    name: str
    top: Top
    examples: Top
    statistics: ActivationStatistics
    on_object: Tensor
    by_chance: Tensor
    feeds: Sequence[Sequence[tuple[int, float]]]
    read_by: Sequence[Sequence[tuple[int, float]]]
    winners: Mapping[int, Winners]

    @property
    def channels(self) -> int:
        """The number of channels."""
        return len(self.top.values)

    @property
    def largest(self) -> Tensor:
        """The largest activation of each channel, (C,)."""
        return self.top.values[:, 0]

    @property
    def dead(self) -> Tensor:
        """Whether no image activates a channel, bool (C,)."""
        return self.largest <= 0

    @property
    def dominant(self) -> Tensor:
        """Whether a channel is much stronger than most that are not dead, bool (C,)."""
        alive = self.largest[~self.dead]
        if not len(alive):
            return self.dead.logical_not()
        return self.largest > DOMINANT * alive.median()

    @property
    def at_largest(self) -> Tensor:
        """How many images reach the largest activation of a channel, int64 (C,)."""
        return self.statistics.ties(self.name)

    @property
    def saturated(self) -> Tensor:
        """Whether more images reach a channel's largest activation than are shown, bool (C,)."""
        return (self.at_largest > self.top.values.shape[1]) & ~self.dead

    @cached_property
    def selectivity(self) -> tuple[Tensor, Tensor]:
        """How well channels tell classes apart: the area and z, see `class_auc`."""
        return self.statistics.selectivity(self.name)

    @cached_property
    def best_class(self) -> tuple[Tensor, Tensor, Tensor]:
        """The class that each channel prefers, by z, with the area under the ROC curve and z.

        Returns:
            int64, float64 and float64 (C,); -1 and NaN where there is one class, or the channel's
            activations are all equal.
        """
        area, z = self.selectivity
        best = z.nan_to_num(nan=-torch.inf).argmax(0)
        area, z = (each.gather(0, best[None])[0] for each in (area, z))
        known = z > 0
        nan = torch.full_like(area, torch.nan)
        return best.where(known, torch.tensor(-1)), area.where(known, nan), z.where(known, nan)

    def selective(self) -> Tensor:
        """Whether a channel tells its best class from the others, bool (C,)."""
        _, area, z = self.best_class
        return (area >= SELECTIVE) & (z >= SIGNIFICANT)

    def last_jumps(self) -> list[int] | None:
        """The last epoch at which each channel's strongest image changed; 0 if it never did."""
        if not self.winners:
            return None
        ids = [winners.ids for winners in self.winners.values()]
        jumps = [0] * self.channels
        for epoch, before, now in zip(list(self.winners)[1:], ids, ids[1:], strict=False):
            for channel, (a, b) in enumerate(zip(before, now, strict=True)):
                if a != b:
                    jumps[channel] = epoch
        return jumps


def strongest_links(contributions: Tensor) -> list[list[tuple[int, float]]]:
    """The channels that contribute most to each unit.

    Args:
        contributions: (N, C), signed.

    Returns:
        For each of N units up to LINKS pairs of a channel and its share of the sum of absolute
        contributions, signed, strongest first; [] for a unit without any.
    """
    total = contributions.abs().sum(1, keepdim=True)
    shares = contributions / total.where(total > 0, 1)
    order = shares.abs().argsort(dim=1, descending=True, stable=True)[:, :LINKS]
    return [
        [(channel, share) for channel, share in zip(channels, values, strict=True) if share]
        for channels, values in zip(order.tolist(), shares.gather(1, order).tolist(), strict=True)
    ]


def class_names(model: ModelOnData) -> list[str]:
    """The classes of the data set; [] if there are none to tell apart."""
    names = list(model.images.classes)
    return names if len(names) > 1 else []


class Records:
    """The records of one layer.

    Args:
        model: the network and the images.
        number: of the layer.
        found: what was measured.
        tiles: what is shown of its units.
    """

    def __init__(
        self, model: ModelOnData, number: int, found: LayerFindings, tiles: UnitTiles
    ) -> None:
        self._model, self._number, self._found, self._tiles = model, number, found, tiles
        deconv = Deconvnet(model.net)
        self._windows = deconv.windows_by_position(found.name, model.shape)
        whole = (0, 0, *sides(model.crop))
        first = deconv.patches(model.inputs([0]), found.name, [Unit(0, 0)]).windows[0]
        self._cells = (
            {
                place: cell
                for place in self._windows
                if (cell := deconv.cell(found.name, Unit(0, 0, *place), model.shape))
            }
            if tuple(first) == whole
            else {}
        )
        self._classes = class_names(model)
        statistics = found.statistics
        self._means, self._deviations = (
            each(found.name).tolist() for each in (statistics.mean, statistics.deviation)
        )
        self._active = statistics.active(found.name).tolist()
        self._class_means = statistics.class_means(found.name).t().tolist()
        self._ranges, self._counts = (each.tolist() for each in statistics.histogram(found.name))
        self._sizes = statistics.labels.bincount(minlength=statistics.classes).tolist()
        self._best = [each.tolist() for each in found.best_class]

    def summary(self) -> dict[str, Any]:
        """The columns of the layer's page: one value for each channel."""
        found, known = self._found, bool(self._classes)
        best, area, _ = self._best
        has_masks = not bool(found.on_object.isnan().all())
        return {
            "largest": found.largest.tolist(),
            "mean": self._means,
            "active": self._active,
            "best_class": best if known else [-1] * found.channels,
            "auc": area if known else [None] * found.channels,
            "energy_on_object": found.on_object.tolist() if has_masks else None,
            "last_jump": found.last_jumps(),
            "dead": found.dead.tolist(),
        }

    def unit(self, channel: int) -> dict[str, Any]:
        """All that is known of a channel."""
        found, (low, high) = self._found, self._ranges[channel]
        examples = self._entries(found.examples, channel)
        for entry, quantile in zip(examples, EXAMPLES, strict=False):
            entry["quantile"] = quantile
        best, area, z = (each[channel] for each in self._best)
        share = float(found.on_object[channel])
        return {
            "channel": channel,
            "top": self._entries(found.top, channel),
            "examples": examples,
            "histogram": {"low": low, "high": high, "counts": self._counts[channel]},
            "largest": float(found.largest[channel]),
            "at_largest": int(found.at_largest[channel]),
            "mean": self._means[channel],
            "deviation": self._deviations[channel],
            "active": self._active[channel],
            "class_means": self._class_means[channel] if self._classes else [],
            "best": {"class": best, "auc": area, "z": z, "images": self._sizes[best]}
            if self._classes and best >= 0
            else None,
            "energy_on_object": share,
            "feeds": self._links(found.feeds, channel, self._number - 1),
            "read_by": self._links(found.read_by, channel, self._number + 1),
            "controls": {RANDOM_CHANNEL: self._tiles.other_channel(channel)},
            "evolution": self._evolution(channel),
        }

    def for_classes(self) -> list[list[tuple[int, float]]]:
        """For each class the channels that tell it from the others best, with the area."""
        area, z = self._found.selectivity
        order = z.nan_to_num(nan=-torch.inf).argsort(dim=1, descending=True, stable=True)
        return [
            [
                (channel, float(area[number, channel]))
                for channel in channels[:CLASS_CHANNELS]
                if z[number, channel] > 0
            ]
            for number, channels in enumerate(order.tolist())
        ]

    def _entries(self, top: Top, channel: int) -> list[dict[str, Any]]:
        """Describes the units of a channel; a dead one has none."""
        if self._found.dead[channel]:
            return []
        units = top.units([channel])
        values = top.values[channel, : len(units)].tolist()
        return [self._entry(*each) for each in zip(units, values, strict=True)]

    def _entry(self, unit: Unit, value: float) -> dict[str, Any]:
        place, images = (unit.y, unit.x), self._model.images
        entry = {
            "image": unit.image,
            "id": images.ids[unit.image],
            "class": int(images.labels[unit.image]) if self._classes else None,
            "y": unit.y,
            "x": unit.x,
            "value": value,
            "window": self._windows[place],
        }
        return entry | ({"cell": self._cells[place]} if place in self._cells else {})

    def _links(
        self, links: Sequence[Sequence[tuple[int, float]]], channel: int, layer: int
    ) -> list[dict[str, Any]]:
        return [
            {"layer": layer, "channel": other, "share": share}
            for other, share in (links[channel] if links else ())
        ]

    def _evolution(self, channel: int) -> dict[str, Any] | None:
        winners = self._found.winners
        if not winners:
            return None
        return {
            "epochs": list(winners),
            "images": [each.ids[channel] for each in winners.values()],
            "values": [float(each.values[channel]) for each in winners.values()],
            "drawn": False,
        }
