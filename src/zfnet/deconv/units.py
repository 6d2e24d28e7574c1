"""A unit of a layer, and the window of pixels that it sees.

>>> from zfnet.deconv import Unit
>>> Unit(image=0, channel=12, y=6, x=7)
Unit(image=0, channel=12, y=6, x=7)
"""

from dataclasses import dataclass
from typing import NamedTuple

from zfnet.versions.python_names import renamed


@renamed(map="channel")
@dataclass(frozen=True)
class Unit:
    """A unit of a layer: its image, channel and position. In a fully connected layer y = x = 0."""

    image: int
    channel: int
    y: int = 0
    x: int = 0


class Window(NamedTuple):
    """The pixels that a unit sees, half-open. They may reach beyond the border of the image."""

    top: int
    left: int
    bottom: int
    right: int
