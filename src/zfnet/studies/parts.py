"""Pictures whose parts are known, an eye or the nose, and where they lie: from the data set, or a csv.

    chosen = pictures_with(subject, ["nose"], read_parts("parts.csv", subject, 224), 32, 22, ["dog"], seed=0)
    chosen.images, chosen.places["nose"]          # indices, (N, 2) of (x, y) in pixels of the centre crop

The csv: image,part,x,y in pixels of a centre crop of `side`. Pictures that lack a part are left out, and so
are those without room for a random square away from their parts.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from zfnet.analysis.correspondence import free_places
from zfnet.data.csv_files import read_csv
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData
from zfnet.studies.objects import Places, object_of

log = logging.getLogger(__name__)

COLUMNS = ("image", "part", "x", "y")


@dataclass(frozen=True)
class Chosen:
    """N pictures, by index; where their parts are; the objects' masks where the data set knows them."""

    images: list[int]
    places: dict[str, Tensor]  # (N, 2) each
    masks: Tensor | None  # bool (N, crop, crop)
    left_out: int


def pictures_with(
    subject: ModelOnData,
    names: Sequence[str],
    known: dict[int, Places] | None,
    count: int,
    side: int,
    classes: Sequence[str] | None,
    seed: int,
) -> Chosen:
    """Up to `count` pictures that have all parts `names`, in a random order; `known` as of read_parts, None asks
    the data set. `side` is that of the squares, which need room."""
    images: list[int] = []
    places: list[list[tuple[float, float]]] = []
    masks: list[Tensor] = []
    left_out = 0
    for index in _lot(subject, classes, known, seed):
        if len(images) == count:
            break
        mask = None
        if known is None:
            shown = object_of(subject, index)
            own, mask = shown.parts, shown.mask
        else:
            own = known[index]
        if not set(names) <= set(own) or not _has_room(own, names, mask, subject.crop, side):
            left_out += 1
            continue
        images.append(index)
        places.append([own[name] for name in names])
        masks += [] if mask is None else [mask]
    log.info("%d images; %d left out, without all of %s", len(images), left_out, ", ".join(names))
    if len(images) < 2:
        raise InputError(
            f"{len(images)} images have all of {', '.join(names)} and room for a patch of {side} pixels away from "
            "them: at least 2 are needed; choose other names=[...], classes=[...] or a smaller patch"
        )
    by_part = dict(zip(names, torch.tensor(places).unbind(1), strict=True))
    return Chosen(images, by_part, torch.stack(masks) if masks else None, left_out)


def read_parts(path: str, subject: ModelOnData, side: int) -> dict[int, Places]:
    """The parts of each image of the subject that a csv names, in pixels of its centre crop."""
    if side < 1:
        raise InputError(
            f"parts_side={side}: the centre crop that {path} means has one pixel at least, 224 say"
        )
    known: dict[int, Places] = {}
    by_name: dict[str, list[int]] = {}
    for i, id_ in enumerate(subject.images.ids):
        by_name.setdefault(Path(id_).name, []).append(i)
    by_name |= {id_: [i] for i, id_ in enumerate(subject.images.ids)}
    scale = subject.crop / side
    for line, row in read_csv("parts", path, COLUMNS):
        where = f"parts={path}, line {line}"
        name, part = row["image"].strip(), row["part"].strip()
        if name not in by_name:
            raise InputError(f"{where}: {subject.source.name} has no image {name!r}")
        if len(by_name[name]) > 1:
            first, second, *_ = (subject.images.ids[i] for i in by_name[name])
            raise InputError(f"{where}: {name!r} may be {first!r} or {second!r}; give the path")
        try:
            x, y = ((float(row[axis]) + 0.5) * scale - 0.5 for axis in "xy")
        except ValueError as error:
            raise InputError(f"{where}: x and y are pixels, not {row['x']!r}, {row['y']!r}") from error
        if not (-0.5 <= x < subject.crop - 0.5 and -0.5 <= y < subject.crop - 0.5):
            raise InputError(
                f"{where}: {part} of {name} at {row['x']}, {row['y']} lies outside the centre crop of "
                f"{side} pixels; parts_side= says which crop the file means"
            )
        own = known.setdefault(by_name[name][0], {})
        if part in own:
            raise InputError(f"{where}: {part} of {name} stands there twice")
        own[part] = x, y
    return known


def _lot(
    subject: ModelOnData, classes: Sequence[str] | None, known: dict[int, Places] | None, seed: int
) -> Iterator[int]:
    """Images to ask for parts, in a random order: those that the csv names, of the classes chosen."""
    if unknown := sorted(set(classes or ()) - set(subject.images.classes)):
        known_classes = ", ".join(subject.images.classes)
        raise InputError(
            f"classes={list(classes or ())}: there is no {unknown[0]}, choose from {known_classes}"
        )
    for index in torch.randperm(len(subject.images), generator=torch.Generator().manual_seed(seed)).tolist():
        of_class = subject.images.classes[subject.images.labels[index]]
        if (classes is None or of_class in classes) and (known is None or index in known):
            yield index


def _has_room(own: Places, names: Sequence[str], mask: Tensor | None, crop: int, side: int) -> bool:
    """Whether a random square finds a place."""
    free = free_places(torch.tensor([own[name] for name in names]), crop, crop, side)
    half = (side - 1) // 2
    return bool(
        (free if mask is None else free & mask[half : half + len(free), half : half + len(free)]).any()
    )
