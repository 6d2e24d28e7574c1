"""A unit of a layer, and the window of pixels that it sees.

Unit(image=0, channel=12, y=6, x=7)
"""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Unit:
    """A unit of some layer: which image, which feature map, and where; y = x = 0 in a fully connected layer."""

    image: int
    channel: int
    y: int = 0
    x: int = 0


class Window(NamedTuple):
    """The pixels that a unit sees, half-open; they may reach beyond the image's border."""

    top: int
    left: int
    bottom: int
    right: int
