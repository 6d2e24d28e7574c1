"""Figure 2: the nine images that activate a channel most, projected to pixels beside the patch.

    python analyze.py analysis=top_activations ckpt=outputs/train/demo/checkpoints/last.ckpt

`<layer>.png` shows some channels of a layer. `top_activations.json` has the image ids, places and
values of all channels of all layers and, where the data set knows the objects' masks, how much of
the projections' energy falls on them. `relu=` chooses the rule of the projections. `contrast=16`
shows what each projection does not share with those of 16 other channels. Safe to interrupt:
resume=true continues the search."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zfnet import ranks
from zfnet.analysis.localization import energy_by_chance, energy_inside
from zfnet.deconv import (
    Deconvnet,
    Patches,
    Top,
    Unit,
    make_deconvnet,
    random_subset,
)
from zfnet.deconv.rules import Relu
from zfnet.errors import InputError
from zfnet.json_output import write_json
from zfnet.model_on_data import ModelOnData, has_annotations, object_of
from zfnet.models.scores import LAYER
from zfnet.parts import Parts
from zfnet.progress import progress_bar
from zfnet.search import search
from zfnet.sizes import sides
from zfnet.studies import Analysis
from zfnet.studies.score_option import parse_score, project_score
from zfnet.validation import Count, Seed, Whole
from zfnet.viz import FeaturePanel, feature_sheet, save_png
from zfnet.viz.grid import Part

log = logging.getLogger(__name__)


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
    shares = True

    def run(self, model: ModelOnData, folder: Path) -> None:
        if option := parse_score(self.score, model):
            model, channels = project_score(model, option)
            self.layers, self.channels = [LAYER], channels or self.channels
        layers = list(self.layers or model.default_layers())
        parts = Parts(folder, "search", {**model.fingerprint(), "layers": layers, "k": self.k})
        top = search(model, parts, layers, self.k)
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

                def project(channel: int, layer: str = layer) -> TopPatches:
                    bar.update(task, advance=self.k)
                    return top_patches(model, deconv, layer, channel, top[layer])

                found = ranks.share_map(project, chosen[layer])
                if not ranks.is_first():
                    continue
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
        if not ranks.is_first():
            return
        settings = {"score": option.text if option else None, "relu": self.relu}
        result = {"searched": top.seen, "k": self.k, **settings, "layers": results}
        write_json(result, folder / "top_activations.json")
        parts.delete()

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


def top_patches(
    model: ModelOnData, deconv: Deconvnet, layer: str, channel: int, top: Top
) -> TopPatches:
    """A channel of a layer, with its strongest images projected."""
    units = top.units([channel])
    patches, pixels = model.project(deconv, layer, units)
    return TopPatches(channel, units, patches.cpu(), pixels)


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

    windows = deconv.windows_by_position(layer, model.crop)

    def entry(image: int, y: int, x: int, value: float) -> dict[str, Any]:
        window = windows[y, x]
        return {"image": model.images.ids[image], "y": y, "x": x, "value": value, "window": window}

    lists = zip(*(part.tolist() for part in (top.images, top.y, top.x, top.values)), strict=True)
    return [[entry(*each) for each in zip(*parts, strict=True) if each[0] >= 0] for parts in lists]


def _energy_on_objects(
    model: ModelOnData, deconv: Deconvnet, layer: str, found: list[TopPatches]
) -> dict[str, float]:
    """The mean share of the projections' energy on the objects, and of the same moved to random
    units."""
    units = [unit for each in found for unit in each.units]
    masks = torch.stack([object_of(model, unit.image).mask for unit in units])
    projections = torch.cat([each.patches.projections for each in found]).cpu()
    starts = torch.tensor([window[:2] for each in found for window in each.patches.windows])
    windows = deconv.windows_by_position(layer, model.crop)
    own = torch.tensor([windows[unit.y, unit.x][:2] for unit in units])
    corners = torch.tensor([window[:2] for window in windows.values()])
    on = energy_inside(projections, starts, masks).nanmean().item()
    chance = energy_by_chance(projections, starts, masks, own, corners).nanmean().item()
    log.info(
        "%s: %.0f %% of the energy on the object, %.0f %% by chance", layer, 100 * on, 100 * chance
    )
    return {"energy_on_object": on, "energy_by_chance": chance}
