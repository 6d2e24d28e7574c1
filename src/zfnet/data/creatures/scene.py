"""The scene: palettes, a soft backdrop, clutter behind the creature and sometimes before it.

The backdrop is painted small and enlarged by splines, so that it is out of focus. Clutter is sharp
and made of the creatures' own parts and colors, so that a single part does not tell the class."""

import numpy as np

from zfnet.data.creatures.canvas import Canvas, Color
from zfnet.data.creatures.parts import LOOSE, Stroke
from zfnet.data.creatures.pose import Affine, draw
from zfnet.data.creatures.rng import Dice, enlarge
from zfnet.data.creatures.shapes import SHAPES

COATS: tuple[Color, ...] = (
    *((222, 205, 178), (203, 132, 66)),  # cream, ginger
    *((150, 88, 52), (94, 64, 48)),  # chestnut, chocolate
    *((72, 70, 74), (138, 136, 136), (236, 232, 224), (172, 60, 48)),  # charcoal, gray, white, rust
    *((214, 168, 72), (112, 126, 74)),  # gold, olive
    *((74, 106, 138), (60, 124, 120)),  # slate blue, teal
    *((190, 130, 124), (120, 86, 124)),  # rose, plum
)
FLESH: tuple[Color, ...] = ((226, 160, 148), (232, 168, 92), (208, 120, 104), (214, 148, 60))
IRIS: tuple[Color, ...] = (
    (214, 176, 70),
    (120, 160, 80),
    (110, 160, 190),
    (150, 96, 50),
    (216, 200, 160),
)
FAR: tuple[tuple[Color, Color], ...] = (  # at the upper edge, at the horizon
    ((128, 172, 214), (216, 226, 228)),
    ((170, 190, 206), (226, 218, 200)),
    ((232, 190, 150), (240, 222, 190)),
    ((92, 116, 84), (150, 166, 110)),
    ((204, 192, 172), (186, 172, 150)),
    ((150, 164, 160), (196, 200, 190)),
    ((112, 98, 96), (160, 136, 118)),
    ((84, 106, 126), (150, 166, 170)),
    ((190, 166, 160), (214, 196, 186)),
)
NEAR: tuple[tuple[Color, Color], ...] = (  # at the horizon, at the lower edge
    ((130, 148, 84), (82, 108, 54)),
    ((190, 172, 132), (160, 136, 96)),
    ((150, 122, 92), (104, 78, 58)),
    ((170, 172, 170), (122, 124, 126)),
    ((214, 216, 214), (184, 188, 194)),
    ((108, 124, 108), (66, 86, 72)),
    ((180, 140, 112), (140, 96, 74)),
    ((120, 142, 150), (78, 104, 118)),
)
BACKDROP_SIZE = 61  # and 3 more, which the spline needs around it


