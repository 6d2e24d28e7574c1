"""Which units of a channel the atlas shows, and their projections as tiles.

Of each channel: the k strongest images, images at the quantiles EXAMPLES, and for the strongest
image the controls, which are other projections of the same place.

    contrastive       what the projection does not share with those of other channels
    random_channel    the projection of another channel there
    random_weights    the unit's projection in a network whose weights are shuffled
    guided, gradient  by guided backpropagation and by the gradient
    occlusion         how much of the channel's activation is lost where a gray square covers the
                      image; only if it is asked for, because it takes many passes of each image
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from zfnet.analysis.localization import energy_by_chance, energy_inside, occlusion_map
from zfnet.analysis.sanity import cascade
from zfnet.atlas.tiles import blank, patch_tiles, projection_tiles
from zfnet.deconv import Deconvnet, Patches, Top, Unit, make_deconvnet, random_subset
from zfnet.deconv.contrast import Contrast
from zfnet.deconv.patches import starts_of
from zfnet.deconv.windows import cut
from zfnet.model_on_data import ModelOnData

log = logging.getLogger(__name__)

EXAMPLES = (0.99, 0.9, 0.75, 0.5, 0.25)  # quantiles of the images' activations
OCCLUSION = "occlusion"
RANDOM_CHANNEL = "random_channel"
CONTROLS = ("contrastive", RANDOM_CHANNEL, "random_weights", "guided", "gradient", OCCLUSION)
ROWS = ("projections", "patches", "controls", "example_projections", "example_patches")
PREVIEW = 12  # channels that stand for a layer
AT_ONCE = 128  # units that are projected together
SWEPT = 4  # images that are occluded together


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


@dataclass(frozen=True)
class Job:
    """Projections by one deconvnet.

    Attributes:
        row: of the tiles, one of ROWS.
        deconv: the deconvnet.
        units: N units.
        cells: int64 (N, 2), for each the number of its channel and the column of its tile.
        control: one of CONTROLS, for the row of this name.
    """

    row: str
    deconv: Deconvnet
    units: list[Unit]
    cells: Tensor
    control: str = ""


class UnitTiles:
    """Projects the units of one layer.

    Args:
        model: the network and the images.
        layer: name of the layer.
        top: the k strongest images of each channel.
        examples: an image of each channel at each of EXAMPLES.
        contrast: which channels contrastive projections are compared with.
        mask: the mask (H, W) of an image's object by the image's index; None if masks are unknown.
        occlusion: whether to show the occlusion maps of the strongest images.
    """

    def __init__(
        self,
        model: ModelOnData,
        layer: str,
        top: Top,
        examples: Top,
        contrast: Contrast,
        mask: Callable[[int], Tensor] | None,
        occlusion: bool = False,
    ) -> None:
        self.model, self.layer, self.top, self.examples = model, layer, top, examples
        self.contrast, self.mask = contrast, mask
        wanted = {"contrastive": contrast.count > 0, OCCLUSION: occlusion}
        self.controls = tuple(name for name in CONTROLS if wanted.get(name, True))
        self.columns = max(top.values.shape[1], len(EXAMPLES), len(self.controls))
        self._deconv = Deconvnet(model.net)
        self._controls = {
            "contrastive": Deconvnet(
                model.net, contrast=contrast.count, contrast_seed=contrast.seed
            ),
            RANDOM_CHANNEL: Deconvnet(model.net, seed="forced"),
            "random_weights": Deconvnet(self._shuffled(), seed="forced"),
            "guided": make_deconvnet(model.net, "guided"),
            "gradient": make_deconvnet(model.net, "gradient"),
        }
        empty = self._deconv.patches(model.inputs([0]), layer, [])
        self._windows = self._deconv.windows_by_position(layer, model.shape)
        height, width = empty.projections.shape[2:]
        self._size = (height, width)

    @property
    def channels(self) -> int:
        """The number of channels of the layer."""
        return len(self.top.values)

    @property
    def preview(self) -> list[int]:
        """The channels that the overview shows, a random sample."""
        return random_subset(len(self.top.values), PREVIEW).tolist()

    @property
    def size(self) -> tuple[int, int]:
        """The height and width of a tile, in pixels."""
        height, width, _ = blank(self._size).shape
        return (height, width)

    def other_channel(self, channel: int) -> int:
        """Returns the channel of the control `random_channel`."""
        others = Contrast(1, self.contrast.seed).others(channel, len(self.top.values))
        return others[0] if others else channel

    def show(self, channels: Sequence[int]) -> Shown:
        """Projects all units of some channels."""
        tiles = blank(self._size, len(channels), len(ROWS), self.columns)
        on_object = torch.full((len(channels), self.top.values.shape[1]), torch.nan)
        by_chance = torch.full((len(channels),), torch.nan)
        for job in self.jobs(channels):
            row = ROWS.index(job.row)
            for places, patches, pixels in self.project(job):
                number, column = job.cells[places].unbind(1)
                tiles[number, row, column] = self._tiles(patches)
                if job.row != "controls":
                    tiles[number, row + 1, column] = patch_tiles(self.model.shown(pixels))
                if self.mask and job.row == "projections":
                    on_object[number, column] = energy_inside(*self._energies(patches, job, places))
                if self.mask and job.control == RANDOM_CHANNEL:
                    by_chance[number] = self._energy_by_chance(patches, job, places)
        if OCCLUSION in self.controls:
            units, cells = _units(self.top.best(1), channels)
            for places, maps in self._occlusion_maps(units):
                at = (ROWS.index("controls"), self.controls.index(OCCLUSION))
                tiles[cells[places, 0], *at] = projection_tiles(maps)
        return Shown(tiles, on_object.nanmean(1), by_chance)

    def jobs(self, channels: Sequence[int]) -> Iterator[Job]:
        """Yields all projections of some channels, those by one deconvnet together."""
        yield Job("projections", self._deconv, *_units(self.top, channels))
        yield Job("example_projections", self._deconv, *_units(self.examples, channels))
        units, cells = _units(self.top.best(1), channels)
        for column, name in enumerate(self.controls):
            if name == OCCLUSION:
                continue
            chosen = units
            if name == RANDOM_CHANNEL:
                chosen = [replace(u, channel=self.other_channel(u.channel)) for u in units]
            places = torch.stack([cells[:, 0], torch.full((len(cells),), column)], 1)
            yield Job("controls", self._controls[name], chosen, places, name)

    def project(self, job: Job) -> Iterator[tuple[list[int], Patches, Tensor]]:
        """Projects units, those of one image together.

        Yields:
            The places of some units, their projections, and the pixels at the same places.
        """
        units = job.units
        order = sorted(range(len(units)), key=lambda i: (units[i].image, units[i].y, units[i].x))
        for start in range(0, len(order), AT_ONCE):
            places = order[start : start + AT_ONCE]
            yield places, *self.model.project(job.deconv, self.layer, [units[i] for i in places])

    def _occlusion_maps(self, units: Sequence[Unit]) -> Iterator[tuple[list[int], Tensor]]:
        """Yields the places of units, and their occlusion maps (N, 1, h, w), cut to their patches.

        A sweep of an image serves all units in it.
        """
        images = sorted({unit.image for unit in units})
        for start in range(0, len(images), SWEPT):
            began = time.monotonic()
            rows = {image: row for row, image in enumerate(images[start : start + SWEPT])}
            places = [place for place, unit in enumerate(units) if unit.image in rows]
            own = [replace(units[place], image=rows[units[place].image]) for place in places]
            inputs = self.model.inputs(list(rows))
            maps = occlusion_map(self.model.net, inputs, self.layer, own, classifier=False)
            windows = self._deconv.patches(inputs, self.layer, own).windows
            corners = starts_of(windows)
            yield places, cut(maps[:, None].cpu(), torch.arange(len(own)), corners, self._size)
            if start == 0:
                seconds = (time.monotonic() - began) * len(images) / len(rows)
                log.info(
                    "%s: occlusion maps of %d images take about %.0f s",
                    *(self.layer, len(images), seconds),
                )

    def _tiles(self, patches: Patches) -> Tensor:
        return projection_tiles(self.model.shown(patches.projections.cpu()))

    def _energy_by_chance(self, patches: Patches, job: Job, places: list[int]) -> Tensor:
        """Returns the share of energy on the objects if the units were random ones, (N,)."""
        seen = [self._windows[job.units[i].y, job.units[i].x] for i in places]
        corners = starts_of(list(self._windows.values()))
        return energy_by_chance(*self._energies(patches, job, places), starts_of(seen), corners)

    def _energies(
        self, patches: Patches, job: Job, places: list[int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns projections, the corners of their patches, and the masks of their images."""
        assert self.mask
        masks = torch.stack([self.mask(job.units[i].image) for i in places])
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
