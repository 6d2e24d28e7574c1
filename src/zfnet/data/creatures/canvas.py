"""The canvas: what colour, how bright and whose each pixel is, painted together one outline at a time.

- `colour`, uint8 (size, size, 3): flat colours, edges smoothed;
- `shade`, uint8 (size, size): how much light falls there, 128 = unchanged. An outline with relief is shaded
  like a ball: copies of it, ever smaller, brighter and nearer to the lamp. `photo.py` blurs the steps away;
- `owner`, uint8 (size, size): who owns the pixel, no smoothing: the exact mask.

Positions are fractions of the picture, so that a scene looks the same at any size. OpenCV receives them in
sixteenths of a pixel and draws in integers: the same pixels on every machine.

    canvas = Canvas(backdrop)                                      # uint8 (size, size, 3)
    canvas.fill(0.5 + 0.2 * SHAPES["disc"], (0.5, 0.5), colour=(200, 80, 60), relief=1.0, owner=3)
"""

import math

import cv2
import numpy as np

Colour = tuple[int, int, int]
Point = tuple[float, float]
RIM, TOP = 82, 152  # the shade of a ball's edge and of its brightest spot
FRACTION_BITS = 4


class Canvas:
    def __init__(self, backdrop: np.ndarray, lamp: Point = (0.0, -1.0)) -> None:
        """`lamp`: where the light comes from, as an offset in the picture (y down), of length about 1."""
        self.size = len(backdrop)
        self.colour = backdrop
        self.shade = np.full((self.size, self.size), 128, np.uint8)
        self.owner = np.zeros((self.size, self.size), np.uint8)
        self.lamp = np.array(lamp)

    def fill(self, outline: np.ndarray, centre: Point, colour: Colour, relief: float, owner: int) -> None:
        """Paint a polygon (n, 2); `relief` 0 is flat, 1 a ball."""
        copies = self._fixed(self._relief(outline, centre, relief) if relief else outline[None])
        steps = len(copies)
        cv2.fillPoly(self.colour, [copies[0]], colour, cv2.LINE_AA, FRACTION_BITS)
        cv2.fillPoly(self.owner, [copies[0]], owner, cv2.LINE_8, FRACTION_BITS)
        for step, points in enumerate(copies):
            rise = step / steps * (2 - step / steps)
            level = int(128 + relief * (RIM - 128 + (TOP - RIM) * rise))
            cv2.fillPoly(self.shade, [points], level, cv2.LINE_AA, FRACTION_BITS)

    def darken(self, outline: np.ndarray, centre: Point, shade: int, steps: int = 6) -> None:
        """A soft shadow: nested copies of the outline, darkest in the middle."""
        height = np.arange(steps)[:, None, None] / steps
        copies = self._fixed(centre + (outline - centre) * (1 - height))  # (steps, n, 2)
        for step, points in enumerate(copies):
            level = 128 + (shade - 128) * (step + 1) // steps
            cv2.fillPoly(self.shade, [points], level, cv2.LINE_AA, FRACTION_BITS)

    def _relief(self, outline: np.ndarray, centre: Point, relief: float) -> np.ndarray:
        """(n, 2) -> (steps, n, 2): the outline, then smaller and smaller copies on the way to the lamp."""
        spokes = outline - np.array(centre)
        radius = float(spokes.max())
        steps = min(10, 1 + math.ceil(radius * self.size / 4))
        height = np.arange(steps)[:, None, None] / steps
        return spokes * (1 - height) + (self.lamp * (0.4 * radius * relief) * height + centre)

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        """Fractions of the picture -> sixteenths of a pixel, counted from the centre of the first pixel."""
        unit = 2**FRACTION_BITS
        return np.rint(points * (self.size * unit) - unit // 2).astype(np.int32, order="C")
