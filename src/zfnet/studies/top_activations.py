"""Figure 2: the nine images that excite a feature map most, each projected back to pixels beside its patch.

    python analyze.py analysis=top_activations ckpt=outputs/train/demo/checkpoints/last.ckpt

For each layer a sheet of some maps, `<layer>.png`; for all maps of all layers `top_activations.json`: image ids,
places and values. Where the data set knows the objects' masks, also how much of the projections' energy falls
on them. A search that is stopped goes on with resume=true.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zfnet.analysis.localisation import energy_inside
from zfnet.deconv import (
    Deconvnet,
    ImageBatch,
    Patches,
    Top,
    TopActivations,
    Unit,
    default_layers,
    random_subset,
    top_activations,
)
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData
from zfnet.progress import progress_bar
from zfnet.studies.json_output import write_json
from zfnet.studies.objects import knows_objects, object_of
from zfnet.studies.resuming import load_progress, save_progress
from zfnet.validation import Count, Whole
from zfnet.viz import FeaturePanel, feature_sheet, save_png

log = logging.getLogger(__name__)

SAVED_EVERY = 60  # seconds of search that a kill may cost
LOTS = 20  # times that chance is drawn


@dataclass
class TopPatches:
    """A map's best pictures, by index, and what the deconvnet shows in each."""

    channel: int
    images: list[int]
    units: list[Unit]
    patches: Patches


def study(
    subject: ModelOnData, folder: Path, layers: Sequence[str] | None, maps: Count | Sequence[Whole], k: Count
) -> None:
    """Searches the subject's pictures and writes the sheets and the numbers into `folder`."""
    layers = list(layers) if layers else default_layers(subject.net, subject.inputs([0]))
    top = _searched(subject, folder / "search.pt", layers, k)
    chosen = {layer: chosen_maps(maps, len(top[layer].values), layer) for layer in layers}
    deconv, results = Deconvnet(subject.net), {}
    with progress_bar() as bar:
        task = bar.add_task("", total=k * sum(map(len, chosen.values())))
        for layer in layers:
            drawn = []
            for number in chosen[layer]:
                drawn.append(top_patches(subject, deconv, layer, number, top[layer]))
                bar.update(task, advance=k)
            filters = deconv.filters(layer, subject.crop)
            panels = [
                _panel(subject, each, None if filters is None else filters[each.channel]) for each in drawn
            ]
            save_png(
                feature_sheet(_title(subject, deconv, layer, k, len(drawn)), panels), folder / f"{layer}.png"
            )
            on_objects = _on_objects(subject, deconv, layer, drawn) if knows_objects(subject) else {}
            results[layer] = {"maps": _entries(subject, deconv, layer, top[layer]), **on_objects}
    write_json({"searched": top.seen, "k": k, "layers": results}, folder / "top_activations.json")
    (folder / "search.pt").unlink(missing_ok=True)


def top_patches(subject: ModelOnData, deconv: Deconvnet, layer: str, number: int, top: Top) -> TopPatches:
    """Map `number` of a layer, with its best pictures projected."""
    row = top.of(torch.tensor([number]))
    images, ys, xs = (part[0].tolist() for part in (row.images, row.y, row.x))
    units = [
        Unit(rank, number, y, x) for rank, (y, x) in enumerate(zip(ys, xs, strict=True)) if images[rank] >= 0
    ]
    images = images[: len(units)]
    return TopPatches(number, images, units, deconv.patches(subject.inputs(images), layer, units))


def _panel(subject: ModelOnData, each: TopPatches, filter: Tensor | None) -> FeaturePanel:
    pixels = each.patches.of(subject.pixels(each.images), each.units, fill=0.5)
    return FeaturePanel(each.channel, each.patches.pictures.cpu(), pixels, each.patches.values.cpu(), filter)


def _title(subject: ModelOnData, deconv: Deconvnet, layer: str, k: int, maps: int) -> str:
    window = deconv.window(layer, Unit(0, 0), subject.crop)
    field = f"{window.bottom - window.top} x {window.right - window.left}"
    pictures = f"{len(subject.images):,} pictures of {subject.source.name}"
    return f"{layer}: the {k} strongest activations of {maps} maps among {pictures}; units see {field} pixels"