def mix(a: Color, b: Color, share: float) -> Color:
    red, green, blue = (round(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return red, green, blue


def palette(dice: Dice) -> dict[str, Color]:
    """The colors of one creature. Every class uses the same ones."""
    coat = dice.pick(COATS)
    gray = dice.count(24, 52)
    return {
        "coat": coat,
        "trim": mix(coat, dice.pick(COATS), 0.8),
        "pale": mix(coat, (246, 240, 228), dice.between(0.35, 0.75)),
        "dark": (gray + 8, gray, gray),
        "black": (14, 12, 14),
        "white": (250, 248, 244),
        "flesh": dice.pick(FLESH),
        "iris": dice.pick(IRIS),
        "metal": mix((176, 180, 184), coat, 0.15),
        "glass": mix((70, 92, 108), (170, 196, 206), dice.between(0, 1)),
        "shine": (196, 214, 222),
    }


def backdrop(dice: Dice, size: int) -> np.ndarray:
    """uint8 (size, size, 3): far above, near below, shapes out of focus, texture."""
    small = BACKDROP_SIZE + 3
    (top, haze), (back, front) = dice.pick(FAR), dice.pick(NEAR)
    horizon = int(small * dice.between(0.1, 0.7))
    canvas = Canvas(np.concatenate([ramp(top, haze, horizon), ramp(back, front, small - horizon)]))
    ground = canvas.color[horizon:].copy()
    for _ in range(dice.count(2, 9)):
        silhouette(
            canvas, dice, horizon / small, mix(mix(top, haze, 0.6), back, dice.between(0.2, 0.9))
        )
    canvas.color[horizon:], canvas.shade[horizon:] = ground, 128
    for _ in range(dice.count(0, 7)):
        pebble(canvas, dice, horizon / small, mix(back, dice.pick(COATS), dice.between(0.1, 0.6)))
    texture = texture_of(dice, small, horizon)
    paint = np.clip(
        canvas.color * texture[..., None] * (canvas.shade[..., None] / np.float32(128)), 0, 255
    )
    big = enlarge(np.rint(paint).transpose(2, 0, 1), size)  # (3, size, size)
    return np.ascontiguousarray(np.rint(big).transpose(1, 2, 0).astype(np.uint8))


def ramp(top: Color, bottom: Color, rows: int) -> np.ndarray:
    """uint8 (rows, backdrop's width, 3) that runs from one color to the other."""
    colors = [mix(top, bottom, row / rows) for row in range(rows)]
    return np.repeat(np.array(colors, np.uint8)[:, None], BACKDROP_SIZE + 3, axis=1)


def texture_of(dice: Dice, small: int, horizon: int) -> np.ndarray:
    """A factor around 1: broad clouds far away, streaks that lie flat nearby."""
    strength = dice.between(0.05, 0.22)
    far = dice.noise(small, 4, 6) * 0.6 + dice.noise(small, 14, 14) * 0.4
    near = (
        dice.noise(small, dice.pick((10, 20)), dice.pick((3, 10))) * 0.5
        + dice.noise(small, 40, 24) * 0.6
    )
    far[horizon:] = near[horizon:] * 1.3
    return 1 + np.float32(strength) * far


def silhouette(canvas: Canvas, dice: Dice, horizon: float, color: Color) -> None:
    """Hills, bushes, trunks, houses: whatever stands at the horizon."""
    shape = dice.pick(("disc", "disc", "slab", "leaf", "roof", "drop", "pear"))
    w, h = dice.between(0.03, 0.3), dice.between(0.05, 0.35)
    place = Affine.placed(dice.between(0, 1), horizon - h * dice.between(-0.2, 0.8), w, h)
    canvas.fill(place.outline(SHAPES[shape]), (place.c, place.f), color, dice.between(0, 0.6), 0)


def pebble(canvas: Canvas, dice: Dice, horizon: float, color: Color) -> None:
    w = dice.between(0.02, 0.14)
    place = Affine.placed(
        dice.between(0, 1), dice.between(horizon, 1), w, w * dice.between(0.3, 0.7)
    )
    canvas.fill(place.outline(SHAPES["disc"]), (place.c, place.f), color, 0.7, 0)


def clutter(canvas: Canvas, dice: Dice) -> None:
    """Loose parts, which belong to no creature."""
    for _ in range(dice.count(1, 5)):
        colors = palette(dice)
        size = dice.between(0.03, 0.11)
        place = Affine.placed(
            dice.between(0, 1),
            dice.between(0, 1),
            size,
            size * dice.between(0.7, 1.4),
            dice.between(-90, 90),
        )
        shadow(canvas, (place.c, place.f + size), size)
        for stroke in dice.pick(LOOSE):
            draw(canvas, stroke, place, colors[stroke.color], 0)
    canvas.owner[:] = 0  # loose parts wear coats too, but belong to nobody


def shadow(canvas: Canvas, center: tuple[float, float], width: float) -> None:
    x, y = center[0] - canvas.lamp[0] * width * 0.4, center[1]
    canvas.darken(
        Affine.placed(x, y, width * 1.25, width * 0.35).outline(SHAPES["disc"]), (x, y), 70
    )


def occluder(canvas: Canvas, dice: Dice) -> None:
    """Grass, twigs or leaves that rise before the creature from the lower edge or a side."""
    color = mix(dice.pick(NEAR)[1], dice.pick(COATS), 0.3)
    root = dice.between(0, 1)
    for _ in range(dice.count(2, 7)):
        length = dice.between(0.12, 0.34)
        blade = Stroke(
            "leaf", "", 0, -length, length, dice.between(0.008, 0.028), turn=90, relief=0.8
        )
        place = Affine.placed(root + dice.around_zero(0.3), 1.02, 1, 1, dice.around_zero(45))
        draw(canvas, blade, place, color, 0)
