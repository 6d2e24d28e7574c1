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
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from zfnet.analysis.localization import energy_by_chance, energy_inside, occlusion_map
from zfnet.analysis.sanity import cascade
from zfnet.atlas.tiles import blank, patch_tiles, projection_tiles
from zfnet.deconv import Deconvnet, Top, Unit, Window, make_deconvnet, random_subset
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
class Part:
    """Projections of some units for one row of the tiles.

    Attributes:
        row: one of ROWS.
        units: N units; `image` is the index of an image.
        cells: int64 (N, 2), for each the number of its channel and the column of its tile.
        projections: (N, C, h, w).
        windows: the places of the projections in the images.
        pixels: (N, C, h, w), the images there; None in the row `controls`, which does not show
            them.
        control: one of CONTROLS, in the row `controls`.
    """

    row: str
    units: list[Unit]
    cells: Tensor
    projections: Tensor
    windows: list[Window]
    pixels: Tensor | None = None
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
        self._forced = Deconvnet(model.net, seed="forced")
        self._controls = {
            "random_weights": Deconvnet(self._shuffled(), seed="forced"),
            "guided": make_deconvnet(model.net, "guided"),
            "gradient": make_deconvnet(model.net, "gradient"),
        }
        empty = self._deconv.patches(model.inputs([0]), layer, [])
        self._windows = self._deconv.windows_by_position(layer, model.shape)
        height, width = empty.projections.shape[2:]
        self._size = (height, width)

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
        for part in self.parts(channels):
            row, (number, column) = ROWS.index(part.row), part.cells.unbind(1)
            tiles[number, row, column] = self._tiles(part.projections)
            if part.pixels is not None:
                tiles[number, row + 1, column] = patch_tiles(self.model.shown(part.pixels))
            if self.mask and part.row == "projections":
                on_object[number, column] = energy_inside(*self._energies(part))
            if self.mask and part.control == RANDOM_CHANNEL:
                by_chance[number] = self._energy_by_chance(part)
        if OCCLUSION in self.controls:
            units, cells = self._units(self.top.best(1), channels)
            for places, maps in self._occlusion_maps(units):
                at = (ROWS.index("controls"), self.controls.index(OCCLUSION))
                tiles[cells[places, 0], *at] = projection_tiles(maps)
        return Shown(tiles, on_object.nanmean(1), by_chance)

    def parts(self, channels: Sequence[int]) -> Iterator[Part]:
        """Yields all projections of some channels."""
        best, cells = _in_order(*self._units(self.top.best(1), channels))
        if best:
            yield from self._compare(best, cells)
        for control, deconv in self._controls.items():
            places = self._places(cells, control)
            yield from self._project("controls", deconv, best, places, control)
        for row, top, first in (
            ("projections", self.top, 1),
            ("example_projections", self.examples, 0),
        ):
            units, cells = _in_order(*self._units(top, channels, first))
            yield from self._project(row, self._deconv, units, cells)

    def _units(
        self, top: Top, channels: Sequence[int], first: int = 0
    ) -> tuple[list[Unit], Tensor]:
        """Returns the units of channels from rank `first` on, and where they are shown.

        Dead channels have none.

        Returns:
            N units, and int64 (N, 2) the number of the channel and the rank.
        """
        is_alive = self.top.values[:, 0] > 0
        found = [top.units([channel])[first:] if is_alive[channel] else [] for channel in channels]
        cells = [
            (number, rank) for number, own in enumerate(found) for rank, _ in enumerate(own, first)
        ]
        return [unit for own in found for unit in own], torch.tensor(cells).view(-1, 2)

    def _compare(self, units: list[Unit], cells: Tensor) -> Iterator[Part]:
        """Yields the projections of units, their contrastive ones, and those of random channels.

        All three are made of the same projections, which start with 1.
        """
        windows = dict[Unit, Window]()

        def project(asked: Sequence[Unit]) -> tuple[Tensor, Tensor]:
            inputs, moved = self.model.inputs_of(asked)
            projections, seen, values = self._forced.project_windows(inputs, self.layer, moved)
            windows.update(zip(asked, seen, strict=True))
            return projections, values

        plain, contrastive, random = list[Tensor](), list[Tensor](), list[Tensor]()
        contrast = replace(self.contrast, count=max(1, self.contrast.count))
        count, floats = len(self.top.values), math.prod(self.model.shape)
        for part in contrast.compare(project, units, count, floats):
            plain.append(part.own * part.values.clamp(min=0).view(-1, 1, 1, 1))
            contrastive.append(part.contrastive(plain[-1]))
            others = zip(part.others, part.own, strict=True)
            random.append(torch.stack([other[0] if other else own for other, own in others]))
        seen = [windows[unit] for unit in units]
        pixels = self._pixels(*self.model.inputs_of(units), seen)
        yield Part("projections", units, cells, torch.cat(plain), seen, pixels)
        for control, found in (("contrastive", contrastive), (RANDOM_CHANNEL, random)):
            if control in self.controls:
                places = self._places(cells, control)
                yield Part("controls", units, places, torch.cat(found), seen, None, control)

    def _project(
        self, row: str, deconv: Deconvnet, units: list[Unit], cells: Tensor, control: str = ""
    ) -> Iterator[Part]:
        """Yields projections of units, AT_ONCE together."""
        for start in range(0, len(units), AT_ONCE):
            those = slice(start, start + AT_ONCE)
            inputs, moved = self.model.inputs_of(units[those])
            projections, windows, _ = deconv.project_windows(inputs, self.layer, moved)
            pixels = None if control else self._pixels(inputs, moved, windows)
            yield Part(row, units[those], cells[those], projections, windows, pixels, control)

    def _pixels(self, inputs: Tensor, units: list[Unit], windows: list[Window]) -> Tensor:
        """Returns the pixels (N, C, h, w) that units see of preprocessed images."""
        which = torch.tensor([unit.image for unit in units])
        return cut(self.model.pixels_of(inputs), which, starts_of(windows), self._size, fill=0.5)

    def _places(self, cells: Tensor, control: str) -> Tensor:
        """Returns where a control of units (N,) is shown, as `Part.cells`."""
        column = torch.full((len(cells),), self.controls.index(control))
        return torch.stack([cells[:, 0], column], 1)

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

    def _tiles(self, projections: Tensor) -> Tensor:
        return projection_tiles(self.model.shown(projections.cpu()))

    def _energy_by_chance(self, part: Part) -> Tensor:
        """Returns the share of energy on the objects if the units were random ones, (N,)."""
        seen = [self._windows[unit.y, unit.x] for unit in part.units]
        corners = starts_of(list(self._windows.values()))
        return energy_by_chance(*self._energies(part), starts_of(seen), corners)

    def _energies(self, part: Part) -> tuple[Tensor, Tensor, Tensor]:
        """Returns projections, the corners of their patches, and the masks of their images."""
        assert self.mask
        masks = torch.stack([self.mask(unit.image) for unit in part.units])
        return part.projections.cpu(), starts_of(part.windows), masks

    def _shuffled(self) -> nn.Module:
        """Returns a copy of the network with all weights below the layer shuffled."""
        image = self.model.inputs([0])
        *_, (_, shuffled) = cascade(self.model.net, self.layer, image, self.contrast.seed)
        return shuffled


def _in_order(units: list[Unit], cells: Tensor) -> tuple[list[Unit], Tensor]:
    """Sorts units by image and position, so that those of one image are projected together."""
    order = sorted(range(len(units)), key=lambda i: (units[i].image, units[i].y, units[i].x))
    return [units[i] for i in order], cells[order]
