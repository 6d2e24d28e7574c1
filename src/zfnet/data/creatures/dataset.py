"""The data set itself: which picture stands at which index, and what is known about it.

    val = Creatures(600, split="val", size=128)
    known = val.annotation(3)
    val.classes[known.label], known.box, known.parts

It is a source: `read`, `ids` and `labels` are all that an image store asks for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from zfnet.data.creatures import photo, scene
from zfnet.data.creatures.canvas import Canvas, Colour, Point
from zfnet.data.creatures.pose import Pose, paint
from zfnet.data.creatures.recipes import RECIPES
from zfnet.data.creatures.rng import Dice
from zfnet.errors import InputError

SPLITS = ("train", "val", "test")
OCCLUDED = 0.3  # the share of pictures with something before the creature


@dataclass(frozen=True)
class Annotation:
    """The truth about one picture. Pixel (x, y) has its centre at (x, y); y points down.

    mask: bool (size, size), every pixel that the creature touches and nothing hides.
    box: (x0, y0, x1, y1), the mask's bounds, x1 and y1 excluded: the mask is inside mask[y0:y1, x0:x1].
    parts: name -> centre (x, y), of those parts that the picture shows at their centre. Of a pair such as
        left_eye and right_eye, left is the one at the smaller x in the picture.
    part_masks: name -> bool (size, size), the pixels of the same parts.
    """

    label: int
    mask: torch.Tensor
    box: tuple[int, int, int, int]
    parts: dict[str, Point]
    part_masks: dict[str, torch.Tensor]


class Drawing(NamedTuple):
    canvas: Canvas
    parts: dict[str, tuple[int, Point]]  # name -> (owner number, centre as a fraction of the picture)
    marking: Colour
    dice: Dice


class Creatures:
    """`count` pictures, the classes in turn; (seed, split, index) names a scene, the same at every size.

    `classes` are some of the twelve, None all; the data set is then named after them.
    """

    name = "creatures"
    classes = sorted(RECIPES)

    def __init__(
        self,
        count: int,
        seed: int = 0,
        split: str = "train",
        size: int = 256,
        classes: Sequence[str] | None = None,
    ) -> None:
        if count < 1:
            raise InputError(f"creatures: count must be at least 1, got {count}")
        if size < 16:
            raise InputError(f"creatures: size must be at least 16 pixels, got {size}")
        if seed < 0:
            raise InputError(f"creatures: seed must not be negative, got {seed}")
        if split not in SPLITS:
            raise InputError(f"creatures: no split {split!r}, choose one of {', '.join(SPLITS)}")
        if classes is not None:
            self.classes = chosen(classes)
            self.name = "-".join(["creatures", *self.classes])
        self.seed, self.split, self.size = seed, split, size
        self.ids = [f"{split}/{index:06d}" for index in range(count)]
        self.labels = [index % len(self.classes) for index in range(count)]

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> torch.Tensor:
        """uint8 (3, size, size), RGB."""
        drawing = self._draw(index)
        picture = photo.develop(drawing.canvas, drawing.dice, drawing.marking)
        return torch.from_numpy(picture).permute(2, 0, 1)

    def annotation(self, index: int) -> Annotation:
        drawing = self._draw(index)
        mask, limbs = drawing.canvas.owner > 0, drawing.canvas.owner >> 1
        parts, part_masks = {}, {}
        for name, (number, (x, y)) in order_pairs(drawing.parts).items():
            x, y = x * self.size - 0.5, y * self.size - 0.5
            column, row = round(x), round(y)
            inside = 0 <= column < self.size and 0 <= row < self.size
            if inside and limbs[row, column] == number >> 1:
                parts[name] = (x, y)
                part_masks[name] = torch.from_numpy(limbs == number >> 1)
        return Annotation(self.labels[index], torch.from_numpy(mask), bounds(mask), parts, part_masks)

    def _draw(self, index: int) -> Drawing:
        if not 0 <= index < len(self):
            raise IndexError(f"creatures: no picture {index}, there are {len(self)}")
        dice = Dice(self.seed, SPLITS.index(self.split), index)
        lamp = dice.between(-0.8, 0.8), -0.7
        canvas = Canvas(scene.backdrop(dice, self.size), lamp)
        scene.clutter(canvas, dice)
        pose, colours = Pose.random(dice), scene.palette(dice)
        frame = pose.frame
        scene.shadow(canvas, (frame.c - 0.9 * frame.b, frame.f + 0.9 * frame.e), frame.e * 0.8)
        parts = paint(canvas, RECIPES[self.classes[self.labels[index]]], pose, colours, dice)
        if dice.chance(OCCLUDED):
            scene.occluder(canvas, dice)
        return Drawing(canvas, parts, colours["trim"], dice)


def chosen(classes: Sequence[str]) -> list[str]:
    """The classes in alphabetical order, each known and named once."""
    unknown = sorted(set(classes) - set(RECIPES))
    if unknown or not classes or len(set(classes)) < len(classes):
        problem = f"no class {unknown[0]!r}" if unknown else f"classes={list(classes)} is no choice"
        raise InputError(f"creatures: {problem}, choose some of {', '.join(sorted(RECIPES))}")
    return sorted(classes)


def order_pairs(parts: dict[str, tuple[int, Point]]) -> dict[str, tuple[int, Point]]:
    """Renames left_ and right_ where a mirrored or turned creature has them the other way round."""
    ordered = dict(parts)
    for name in parts:
        twin = name.replace("left_", "right_")
        if twin != name and parts[name][1][0] > parts[twin][1][0]:
            ordered[name], ordered[twin] = parts[twin], parts[name]
    return ordered


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
