"""From the painted canvas to a photograph: coat, texture, light, color cast, lens and sensor.

Element-wise float32 sums and products, which IEEE 754 fixes to the last bit.
"""

from functools import cache

import numpy as np

from zfnet.data.creatures.canvas import Canvas, Color
from zfnet.data.creatures.pose import COAT_BIT
from zfnet.data.creatures.rng import Dice

PLAIN = (1, 1, 2.0)  # rows and columns of the noise, and the level from which it shows
MARKINGS = (PLAIN, PLAIN, (14, 14, 0.25), (4, 22, 0.15), (20, 4, 0.15), (5, 5, 0.1))


def develop(canvas: Canvas, dice: Dice, marking: Color) -> np.ndarray:
    """The photo of a painted canvas, uint8 (size, size, 3)."""
    size = canvas.size
    image = canvas.color.astype(np.float32)
    coat = (canvas.owner & COAT_BIT).astype(np.float32) * markings(dice, size)
    image += (np.array(marking, np.float32) - image) * coat[..., None]
    brightness = soften(canvas.shade) * texture(dice, size) * daylight(dice, size)  # (size, size)
    image *= brightness[..., None]
    image = expose(image, dice)
    image += (dice.bytes(size, size, 3) - np.float32(127.5)) * np.float32(dice.between(0.02, 0.09))
    return np.rint(image.clip(0, 255)).astype(np.uint8)


def markings(dice: Dice, size: int) -> np.ndarray:
    """The share of the second color in the coat, in [0, 1]: none, spots, stripes or patches."""
    rows, columns, level = dice.pick(MARKINGS)
    noise = dice.noise(size, rows, columns)
    return np.clip((noise - np.float32(level)) * 6, 0, np.float32(0.85))


def texture(dice: Dice, size: int) -> np.ndarray:
    """Fur, paint, dust: fine noise along a random direction, a factor around 1."""
    fine = dice.noise(size, *dice.pick(((110, 36), (36, 110), (80, 80))))
    return 1 + np.float32(dice.between(0.03, 0.12)) * fine


def daylight(dice: Dice, size: int) -> np.ndarray:
    """A gradient over the image, and a soft shadow of clouds or leaves."""
    ramp = np.arange(size, dtype=np.float32) * np.float32(2 / size) - 1
    across, down = np.float32(dice.around_zero(0.25)), np.float32(dice.around_zero(0.25))
    clouds = dice.noise(size, 3, 3) * np.float32(dice.between(0, 0.18))
    return 1 + ramp[:, None] * down + ramp[None, :] * across + clouds


def expose(image: np.ndarray, dice: Dice) -> np.ndarray:
    """Contrast about mid-gray, exposure and a warm or cool cast."""
    gain, warmth = dice.between(0.85, 1.15), dice.around_zero(0.1)
    contrast = np.float32(dice.between(0.85, 1.2))
    cast = np.array([gain * (1 + warmth), gain, gain * (1 - warmth)], np.float32)
    return (image * cast - 120) * contrast + 120


def soften(shade: np.ndarray) -> np.ndarray:
    """Blurs the steps of the relief; exact for the reason given in rng.py. A factor, 1 =
    unchanged."""
    kernel = blur_weights(len(shade))
    return kernel @ shade.astype(np.float32) @ kernel.T * np.float32(1 / (128 * 64 * 64))


@cache
def blur_weights(size: int) -> np.ndarray:
    """(size, size) integers that add up to 64 per row: a tent that reaches 1/40 of the image to
    each side."""
    distance = np.abs(np.arange(size)[:, None] - np.arange(size)[None, :])
    tent = np.maximum(size + 40 - 40 * distance, 0)  # in fortieths of a pixel
    weights = tent * 64 // tent.sum(axis=1, keepdims=True)
    weights[np.arange(size), np.arange(size)] += 64 - weights.sum(axis=1)
    return weights.astype(np.float32)
