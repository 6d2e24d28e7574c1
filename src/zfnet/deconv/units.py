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

    def __init__(
        self, image: int, channel: int | None = None, y: int = 0, x: int = 0, *, map: int | None = None
    ) -> None:
        if (channel is None) == (map is None):
            raise TypeError("Unit() takes channel=, or map= as version 0.1 called it")
        for name, value in (
            ("image", image),
            ("channel", map if channel is None else channel),
            ("y", y),
            ("x", x),
        ):
            object.__setattr__(self, name, value)

    @property
    def map(self) -> int:
        """`channel`, as version 0.1 called it."""
        return self.channel


class Window(NamedTuple):
    """The pixels that a unit sees, half-open; they may reach beyond the image's border."""

    top: int
    left: int
    bottom: int
    right: int
