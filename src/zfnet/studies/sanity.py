"""What a projection can and cannot claim (Adebayo et al. 2018), on a net's own units, and where it points.

    python analyze.py analysis=sanity ckpt=outputs/train/demo/checkpoints/last.ckpt

The strongest pictures of some maps again with the layers below shuffled one after another, from another map and
with another image's switches: `sanity.png` shows them above one another, with how similar they stay. Where the
data set knows masks, or `boxes=` a csv, methods are asked where the object is (zfnet.studies.pointing): deconvnet,
guided backpropagation, gradient and occlusion, beside the image's centre and chance. `sanity.json`.
"""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from zfnet.analysis.sanity import sanity_checks, similarity
from zfnet.deconv import Deconvnet, Unit, default_layers, top_activations
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData
from zfnet.studies.json_output import write_json
from zfnet.studies.objects import object_masks
from zfnet.studies.pointing import localization_scores
from zfnet.studies.top_activations import chosen_maps
from zfnet.validation import Count, Seed, Whole
from zfnet.viz import save_png
from zfnet.viz.sanity import Located, Row, sanity_sheet

log = logging.getLogger(__name__)

SHOWN = 8  # maps in the figure
OTHERS = {"other map": "other map", "other image": "other image", "both": "other map and image"}


@dataclass
class Checked:
    """Units, what they see, and their pictures by the name of the check."""

    units: list[Unit]
    images: list[int]  # indices of their images
    patches: Tensor  # (N, 3, h, w) in [0, 1]
    pictures: dict[str, Tensor]  # (N, 3, h, w)


def study(
    subject: ModelOnData,
    folder: Path,
    layer: str | None,
    maps: Count | Sequence[Whole],
    k: Count,
    images: Count,
    located: str | None,
    boxes: str | None,
    seed: Seed,
) -> None:
    """Both halves, a figure and the numbers."""
    layer = layer or default_layers(subject.net, subject.inputs([0]))[-1]
    masks = object_masks(subject, boxes, images)
    checked = _checked(subject, layer, maps, k, seed)
    similar = _similar(checked)
    for name, label in labels(similar).items():
        if math.isnan(similar[name]["cosine"]):
            log.info("%s: nothing in common with the original can be told, its pictures are 0", label)
        else:
            log.info(
                "%s: cosine %.2f, rank correlation %.2f with the original", label, *similar[name].values()
            )
    where = localization_scores(subject, located, layer, masks) if masks else {}
    for name, numbers in where.get("methods", {}).items():
        shares = (100 * share for share in numbers.values())
        log.info("%s: points at the object %.0f %%, energy %.0f %%", name, *shares)
    result = {"layer": layer, "similarity": similar, "localisation": where}
    write_json(result, folder / "sanity.json", indent=1)
    save_png(_sheet(layer, checked, similar, where), folder / "sanity.png")


def _checked(subject: ModelOnData, layer: str, maps: int | Sequence[int], k: int, seed: int) -> Checked:
    """The k strongest units of each map, and every check of them."""
    top = top_activations(subject.net, subject.batches(), [layer], k, total=len(subject.images))[layer]
    live = (top.values[:, 0] > 0).nonzero()[:, 0].tolist()
    if isinstance(maps, int):
        chosen = [live[i] for i in chosen_maps(maps, len(live), layer)]
    else:
        chosen = [map for map in chosen_maps(maps, len(top.values), layer) if map in live]
    if not chosen:
        raise InputError(
            f"no picture excites the maps of {layer} that are asked for: there is nothing to check"
        )
    found = [(map, rank) for map in chosen for rank in range(k) if top.values[map, rank] > 0]
    indices = [int(top.images[at]) for at in found]
    units = [Unit(i, at[0], int(top.y[at]), int(top.x[at])) for i, at in enumerate(found)]
    count = len(top.values)
    others = {map: chosen[(i + 1) % len(chosen)] for i, map in enumerate(chosen)}
    if len(chosen) == 1:
        others = {chosen[0]: next((map for map in live if map != chosen[0]), (chosen[0] + 1) % count)}
    images = subject.inputs(indices)
    elsewhere = subject.inputs([_another(indices, i, len(subject.images)) for i in range(len(indices))])
    pictures = sanity_checks(
        subject.net, images, elsewhere, layer, units, [others[unit.channel] for unit in units], seed
    )
    patches = (
        Deconvnet(subject.net).patches(images, layer, units).of(subject.pixels(indices), units, fill=0.5)
    )
    return Checked(units, indices, patches, pictures)


def _another(indices: list[int], i: int, count: int) -> int:
    """The next unit's image that is not this one's; the next of all when there is none."""
    following = [*indices[i + 1 :], *indices[:i]]
    return next((index for index in following if index != indices[i]), (indices[i] + 1) % count)


def _similar(checked: Checked) -> dict[str, dict[str, float]]:
    """Mean similarities with the original, by check; those of "both" are chance's."""
    original = checked.pictures["original"]
    result = {}
    for name, pictures in checked.pictures.items():
        cosines, ranks = similarity(original, pictures)
        result[name] = {"cosine": cosines.nanmean().item(), "rank": ranks.nanmean().item()}
    return result


def _sheet(
    layer: str, checked: Checked, similar: dict[str, dict[str, float]], where: dict[str, Any]
) -> Tensor:
    """Of each map a panel of all its pictures, and the numbers."""
    maps = [unit.channel for unit in checked.units]
    shown = list(dict.fromkeys(maps))[:SHOWN]
    columns = [[i for i, map in enumerate(maps) if map == each] for each in shown]
    rows = [
        Row(
            label,
            [checked.pictures[name][own] for own in columns],
            (similar[name]["cosine"], similar[name]["rank"]),
            name not in OTHERS,
        )
        for name, label in labels(checked.pictures).items()
    ]
    located = None
    if where:
        shares = [
            [100 * each[measure] for each in where["methods"].values()] for measure in ("pointing", "energy")
        ]
        located = Located(f"{where['unit']}, {where['images']} images", list(where["methods"]), *shares)
    title = f"{layer}: what stays of a projection when the net, the unit or the image is another"
    patches = [checked.patches[own] for own in columns]
    return sanity_sheet(title, [f"map {map}" for map in shown], patches, rows, located)


def labels(checks: Iterable[str]) -> dict[str, str]:
    """What each check is called: the original, the others, and between them the layers that are shuffled."""
    shuffled = [name for name in checks if name not in ("original", *OTHERS)]
    cascade = {name: f"... and {name.removesuffix('.conv')}" for name in shuffled}
    if shuffled:
        cascade[shuffled[0]] = f"{shuffled[0].removesuffix('.conv')} shuffled"
    return {name: cascade.get(name, OTHERS.get(name, name)) for name in checks}
