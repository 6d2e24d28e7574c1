"""Which units of a channel the atlas shows, and their projections as tiles.

Of each channel: the k strongest images, images at the quantiles EXAMPLES, and for the strongest
image the controls, which are other projections of the same place.

    contrastive       what the projection does not share with those of other channels
    random_channel    the projection of another channel there
    random_weights    the unit's projection in a network whose weights are shuffled
    guided, gradient  by guided backpropagation and by the gradient
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from zfnet.analysis.localization import energy_by_chance, energy_inside
from zfnet.analysis.sanity import cascade
from zfnet.atlas.tiles import blank, patch_tiles, projection_tiles
from zfnet.deconv import Deconvnet, Patches, Top, Unit, make_deconvnet
from zfnet.deconv.contrast import Contrast
from zfnet.deconv.patches import starts_of
from zfnet.model_on_data import ModelOnData

EXAMPLES = (0.99, 0.9, 0.75, 0.5, 0.25)  # quantiles of the images' activations
CONTROLS = ("contrastive", "random_channel", "random_weights", "guided", "gradient")
ROWS = ("projections", "patches", "controls", "example_projections", "example_patches")
AT_ONCE = 256  # units that are projected together


@dataclass(frozen=True)
class Shown:
    """What the atlas shows of some channels of a layer.

    Attributes:
        tiles: uint8 (channels, rows, columns, H, W, 3); see ROWS.
        on_object: the mean share of the strongest projections' energy on the objects, (channels,);
            NaN where no object or no projection is known.
        by_chance: the share of the control `random_channel`, moved to random units, (channels,).
    """

    tiles: Tensor
    on_object: Tensor
    by_chance: Tensor


class UnitTiles:
    """Projects the units of one layer.

    Args:
        model: the network and the images.
        layer: name of the layer.
        top: the k strongest images of each channel.
        examples: an image of each channel at each of EXAMPLES.
        contrast: which channels contrastive projections are compared with.
        mask: the mask (H, W) of an image's object by the image's index; None if masks are unknown.
    """

    def __init__(
        self,
        model: ModelOnData,
        layer: str,
        top: Top,
        examples: Top,
        contrast: Contrast,
        mask: Callable[[int], Tensor] | None,
    ) -> None:
        self.model, self.layer, self.top, self.examples = model, layer, top, examples
        self.contrast, self.mask = contrast, mask
        self.columns = max(top.values.shape[1], len(EXAMPLES), len(CONTROLS))
        self._deconv = Deconvnet(model.net)
        self._controls = {
            "contrastive": Deconvnet(
                model.net, contrast=contrast.count, contrast_seed=contrast.seed
            ),
            "random_channel": Deconvnet(model.net, seed="forced"),
            "random_weights": Deconvnet(self._shuffled(), seed="forced"),
            "guided": make_deconvnet(model.net, "guided"),
            "gradient": make_deconvnet(model.net, "gradient"),
        }
        empty = self._deconv.patches(model.inputs([0]), layer, [])
        self._windows = self._deconv.windows_by_position(layer, model.shape)
        height, width = empty.projections.shape[2:]
        self._size = (height, width)

    @property
    def size(self) -> tuple[int, int]:
        """The height and width of a tile, in pixels."""
        height, width, _ = blank(self._size).shape
        return (height, width)

    def other_channel(self, channel: int) -> int:
        """Returns the channel of the control `random_channel`."""
        others = self.contrast.others(channel, len(self.top.values))
        return others[0] if others else channel

    def show(self, channels: Sequence[int]) -> Shown:
        """Projects all units of some channels."""
        tiles = blank(self._size, len(channels), len(ROWS), self.columns)
        on_object = torch.full((len(channels), self.top.values.shape[1]), torch.nan)
        by_chance = torch.full((len(channels),), torch.nan)
        for of, row in ((self.top, 0), (self.examples, 3)):
            units, cells = _units(of, channels)
            for places, patches, pixels in self._project(self._deconv, units):
                number, rank = cells[places].unbind(1)
                tiles[number, row, rank] = self._tiles(patches)
                tiles[number, row + 1, rank] = patch_tiles(self.model.shown(pixels))
                if row == 0 and self.mask:
                    on_object[number, rank] = self._energy(patches, [units[i] for i in places])
        units, cells = _units(self.top.best(1), channels)
        for column, name in enumerate(CONTROLS):
            chosen = units
            if name == "random_channel":
                chosen = [replace(u, channel=self.other_channel(u.channel)) for u in units]
            for places, patches, _ in self._project(self._controls[name], chosen):
                number = cells[places, 0]
                tiles[number, 2, column] = self._tiles(patches)
                if name == "random_channel" and self.mask:
                    by_chance[number] = self._energy_by_chance(patches, [chosen[i] for i in places])
        return Shown(tiles, on_object.nanmean(1), by_chance)

    def _tiles(self, patches: Patches) -> Tensor:
        return projection_tiles(self.model.shown(patches.projections.cpu()))

    def _project(
        self, deconv: Deconvnet, units: Sequence[Unit]
    ) -> Iterator[tuple[list[int], Patches, Tensor]]:
        """Projects units, those of one image together.

        Yields:
            The places of some units, their projections, and the pixels at the same places.
        """
        order = sorted(range(len(units)), key=lambda i: (units[i].image, units[i].y, units[i].x))
        for start in range(0, len(order), AT_ONCE):
            places = order[start : start + AT_ONCE]
            yield places, *self.model.project(deconv, self.layer, [units[i] for i in places])

    def _energy(self, patches: Patches, units: Sequence[Unit]) -> Tensor:
        """Returns the share of energy on the objects, (N,)."""
        return energy_inside(*self._energies(patches, units))

    def _energy_by_chance(self, patches: Patches, units: Sequence[Unit]) -> Tensor:
        """Returns the share of energy on the objects if they were random units', (N,)."""
        own = torch.tensor([self._windows[unit.y, unit.x][:2] for unit in units])
        corners = torch.tensor([window[:2] for window in self._windows.values()])
        return energy_by_chance(*self._energies(patches, units), own, corners)

    def _energies(self, patches: Patches, units: Sequence[Unit]) -> tuple[Tensor, Tensor, Tensor]:
        assert self.mask
        masks = torch.stack([self.mask(unit.image) for unit in units])
        return patches.projections.cpu(), starts_of(patches.windows), masks

    def _shuffled(self) -> nn.Module:
        """Returns a copy of the network with all weights below the layer shuffled."""
        image = self.model.inputs([0])
        *_, (_, shuffled) = cascade(self.model.net, self.layer, image, self.contrast.seed)
        return shuffled


def _units(top: Top, channels: Sequence[int]) -> tuple[list[Unit], Tensor]:
    """Returns the units of channels, and int64 (N, 2) the number of the channel and the rank."""
    found = [top.units([channel]) for channel in channels]
    cells = [(number, rank) for number, units in enumerate(found) for rank in range(len(units))]
    return [unit for units in found for unit in units], torch.tensor(cells).view(-1, 2)
