"""Figure 2: the nine images that activate a channel most, projected to pixels beside the patch.

    python analyze.py analysis=top_activations ckpt=outputs/train/demo/checkpoints/last.ckpt

`<layer>.png` shows some channels of a layer. `top_activations.json` has the image ids, places and
values of all channels of all layers and, where the data set knows the objects' masks, how much of
the projections' energy falls on them. `relu=` chooses the rule of the projections. `contrast=16`
shows what each projection does not share with those of 16 other channels. Safe to interrupt:
resume=true continues the search."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zfnet.analysis.localization import energy_inside
from zfnet.deconv import (
    Deconvnet,
    ImageBatch,
    Patches,
    Top,
    TopActivations,
    Unit,
    Window,
    make_deconvnet,
    random_subset,
    top_activations,
)
from zfnet.deconv.rules import Relu
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData
from zfnet.models.scores import LAYER
from zfnet.progress import progress_bar
from zfnet.sizes import sides
from zfnet.studies import Analysis
from zfnet.studies.annotations import has_annotations, object_of
from zfnet.studies.json_output import write_json
from zfnet.studies.progress_file import ProgressFile
from zfnet.studies.score_option import parse_score, project_score
from zfnet.validation import Count, Seed, Whole
from zfnet.viz import FeaturePanel, feature_sheet, save_png
from zfnet.viz.grid import Part

log = logging.getLogger(__name__)

RANDOM_PLACES = 20  # for each projection, to measure the energy on the object by chance


@dataclass
class TopPatches:
    """A channel's strongest units, by the indices of their images: projections, and the pixels that
    they see."""

    channel: int
    units: list[Unit]
    patches: Patches
    pixels: Tensor  # (N, C, h, w) in [0, 1]


@dataclass
class TopActivationSearch(Analysis):
    """Searches the split; see conf/analysis/top_activations.yaml for the fields."""

    layers: Sequence[str] | None
    channels: Count | Sequence[Whole]
    k: Count
    score: Whole | str | None = None
    contrast: Whole = 0
    seed: Seed = 0
    relu: Relu = "deconv"
    takes = "model"

    def run(self, model: ModelOnData, folder: Path) -> None:
        if option := parse_score(self.score, model):
            model, channels = project_score(model, option)
            self.layers, self.channels = [LAYER], channels or self.channels
        layers = list(self.layers or model.default_layers())
        file = ProgressFile(
            folder / "search.pt", {**model.fingerprint(), "layers": layers, "k": self.k}
        )
        top = search(model, file, layers, self.k)
        chosen = {
            layer: choose(self.channels, len(top[layer].values), "channels", layer)
            for layer in layers
        }
        deconv = make_deconvnet(
            model.net, self.relu, contrast=self.contrast, contrast_seed=self.seed
        )
        results: dict[str, dict[str, Any]] = {}
        with progress_bar() as bar:
            task = bar.add_task("", total=self.k * sum(map(len, chosen.values())))
            for layer in layers:
                found = []
                for channel in chosen[layer]:
                    found.append(top_patches(model, deconv, layer, channel, top[layer]))
                    bar.update(task, advance=self.k)
                title = self._title(model, deconv, layer, len(found))
                rules = deconv.extended_rules(layer, model.crop)
                note = deconv.describe(layer, model.crop)
                sheet = feature_sheet(title, _panels(model, deconv, layer, found), note=note)
                save_png(sheet, folder / f"{layer}.png")
                entries = _entries(model, deconv, layer, top[layer])
                results[layer] = {
                    "extended_rules": rules,
                    "caution": deconv.caution(layer, model.crop),
                    "contrast": deconv.contrast.settings(len(top[layer].values)),
                    "maps": entries,
                }
                if has_annotations(model):
                    results[layer] |= _energy_on_objects(model, deconv, layer, found)
        settings = {"score": option.text if option else None, "relu": self.relu}
        result = {"searched": top.seen, "k": self.k, **settings, "layers": results}
        write_json(result, folder / "top_activations.json")
        file.delete()

    def _title(self, model: ModelOnData, deconv: Deconvnet, layer: str, channels: int) -> str:
        window = deconv.window(layer, Unit(0, 0), model.crop)
        field = f"{window.bottom - window.top} x {window.right - window.left}"
        return (
            f"{layer}: the {self.k} strongest activations of {channels} channels among "
            f"{len(model.images):,} images of {model.source.name}; units see {field} pixels"
        )


def choose(wanted: int | Sequence[int], count: int, key: str, owner: str) -> list[int]:
    """Numbers of channels or images.

    Args:
        wanted: How many, a random sample that is always the same, or which.
        count: How many there are.
        key: What `wanted` is called in messages.
        owner: What they are of, in messages.

    Raises:
        InputError: One of the numbers does not exist.
    """
    if isinstance(wanted, int):
        return random_subset(count, wanted).tolist()
    if beyond := [number for number in wanted if not 0 <= number < count]:
        raise InputError(
            f"{key}={list(wanted)}: {owner} has {key} 0 to {count - 1}, no {beyond[0]}"
        )
    return list(wanted)


def search(model: ModelOnData, file: ProgressFile, layers: list[str], k: int) -> TopActivations:
    """The k strongest activations of each channel among all images. Continues what `file` holds."""
    top, start = TopActivations(layers, k), time.monotonic()
    if file.load(lambda state: _restore(top, state, len(model.images))):
        log.info("continuing after %d of %d images", top.seen, len(model.images))

    def batches() -> Iterator[ImageBatch]:
        for batch in model.batches(range(top.seen, len(model.images))):
            yield batch
            if file.is_due:
                file.save(top.state_dict())

    top_activations(model.net, batches(), layers, k, top, total=len(model.images))
    log.info("searched %d images in %.1f s", top.seen, time.monotonic() - start)
    return top


def _restore(top: TopActivations, state: Any, count: int) -> bool:
    """Loads an interrupted search; ValueError where it is none of `count` images."""
    if set(state["tops"]) != set(top.layers):
        raise ValueError(f"it has the layers {', '.join(state['tops'])}")
    top.load_state_dict(state)
    if type(top.seen) is not int or not 0 < top.seen <= count:
        raise ValueError(f"seen={top.seen} of {count} images")
    for layer in top.layers:
        values, *places = vars(top[layer]).values()
        if values.dim() != 2 or values.shape[1] != top.k or not values.is_floating_point():
            raise ValueError(f"the values of {layer} are {values.dtype}, {tuple(values.shape)}")
        if values.isnan().any():
            raise ValueError(f"the values of {layer} are not all numbers")
        for each in places:
            if each.shape != values.shape or each.dtype != torch.int64 or each.min() < -1:
                raise ValueError(f"the places of {layer} are {each.dtype}, {tuple(each.shape)}")
        if top[layer].images.max() >= top.seen:
            raise ValueError(f"{layer} has images beyond {top.seen}")
    return True


def top_patches(
    model: ModelOnData, deconv: Deconvnet, layer: str, channel: int, top: Top
) -> TopPatches:
    """A channel of a layer, with its strongest images projected."""
    units = top.units([channel])
    return TopPatches(channel, units, *model.project(deconv, layer, units))


def _panels(
    model: ModelOnData, deconv: Deconvnet, layer: str, found: list[TopPatches]
) -> list[FeaturePanel]:
    filters = deconv.filters(layer, model.crop)
    return [
        FeaturePanel(
            each.channel,
            model.shown(each.patches.projections.cpu()),
            model.shown(each.pixels),
            each.patches.values.cpu(),
            None if filters is None else model.shown(filters[each.channel]),
            _own_positions(model, deconv, layer, each),
        )
        for each in found
    ]


def _own_positions(
    model: ModelOnData, deconv: Deconvnet, layer: str, found: TopPatches
) -> list[Part]:
    """The place of each unit in its patch, if patches are whole images; otherwise []."""
    height, width = sides(model.crop)
    cells = [deconv.cell(layer, unit, model.crop) for unit in found.units]
    whole = all(window == (0, 0, height, width) for window in found.patches.windows)
    return [
        (cell.top / height, cell.left / width, cell.bottom / height, cell.right / width)
        for cell in cells
        if cell is not None and whole
    ]


def _entries(
    model: ModelOnData, deconv: Deconvnet, layer: str, top: Top
) -> list[list[dict[str, Any]]]:
    """For each channel its strongest images: id, place, activation, and the pixels that the unit
    sees."""

    windows = windows_of_places(deconv, layer, model)

    def entry(image: int, y: int, x: int, value: float) -> dict[str, Any]:
        window = windows[y, x]
        return {"image": model.images.ids[image], "y": y, "x": x, "value": value, "window": window}

    lists = zip(*(part.tolist() for part in (top.images, top.y, top.x, top.values)), strict=True)
    return [[entry(*each) for each in zip(*parts, strict=True) if each[0] >= 0] for parts in lists]


def windows_of_places(
    deconv: Deconvnet, layer: str, model: ModelOnData
) -> dict[tuple[int, int], Window]:
    """The pixels that the unit at each place (y, x) of a layer sees."""
    _, rows, columns = deconv.units(layer, model.crop)
    places = [(y, x) for y in range(rows) for x in range(columns)]
    units = [Unit(0, 0, y, x) for y, x in places]
    return dict(zip(places, deconv.windows(layer, units, model.crop), strict=True))


def _energy_on_objects(
    model: ModelOnData, deconv: Deconvnet, layer: str, found: list[TopPatches]
) -> dict[str, float]:
    """The mean share of the projections' energy on the objects, and of the same moved to random
    units."""
    units = [unit for each in found for unit in each.units]
    masks = torch.stack([object_of(model, unit.image).mask for unit in units])
    projections = torch.cat([each.patches.projections for each in found]).cpu()
    starts = torch.tensor([window[:2] for each in found for window in each.patches.windows])
    windows = windows_of_places(deconv, layer, model)
    corners = torch.tensor([window[:2] for window in windows.values()])
    own = torch.tensor([windows[unit.y, unit.x][:2] for unit in units])
    size = (RANDOM_PLACES, len(units))
    sample = torch.randint(len(corners), size, generator=torch.Generator().manual_seed(0))
    moved = corners[sample] - own + starts  # (RANDOM_PLACES, N, 2)

    def share(places: Tensor) -> Tensor:
        return energy_inside(projections, places, masks)

    on = share(starts).nanmean().item()
    chance = torch.stack([share(places) for places in moved]).nanmean().item()
    log.info(
        "%s: %.0f %% of the energy on the object, %.0f %% by chance", layer, 100 * on, 100 * chance
    )
    return {"energy_on_object": on, "energy_by_chance": chance}
