"""The pose of one individual: from the recipe of a class to outlines on the canvas.

Every limb varies a little in size and angle, the head tilts and turns, and the whole is mirrored,
rotated, stretched and placed. Each outline has one affine map, x' = a x + b y + c, written out in
scalars, because sums and products of Python floats are the same on every machine and those of a
matrix library need not be.

    pose = Pose.random(dice)
    painted = paint(canvas, RECIPES["cat"], pose, colors, dice)   # name -> (owner number, (x, y))
"""

import math
from typing import NamedTuple

import numpy as np

from zfnet.data.creatures.canvas import Canvas, Color, Point
from zfnet.data.creatures.parts import Stroke
from zfnet.data.creatures.recipes import Limb, Recipe
from zfnet.data.creatures.rng import Dice
from zfnet.data.creatures.shapes import SHAPES

COAT_BIT = 1  # owner numbers are 2 * limb, plus 1 where the limb shows its coat


class Affine(NamedTuple):
    """(x, y) -> (a x + b y + c, d x + e y + f)."""

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float

    @classmethod
    def placed(cls, x: float, y: float, w: float, h: float, degrees: float = 0.0) -> "Affine":
        """Scale by (w, h), then turn, then move to (x, y)."""
        angle = math.radians(degrees)
        cos, sin = round(math.cos(angle) * 2**20) / 2**20, round(math.sin(angle) * 2**20) / 2**20
        return cls(w * cos, -h * sin, x, w * sin, h * cos, y)

    def after(self, inner: "Affine") -> "Affine":
        a, b, c, d, e, f = inner
        return Affine(
            *(self.a * a + self.b * d, self.a * b + self.b * e, self.a * c + self.b * f + self.c),
            *(self.d * a + self.e * d, self.d * b + self.e * e, self.d * c + self.e * f + self.f),
        )

    def outline(self, points: np.ndarray) -> np.ndarray:
        x, y = points[:, 0], points[:, 1]
        return np.array([x * self.a + y * self.b + self.c, x * self.d + y * self.e + self.f]).T


class Pose(NamedTuple):
    frame: Affine  # the creature's square in the image
    tilt: float  # of the head, in degrees
    gaze: Point  # where the head looks: how far depth 1 moves, right and down

    @classmethod
    def random(cls, dice: Dice) -> "Pose":
        scale = dice.between(0.32, 0.48)
        margin = scale * 0.9
        x, y = dice.between(margin, 1 - margin), dice.between(margin, 1 - margin)
        side = dice.pick((-1, 1)) * dice.between(0.88, 1.08)
        frame = Affine.placed(
            x, y, scale * side, scale * dice.between(0.92, 1.08), dice.around_zero(25)
        )
        return cls(frame, dice.around_zero(16), (dice.around_zero(0.16), dice.around_zero(0.07)))


def paint(
    canvas: Canvas, recipe: Recipe, pose: Pose, colors: dict[str, Color], dice: Dice
) -> dict[str, tuple[int, Point]]:
    """Paints a creature, back to front. Returns the owner number (without coat) and the center of
    each named part."""
    head = pose.frame.after(Affine.placed(*recipe.neck, 1, 1, pose.tilt))
    places = [(pose.frame, (0.0, 0.0), limb) for limb in recipe.body]
    places += [(head, pose.gaze, limb) for limb in recipe.head]
    painted: dict[str, tuple[int, Point]] = {}
    number = 0
    for frame, gaze, limb in places:
        local = vary(limb, dice)
        sides = (-1, 1) if limb.twin else (1,)
        for side in sides:
            number += 2
            nearer = Affine.placed(limb.depth * gaze[0], limb.depth * gaze[1], side, 1)
            place = frame.after(nearer).after(local)
            for stroke in limb.part:
                draw(canvas, stroke, place, colors[stroke.color], number)
            if limb.name:
                name = (
                    limb.name if not limb.twin else f"{'left' if side < 0 else 'right'}_{limb.name}"
                )
                painted[name] = number, (place.c, place.f)
    return painted


def vary(limb: Limb, dice: Dice) -> Affine:
    """The limb of one individual. Twins share it, so that faces are symmetric."""
    turn = limb.turn + dice.around_zero(limb.swing)
    if not limb.name:
        return Affine.placed(limb.x, limb.y, limb.w, limb.h, turn)
    size = dice.between(0.9, 1.12)
    return Affine.placed(
        limb.x, limb.y, limb.w * size, limb.h * size * dice.between(0.93, 1.07), turn
    )


def draw(canvas: Canvas, stroke: Stroke, place: Affine, color: Color, number: int) -> None:
    put = place.after(Affine.placed(stroke.x, stroke.y, stroke.w, stroke.h, stroke.turn))
    owner = number + (COAT_BIT if stroke.color == "coat" else 0)
    canvas.fill(put.outline(SHAPES[stroke.shape]), (put.c, put.f), color, stroke.relief, owner)
