"""Where the objects of a subject's pictures are, in the centre crop that the net sees: from the data set, or a csv.

if knows_objects(subject):
    object_of(subject, 3).mask, object_of(subject, 3).parts
object_masks(subject, "boxes.csv", count=96)        # index → mask; the csv: image,x0,y0,x1,y1, a box a row
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from zfnet.data.csv_files import read_csv
from zfnet.data.preprocessing import centre_crop
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData

COLUMNS = ("image", "x0", "y0", "x1", "y1")
Places = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Object:
    """What the centre crop shows of an object: its mask, bool (crop, crop), and its parts' centres (x, y)."""

    mask: Tensor
    parts: Places


def knows_objects(subject: ModelOnData) -> bool:
    """Whether the data set itself says where its objects are."""
    return hasattr(subject.source, "annotation")


def object_of(subject: ModelOnData, index: int) -> Object:
    """The object of a picture, as the data set knows it; parts beyond the crop are left out."""
    top, left, _ = centre_crop(subject.images.size, subject.crop).tolist()
    known, end = subject.annotation(index), subject.crop - 0.5
    moved = {name: (x - left, y - top) for name, (x, y) in known.parts.items()}
    inside = {name: (x, y) for name, (x, y) in moved.items() if -0.5 <= x < end and -0.5 <= y < end}
    return Object(known.mask[top : top + subject.crop, left : left + subject.crop], inside)


def object_masks(subject: ModelOnData, boxes: str | None, count: int) -> dict[int, Tensor]:
    """Up to `count` pictures of the subject, evenly spread, whose objects are known: index → mask (crop, crop)."""
    if boxes is not None:
        masks = read_boxes(boxes, subject.crop)
        numbers = {id_: index for index, id_ in enumerate(subject.images.ids)}
        if unknown := sorted(set(masks) - set(numbers)):
            raise InputError(
                f"boxes={boxes}: image {unknown[0]!r} is not in {subject.source.name}, {next(iter(numbers))!r} is"
            )
        known = sorted(numbers[id_] for id_ in masks)
        return {index: masks[subject.images.ids[index]] for index in _spread(known, count)}
    if not knows_objects(subject):
        return {}
    chosen = _spread(list(range(len(subject.images))), count)
    found = {index: object_of(subject, index).mask for index in chosen}
    return {index: mask for index, mask in found.items() if mask.any()}


def _spread(numbers: list[int], count: int) -> list[int]:
    if count < 1:
        raise InputError(f"images={count}: at least one image is needed")
    return [numbers[i * len(numbers) // count] for i in range(count)] if count < len(numbers) else numbers


def read_boxes(path: str | Path, side: int) -> dict[str, Tensor]:
    """Masks (side, side) by image id from a csv: image,x0,y0,x1,y1 in pixels of the centre crop, x1 and y1
    excluded; several rows of an image are one mask."""
    masks: dict[str, Tensor] = {}
    for line, row in read_csv("boxes", path, COLUMNS):
        try:
            x0, y0, x1, y1 = (int(row[name]) for name in COLUMNS[1:])
        except ValueError as error:
            raise InputError(f"boxes={path}, line {line}: a box is four whole numbers") from error
        if not (0 <= x0 < x1 <= side and 0 <= y0 < y1 <= side):
            raise InputError(
                f"boxes={path}, line {line}: {x0},{y0},{x1},{y1} is no box in {side} x {side} pixels"
            )
        mask = masks.setdefault(row["image"], torch.zeros(side, side, dtype=torch.bool))
        mask[y0:y1, x0:x1] = True
    if not masks:
        raise InputError(f"boxes={path}: holds no box; add a row for each")
    return masks
