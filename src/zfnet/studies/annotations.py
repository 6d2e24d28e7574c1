"""What is known of a model's images: masks and parts of objects, from the data set or a csv.

    masks = object_masks(model, "boxes.csv", count=64)          # index → mask
    localization_scores(model, None, "conv5", masks, seed=0)["methods"]["guided"]["pointing"]
    found = images_with_parts(model, ["nose"], None, 32, 22, ["dog"], seed=0)
    found.images, found.places["nose"]                          # indices, (N, 2) of (x, y)

All coordinates are pixels of the center crop that the network sees.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zfnet.analysis.correspondence import free_places
from zfnet.analysis.localization import (
    dilate,
    energy_inside,
    methods_for,
    pointing,
    strongest_units,
)
from zfnet.data.csv_files import read_csv
from zfnet.deconv import Unit
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData, Object, Places, has_annotations, object_of
from zfnet.models.convnet import ConvNet
from zfnet.progress import progress_bar
from zfnet.sizes import Size, sides

log = logging.getLogger(__name__)

BOX_COLUMNS = ("image", "x0", "y0", "x1", "y1")
PART_COLUMNS = ("image", "part", "x", "y")
# Fractions of the image's shorter side: σ of the smoothing, and what a pointer may miss by.
SIGMA, TOLERANCE = 0.02, 0.03


@dataclass(frozen=True)
class ImagesWithParts:
    """N images whose parts are known."""

    images: list[int]  # indices
    places: dict[str, Tensor]  # centers of each part, (N, 2)
    masks: Tensor | None  # bool (N, H, W); None where the data set does not know them
    left_out: int  # images that lack a part, or room for a random square


def object_masks(model: ModelOnData, boxes: str | None, count: int) -> dict[int, Tensor]:
    """The masks of objects in up to `count` images, evenly spread.

    Args:
        model: The images.
        boxes: A csv as in `read_boxes`; None: the data set's own masks.
        count: At least 1.

    Returns:
        Masks bool (H, W) by the index of the image; none where nothing is known.

    Raises:
        InputError: The csv is damaged, or names an image that is not in the split.
    """
    ids = model.images.ids
    if boxes is not None:
        masks = read_boxes(boxes, model.crop)
        numbers = {id_: index for index, id_ in enumerate(ids)}
        if unknown := sorted(masks.keys() - numbers.keys()):
            raise InputError(
                f"boxes={boxes}: image {unknown[0]!r} is not in {model.source.name}, {ids[0]!r} is"
            )
        known = sorted(numbers[id_] for id_ in masks)
        return {index: masks[ids[index]] for index in _spread(known, count)}
    if not has_annotations(model):
        return {}
    found = {index: object_of(model, index).mask for index in _spread(range(len(ids)), count)}
    return {index: mask for index, mask in found.items() if mask.any()}


def _spread(numbers: Sequence[int], count: int) -> Sequence[int]:
    return (
        [numbers[i * len(numbers) // count] for i in range(count)]
        if count < len(numbers)
        else numbers
    )


def read_boxes(path: str | Path, size: Size) -> dict[str, Tensor]:
    """Masks of a csv of image,x0,y0,x1,y1: a box a row, x1 and y1 excluded.

    Args:
        path: The csv.
        size: Of the center crop whose pixels it counts: a side, or (height, width).

    Returns:
        Masks bool (H, W) by image id. The boxes of an image are one mask.

    Raises:
        InputError: The file is damaged, empty, or has a box beyond the crop.
    """
    masks: dict[str, Tensor] = {}
    height, width = sides(size)
    for line, row in read_csv("boxes", path, BOX_COLUMNS):
        where = f"boxes={path}, line {line}"
        try:
            x0, y0, x1, y1 = (int(row[name]) for name in BOX_COLUMNS[1:])
        except ValueError as error:
            raise InputError(f"{where}: a box is four whole numbers") from error
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise InputError(f"{where}: {x0},{y0},{x1},{y1} is no box in {width} x {height} pixels")
        mask = masks.setdefault(row["image"], torch.zeros(height, width, dtype=torch.bool))
        mask[y0:y1, x0:x1] = True
    if not masks:
        raise InputError(f"boxes={path}: holds no box; add a row for each")
    return masks


def read_parts(path: str, model: ModelOnData, side: int) -> dict[int, Places]:
    """The parts that a csv of image,part,x,y names.

    Args:
        path: The csv. An image is named by its id, or by its file name where that is unique.
        model: The images.
        side: The shorter side of the center crop whose pixels the csv counts.

    Returns:
        By the index of the image, its parts in pixels of the model's center crop.

    Raises:
        InputError: The file is damaged, or has an image or a place that does not exist.
    """
    known: dict[int, Places] = {}
    by_name: dict[str, list[int]] = {}
    for i, id_ in enumerate(model.images.ids):
        by_name.setdefault(Path(id_).name, []).append(i)
    by_name |= {id_: [i] for i, id_ in enumerate(model.images.ids)}
    height, width = sides(model.crop)
    scale = min(height, width) / side
    for line, row in read_csv("parts", path, PART_COLUMNS):
        where = f"parts={path}, line {line}"
        name, part = row["image"].strip(), row["part"].strip()
        if name not in by_name:
            raise InputError(f"{where}: {model.source.name} has no image {name!r}")
        if len(by_name[name]) > 1:
            first, second, *_ = (model.images.ids[i] for i in by_name[name])
            raise InputError(f"{where}: {name!r} may be {first!r} or {second!r}; give the path")
        try:
            x, y = ((float(row[axis]) + 0.5) * scale - 0.5 for axis in "xy")
        except ValueError as error:
            raise InputError(
                f"{where}: x and y are pixels, not {row['x']!r}, {row['y']!r}"
            ) from error
        if not (-0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5):
            raise InputError(
                f"{where}: {part} of {name} at {row['x']}, {row['y']} lies outside the center crop "
                "of "
                f"{side} pixels; parts_side= says which crop the file means"
            )
        own = known.setdefault(by_name[name][0], {})
        if part in own:
            raise InputError(f"{where}: {part} of {name} is listed twice")
        own[part] = x, y
    return known


def images_with_parts(
    model: ModelOnData,
    names: Sequence[str],
    known: dict[int, Places] | None,
    count: int,
    side: int,
    classes: Sequence[str] | None,
    seed: int,
) -> ImagesWithParts:
    """A random sample of the images that have all of some parts.

    Args:
        model: The images.
        names: The parts.
        known: What `read_parts` returns; None: the data set's own parts.
        count: How many images at most.
        side: Of squares, in pixels: there must be room for one away from the parts.
        classes: Names of the classes to choose from; None: all.
        seed: Of the sample.

    Raises:
        InputError: A class is unknown, or fewer than two images have all parts.
    """
    images: list[int] = []
    places: list[list[tuple[float, float]]] = []
    masks: list[Tensor] = []
    left_out = 0
    for index in _candidates(model, classes, known, seed):
        if len(images) == count:
            break
        shown = object_of(model, index) if known is None else None
        parts = shown.parts if shown else (known or {})[index]
        own = [parts[name] for name in names if name in parts]
        if len(own) < len(names) or not _has_room(own, shown, model.crop, side):
            left_out += 1
            continue
        images.append(index)
        places.append(own)
        masks += [shown.mask] if shown else []
    log.info("%d images; %d left out, without all of %s", len(images), left_out, ", ".join(names))
    if len(images) < 2:
        raise InputError(
            f"{len(images)} images have all of {', '.join(names)} and room for a patch of {side} "
            "pixels "
            "away from them: at least 2 are needed; choose other names=[...], classes=[...] or a "
            "smaller patch"
        )
    by_part = dict(zip(names, torch.tensor(places).unbind(1), strict=True))
    return ImagesWithParts(images, by_part, torch.stack(masks) if masks else None, left_out)


def _candidates(
    model: ModelOnData, classes: Sequence[str] | None, known: dict[int, Places] | None, seed: int
) -> Iterator[int]:
    """The images of the classes that the csv names, in a random order."""
    if unknown := sorted(set(classes or ()) - set(model.images.classes)):
        raise InputError(
            f"classes={list(classes or ())}: there is no {unknown[0]}, choose from "
            f"{', '.join(model.images.classes)}"
        )
    for index in torch.randperm(
        len(model.images), generator=torch.Generator().manual_seed(seed)
    ).tolist():
        of_class = model.images.classes[model.images.labels[index]]
        if (classes is None or of_class in classes) and (known is None or index in known):
            yield index


def _has_room(
    parts: list[tuple[float, float]], shown: Object | None, crop: Size, side: int
) -> bool:
    """Whether there is a place for a random square."""
    free = free_places(torch.tensor(parts), *sides(crop), side)
    half = (side - 1) // 2
    down, right = (slice(half, half + count) for count in free.shape)
    return bool((free & shown.mask[down, right] if shown else free).any())


def localization_scores(
    model: ModelOnData, located: str | None, layer: str, masks: dict[int, Tensor], seed: int
) -> dict[str, Any]:
    """How well each method of zfnet.analysis.localization finds the objects.

    Args:
        model: The network and its images.
        located: The layer whose units are asked for. None: the logits of a ConvNet, for the true
            class or, where the data has other classes, the most probable one; `layer` of other
            networks, whose head may be untrained.
        layer: See `located`.
        masks: As of `object_masks`.
        seed: Of the channels of contrastive projections.

    Returns:
        The settings, and "methods": for each method, and "chance", the fraction of images where it
        points at the object, and the mean fraction of its energy there.
    """
    net, indices = model.net, list(masks)
    truth = torch.stack(list(masks.values()))
    of_class = located is None and isinstance(net, ConvNet)
    if of_class:
        located = list(net.table)[-1]  # type: ignore[arg-type]
    located = located or layer
    side = min(sides(model.crop))
    sigma, tolerance = SIGMA * side, round(TOLERANCE * side)
    methods = methods_for(net, model.inputs(indices[:1]), seed)
    maps: dict[str, list[Tensor]] = {name: [] for name in methods}
    with progress_bar() as bar:
        task = bar.add_task("", total=len(indices))
        for start in range(0, len(indices), model.batch_size):
            batch = indices[start : start + model.batch_size]
            images = model.inputs(batch)
            labels = model.true_classes(batch) if of_class else None
            if labels is None:
                units = strongest_units(net, images, located)
            else:
                units = [Unit(i, label) for i, label in enumerate(labels.tolist())]
            for name, method in methods.items():
                maps[name].append(method(net, images, located, units).cpu())
            bar.update(task, advance=len(batch))
    corner = torch.zeros(len(indices), 2, dtype=torch.long)
    scores = {}
    for name, parts in maps.items():
        whole = torch.cat(parts)
        scores[name] = {
            "pointing": pointing(whole, truth, sigma, tolerance).float().mean().item(),
            "energy": energy_inside(whole[:, None], corner, truth).nanmean().item(),
        }
    scores["chance"] = {
        "pointing": dilate(truth, tolerance).float().mean().item(),
        "energy": truth.float().mean().item(),
    }
    of = "the strongest unit"
    if of_class:
        of = "the true class" if model.knows_classes() else "the most probable class"
    settings = {
        "unit": f"{of} of {located}",
        "images": len(indices),
        "sigma": sigma,
        "tolerance": tolerance,
    }
    return {**settings, "methods": scores}