def _entries(subject: ModelOnData, deconv: Deconvnet, layer: str, top: Top) -> list[list[dict[str, Any]]]:
    """For each map its best pictures: image id, place in the map, activation, and the pixels that the unit sees."""
    result = []
    for number in range(len(top.values)):
        row = zip(*(part[number].tolist() for part in (top.images, top.y, top.x, top.values)), strict=True)
        result.append(
            [
                {
                    "image": subject.images.ids[image],
                    "y": y,
                    "x": x,
                    "value": value,
                    "window": deconv.window(layer, Unit(0, number, y, x), subject.crop),
                }
                for image, y, x, value in row
                if image >= 0
            ]
        )
    return result


def _on_objects(
    subject: ModelOnData, deconv: Deconvnet, layer: str, drawn: list[TopPatches]
) -> dict[str, float]:
    """The mean share of the projections' energy on the pictures' objects, and moved to random units."""
    units = [unit for each in drawn for unit in each.units]
    masks = torch.stack([object_of(subject, image).mask for each in drawn for image in each.images])
    pictures = torch.cat([each.patches.pictures for each in drawn]).cpu()
    starts = torch.tensor([window[:2] for each in drawn for window in each.patches.windows])
    on = energy_inside(pictures, starts, masks)
    _, rows, columns = deconv.units(layer, subject.crop)
    every = [
        deconv.window(layer, Unit(0, 0, y, x), subject.crop)[:2] for y in range(rows) for x in range(columns)
    ]
    own = torch.tensor([every[unit.y * columns + unit.x] for unit in units])
    drawn_by_lot = torch.randint(len(every), (LOTS, len(units)), generator=torch.Generator().manual_seed(0))
    moved = torch.tensor(every)[drawn_by_lot] - own + starts  # (LOTS, N, 2)
    chance = torch.stack([energy_inside(pictures, places, masks) for places in moved])
    shares = {"energy_on_object": on.nanmean().item(), "energy_by_chance": chance.nanmean().item()}
    log.info(
        "%s: %.0f %% of the energy on the object, %.0f %% by chance",
        layer,
        *(100 * s for s in shares.values()),
    )
    return shares


def chosen_maps(maps: int | Sequence[int], count: int, layer: str) -> list[int]:
    """Which of `count` maps to draw: those named, or so many at random, the same every time."""
    if isinstance(maps, int):
        if maps < 1:
            raise InputError(f"maps={maps}: at least one map must be drawn")
        return random_subset(count, maps).tolist()
    if beyond := [map for map in maps if not 0 <= map < count]:
        raise InputError(f"maps={list(maps)}: {layer} has maps 0 to {count - 1}, no {beyond[0]}")
    return list(maps)


def _searched(subject: ModelOnData, path: Path, layers: list[str], k: int) -> TopActivations:
    """The search over all pictures, going on from `path` if it was stopped."""
    fingerprint = {**subject.fingerprint(), "layers": layers, "k": k}
    top = load_progress(path, fingerprint, partial(_restored, layers, k, len(subject.images)))
    if top is None:
        top = TopActivations(layers, k)
    else:
        log.info("going on after %d of %d pictures", top.seen, len(subject.images))
    start = time.monotonic()
    saved = start

    def batches() -> Iterator[ImageBatch]:
        nonlocal saved
        for batch in subject.batches(top.seen):
            yield batch
            if time.monotonic() - saved > SAVED_EVERY:
                save_progress(path, fingerprint, top.state_dict())
                saved = time.monotonic()

    top_activations(subject.net, batches(), layers, k, top, total=len(subject.images))
    log.info("searched %d pictures in %.1f s", top.seen, time.monotonic() - start)
    return top


def _restored(layers: list[str], k: int, count: int, state: Any) -> TopActivations:
    """A search that was stopped; ValueError where it is none of `count` pictures."""
    if set(state["tops"]) != set(layers):
        raise ValueError(f"it has the layers {', '.join(state['tops'])}")
    top = TopActivations(layers, k)
    top.load_state_dict(state)
    if type(top.seen) is not int or not 0 < top.seen <= count:
        raise ValueError(f"seen={top.seen} of {count} pictures")
    for layer in layers:
        values, *places = vars(top[layer]).values()
        if (
            values.dim() != 2
            or values.shape[1] != k
            or not values.is_floating_point()
            or values.isnan().any()
        ):
            raise ValueError(f"the values of {layer} are {values.dtype}, {tuple(values.shape)}")
        for each in places:
            if each.shape != values.shape or each.dtype != torch.int64 or each.min() < -1:
                raise ValueError(f"the places of {layer} are {each.dtype}, {tuple(each.shape)}")
        if top[layer].images.max() >= top.seen:
            raise ValueError(f"{layer} has pictures beyond {top.seen}")
    return top
