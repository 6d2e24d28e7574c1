"""Measures all layers of a network for an atlas, before any unit is projected.

    measured = measure(model, ["conv1", "conv2"], origin, settings, folder, fingerprint)
    measured.tops["conv2"]       # the strongest images
    measured.links["conv2"]      # what each channel of conv1 contributes to each of conv2

The search with the statistics, and the connections, are jobs in parts: each part that is finished
is kept in a folder, and an interrupted measurement continues there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zfnet.analysis.activation_statistics import ActivationStatistics
from zfnet.analysis.connections import Connections
from zfnet.analysis.evolution import Winners
from zfnet.atlas.overview import Origin, Settings
from zfnet.atlas.records import class_names
from zfnet.deconv import Deconvnet, TopActivations, Unit, doctor
from zfnet.deconv.doctor import Diagnosis
from zfnet.model_on_data import ModelOnData, has_annotations, object_of
from zfnet.parts import Parts
from zfnet.progress import progress_bar
from zfnet.search import search

AT_ONCE = 8  # images whose connections are computed together
LINKED = 32  # images whose connections are saved together
DIAGNOSED = 16  # images, for the doctor
MASKS = 2048  # of objects that are kept in memory


@dataclass(frozen=True)
class Measured:
    """What was measured of all layers.

    Attributes:
        tops: the strongest images.
        statistics: of all images.
        links: for each layer but the first, what each channel below contributes, (C, C below).
        diagnoses: what could mislead.
        winners: the strongest images by epoch and layer, see `RunFiles`.
        mask: the mask of an image's object; None if masks are unknown.
    """

    tops: TopActivations
    statistics: ActivationStatistics
    links: Mapping[str, Tensor]
    diagnoses: Sequence[Diagnosis]
    winners: Mapping[int, Mapping[str, Winners]]
    mask: Callable[[int], Tensor] | None


def measure(
    model: ModelOnData,
    layers: list[str],
    origin: Origin,
    settings: Settings,
    progress: Path,
    fingerprint: Mapping[str, Any],
) -> Measured:
    """Measures all layers together.

    Args:
        model: the network and the images.
        layers: names of layers, from the pixels up.
        origin: where the network comes from.
        settings: what the atlas shows.
        progress: the folder of finished parts.
        fingerprint: of the network, the images and the settings. Parts of others are not used.
    """
    deconv = Deconvnet(model.net)
    channels = {name: deconv.units(name, model.shape)[0] for name in layers}
    classes = max(1, len(class_names(model)))
    labels = model.images.labels if classes > 1 else torch.zeros(len(model.images))
    statistics = ActivationStatistics(channels, labels, classes)
    tops = search(model, Parts(progress, "search", fingerprint), layers, settings.k, statistics)
    links = _connections(model, layers, tops, Parts(progress, "connections", fingerprint))
    diagnoses = doctor(model.net, layers, model.inputs(_spread(len(model.images))))
    return Measured(tops, statistics, links, diagnoses, origin.run.evolution(), _masks(model))


def _masks(model: ModelOnData) -> Callable[[int], Tensor] | None:
    """Returns a function that gives the mask of an image's object, if the data set knows it."""
    if not has_annotations(model):
        return None
    return lru_cache(MASKS)(lambda index: object_of(model, index).mask)


def _connections(
    model: ModelOnData, layers: Sequence[str], tops: TopActivations, parts: Parts
) -> dict[str, Tensor]:
    """What each channel of the layer below contributes to the strongest unit of each channel.

    Images are taken in order, AT_ONCE at a time, and saved in parts of LINKED images.
    """
    units = [
        (layer, unit)
        for layer in layers[1:]
        for unit in tops[layer].best(1).units(range(len(tops[layer].values)))
    ]
    images = sorted({unit.image for _, unit in units})
    chunks = [images[start : start + LINKED] for start in range(0, len(images), LINKED)]
    connect = Connections(model.net, layers, model.inputs([0]))
    missing = parts.missing(len(chunks))
    with progress_bar() as bar:
        task = bar.add_task("", total=sum(len(chunks[number]) for number in missing))
        for number in missing:
            found = []
            for start in range(0, len(chunks[number]), AT_ONCE):
                some = chunks[number][start : start + AT_ONCE]
                rows = {image: row for row, image in enumerate(some)}
                of: dict[str, list[Unit]] = {}
                for layer, unit in units:
                    if unit.image in rows:
                        moved = replace(unit, image=rows[unit.image])
                        of.setdefault(layer, []).append(moved)
                each = connect.contributions(model.inputs(some), of)
                found += [
                    (layer, [unit.channel for unit in of[layer]], values.float().cpu())
                    for layer, values in each.items()
                ]
                bar.update(task, advance=len(some))
            parts.save(number, found)
    links = {
        layer: torch.zeros(len(tops[layer].values), len(tops[below].values))
        for below, layer in pairwise(layers)
    }
    for found in parts.results(len(chunks), lambda _, state: state):
        for layer, channels, values in found:
            links[layer][channels] = values
    return links


def _spread(count: int) -> range:
    """Indices of up to DIAGNOSED of so many images, evenly spread."""
    return range(0, count, max(1, count // DIAGNOSED))[:DIAGNOSED]
