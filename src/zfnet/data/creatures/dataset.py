"""The data set: images by index, and their annotations.

    val = Creatures(600, split="val", size=128)
    known = val.annotation(3)
    val.classes[known.label], known.box, known.parts

It is a `zfnet.data.source.AnnotatedSource`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from zfnet.data.creatures import photo, scene
from zfnet.data.creatures.canvas import Canvas, Color, Point
from zfnet.data.creatures.pose import Pose, paint
from zfnet.data.creatures.recipes import RECIPES
from zfnet.data.creatures.rng import Dice
from zfnet.data.source import Annotation
from zfnet.errors import InputError

SPLITS = ("train", "val", "test")
OCCLUDED = 0.3  # the share of images with something in front of the creature


class Drawing(NamedTuple):
    canvas: Canvas
    parts: dict[str, tuple[int, Point]]  # name -> (owner number, center as a fraction of the image)
    marking: Color
    dice: Dice


class Creatures:
    """Generated images, of each class in turn.

    Args:
        count: the number of images.
        seed: with `split` and the index it determines a scene, the same at every size.
        split: "train", "val" or "test".
        size: of the images, in pixels.
        classes: some of the twelve; None is all. The data set is named after them.

    Raises:
        InputError: an argument is out of range, or a class is unknown.
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
            self.classes = check_classes(classes)
            self.name = "-".join(["creatures", *self.classes])
        self.seed, self.split, self.size = seed, split, size
        self.ids = [f"{split}/{index:06d}" for index in range(count)]
        self.labels = [index % len(self.classes) for index in range(count)]

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> torch.Tensor:
        """uint8 (3, size, size), RGB."""
        drawing = self._draw(index)
        image = photo.develop(drawing.canvas, drawing.dice, drawing.marking)
        return torch.from_numpy(image).permute(2, 0, 1)

    def annotation(self, index: int) -> Annotation:
        """The creature's mask, box and parts. A part is listed if its center is visible."""
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
        return Annotation(
            self.labels[index], torch.from_numpy(mask), bounds(mask), parts, part_masks
        )

    def _draw(self, index: int) -> Drawing:
        if not 0 <= index < len(self):
            raise IndexError(f"creatures: no image {index}, there are {len(self)}")
        dice = Dice(self.seed, SPLITS.index(self.split), index)
        lamp = dice.between(-0.8, 0.8), -0.7
        canvas = Canvas(scene.backdrop(dice, self.size), lamp)
        scene.clutter(canvas, dice)
        pose, colors = Pose.random(dice), scene.palette(dice)
        frame = pose.frame
        scene.shadow(canvas, (frame.c - 0.9 * frame.b, frame.f + 0.9 * frame.e), frame.e * 0.8)
        parts = paint(canvas, RECIPES[self.classes[self.labels[index]]], pose, colors, dice)
        if dice.chance(OCCLUDED):
            scene.occluder(canvas, dice)
        return Drawing(canvas, parts, colors["trim"], dice)


def check_classes(classes: Sequence[str]) -> list[str]:
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
