"""A unit of an atlas that is read: its record, its images, and how a notebook shows it."""

import base64
import io
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from zfnet.errors import InputError

if TYPE_CHECKING:
    from zfnet.atlas.reading import Layer


@dataclass(frozen=True, eq=False)
class Unit:
    """A channel of a layer. docs/atlas.md describes the values.

    Attributes:
        layer: that it is part of.
        channel: its number.
        top: the images that activate it most, one place in each, strongest first; [] if it is dead.
        examples: images with ordinary activations; [] if it is dead.
        histogram: of the activations of the sampled images.
        largest: the largest activation.
        at_largest: the number of images that reach it.
        mean: the mean activation.
        deviation: the standard deviation of the activations.
        active: the share of images that activate it.
        class_means: the mean activation by class; [] without classes.
        best: the class that it prefers; None if there is none.
        energy_on_object: the share of the projections' energy on objects; None if it is unknown.
        feeds: the channels of the layer below that contribute most to it.
        read_by: the channels of the layer above to which it contributes most.
        controls: the channel whose projection is the control `random_channel`.
        evolution: the strongest image by epoch; None without a run.
    """

    layer: "Layer" = field(repr=False)
    channel: int
    top: list[dict[str, Any]] = field(repr=False)
    examples: list[dict[str, Any]] = field(repr=False)
    histogram: dict[str, Any] = field(repr=False)
    largest: float
    at_largest: int
    mean: float
    deviation: float
    active: float
    class_means: list[float | None] = field(repr=False)
    best: dict[str, Any] | None
    energy_on_object: float | None
    feeds: list[dict[str, Any]] = field(repr=False)
    read_by: list[dict[str, Any]] = field(repr=False)
    controls: dict[str, int] = field(repr=False)
    evolution: dict[str, Any] | None = field(repr=False)

    @property
    def projections(self) -> np.ndarray:
        """The projections of `top`, uint8 (k, H, W, 3); 0 is mid-gray."""
        return self._row("projections", len(self.top))

    @property
    def patches(self) -> np.ndarray:
        """The image patches of `top`, uint8 (k, H, W, 3)."""
        return self._row("patches", len(self.top))

    @property
    def example_projections(self) -> np.ndarray:
        """The projections of `examples`, uint8 (N, H, W, 3)."""
        return self._row("example_projections", len(self.examples))

    @property
    def example_patches(self) -> np.ndarray:
        """The image patches of `examples`, uint8 (N, H, W, 3)."""
        return self._row("example_patches", len(self.examples))

    @property
    def control_projections(self) -> dict[str, np.ndarray]:
        """The controls of `top[0]` by name, uint8 (H, W, 3) each; {} if the unit is dead."""
        names = self.layer.description["controls"] if self.top else []
        return dict(zip(names, self._row("controls", len(names)), strict=True))

    @property
    def evolution_tiles(self) -> np.ndarray:
        """The projections and the patches at the epochs `evolution["shown"]`.

        Returns:
            uint8 (2, N, H, W, 3); N is 0 if the run has not drawn the channel.
        """
        drawn = self.evolution if self.evolution and self.evolution["drawn"] else {"shown": []}
        return self.layer.tiles(f"evolution_{self.channel}.webp", 2, len(drawn["shown"]))

    @property
    def name(self) -> str:
        """The layer's name and the channel."""
        return f"{self.layer.name} {self.channel}"

    def image(self, rank: int) -> np.ndarray:
        """Reads the whole image of `top[rank]`, uint8 (H, W, 3)."""
        if not 0 <= operator.index(rank) < len(self.top):
            raise InputError(f"{self.name} has {len(self.top)} images, and none of rank {rank}")
        return self.layer.atlas.image(self.top[rank]["image"])

    def _row(self, name: str, count: int) -> np.ndarray:
        rows = self.layer.description["sprite"]["rows"]
        columns = self.layer.description["sprite"]["columns"]
        tiles = self.layer.tiles(f"unit_{self.channel}.webp", len(rows), columns)
        return tiles[rows[name], :count]

    def _repr_html_(self) -> str:
        atlas, facts = self.layer.atlas, [f"largest activation {self.largest:.4g}"]
        facts.append(f"active on {self.active:.0%} of the images" if self.top else "dead")
        if self.channel in self.layer.description["saturated"]:
            facts.append(f"saturated: {self.at_largest:,} images reach its largest activation")
        if self.best:
            name = atlas.classes[self.best["class"]]
            facts.append(f"prefers {name} (AUC {self.best['auc']:.2f})")
        for title, links in (("fed by", self.feeds), ("read by", self.read_by)):
            names = [
                f"{atlas.layers[each['layer']]} {each['channel']} ({each['share']:.0%})"
                for each in links[:3]
            ]
            if names:
                facts.append(f"{title} {', '.join(names)}")
        return _html(self.name, facts, np.stack([self.projections, self.patches]))


def _html(title: str, facts: Sequence[str], tiles: np.ndarray) -> str:
    """Shows tiles below a title and a line of facts.

    Args:
        title: any text; it is escaped.
        facts: any texts; they are escaped.
        tiles: uint8 (rows, columns, H, W, 3). No image is shown if there are no columns.
    """
    lines = [f"<strong>{escape(title)}</strong>", *map(escape, facts)]
    text = f"<div>{' · '.join(lines)}</div>"
    return f"<div>{text}{_image(tiles) if tiles.size else ''}</div>"


def _image(tiles: np.ndarray) -> str:
    rows, columns, height, width, channels = tiles.shape
    sheet = tiles.swapaxes(1, 2).reshape(rows * height, columns * width, channels)
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "png")
    address = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    style = "image-rendering:pixelated;max-width:100%;min-width:min(100%,540px)"
    return f'<img alt="projections above image patches" style="{style}" src="{address}">'
