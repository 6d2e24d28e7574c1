"""The canvas: color, brightness and owner of each pixel, painted together, one outline at a time.

- `color`, uint8 (size, size, 3): flat colors with smoothed edges.
- `shade`, uint8 (size, size): the light, 128 = unchanged. An outline with relief is shaded like a
  ball, by copies that are smaller, brighter and nearer to the lamp. `photo.py` blurs the steps.
- `owner`, uint8 (size, size): the limb that a pixel belongs to, without smoothing: the exact mask.

Positions are fractions of the image, so that a scene looks the same at any size. OpenCV receives
them in sixteenths of a pixel and draws in integers, so that the pixels are the same on every
machine.

    canvas = Canvas(backdrop)                                      # uint8 (size, size, 3)
    canvas.fill(0.5 + 0.2 * SHAPES["disc"], (0.5, 0.5), color=(200, 80, 60), relief=1.0, owner=3)
"""

import math

import cv2
import numpy as np

Color = tuple[int, int, int]
Point = tuple[float, float]
RIM, TOP = 82, 152  # the shade of a ball's edge and of its brightest spot
FRACTION_BITS = 4


class Canvas:
    def __init__(self, backdrop: np.ndarray, lamp: Point = (0.0, -1.0)) -> None:
        """`lamp`: the direction of the light, an offset in the image (y down) of length about 1."""
        self.size = len(backdrop)
        self.color = backdrop
        self.shade = np.full((self.size, self.size), 128, np.uint8)
        self.owner = np.zeros((self.size, self.size), np.uint8)
        self.lamp = np.array(lamp)

    def fill(
        self, outline: np.ndarray, center: Point, color: Color, relief: float, owner: int
    ) -> None:
        """Paints a polygon (n, 2); `relief` 0 is flat, 1 a ball."""
        copies = self._fixed(self._relief(outline, center, relief) if relief else outline[None])
        steps = len(copies)
        cv2.fillPoly(self.color, [copies[0]], color, cv2.LINE_AA, FRACTION_BITS)
        cv2.fillPoly(self.owner, [copies[0]], owner, cv2.LINE_8, FRACTION_BITS)
        for step, points in enumerate(copies):
            rise = step / steps * (2 - step / steps)
            level = int(128 + relief * (RIM - 128 + (TOP - RIM) * rise))
            cv2.fillPoly(self.shade, [points], level, cv2.LINE_AA, FRACTION_BITS)

    def darken(self, outline: np.ndarray, center: Point, shade: int, steps: int = 6) -> None:
        """Paints a soft shadow: nested copies of the outline, darkest in the middle."""
        height = np.arange(steps)[:, None, None] / steps
        copies = self._fixed(center + (outline - center) * (1 - height))  # (steps, n, 2)
        for step, points in enumerate(copies):
            level = 128 + (shade - 128) * (step + 1) // steps
            cv2.fillPoly(self.shade, [points], level, cv2.LINE_AA, FRACTION_BITS)

    def _relief(self, outline: np.ndarray, center: Point, relief: float) -> np.ndarray:
        """(n, 2) -> (steps, n, 2): the outline, then smaller copies towards the lamp."""
        spokes = outline - np.array(center)
        radius = float(spokes.max())
        steps = min(10, 1 + math.ceil(radius * self.size / 4))
        height = np.arange(steps)[:, None, None] / steps
        return spokes * (1 - height) + (self.lamp * (0.4 * radius * relief) * height + center)

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        """Fractions of the image -> sixteenths of a pixel, counted from the center of the first
        pixel."""
        unit = 2**FRACTION_BITS
        return np.rint(points * (self.size * unit) - unit // 2).astype(np.int32, order="C")
