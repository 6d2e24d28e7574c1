"""Makes the atlas of one network: measures, projects, and writes the data of the pages.

    overview = make_atlas(model, folder / "net_1", Origin("demo"))
    write_pages(folder, [overview], compare=False)

The work is divided into a search for all layers with the statistics of all channels, the
connections between layers, and the projections of BLOCK channels at a time. Each part that is
finished is kept in `progress`, and an interrupted atlas continues there. If the network, the images
or the settings have changed, the atlas starts anew.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zfnet import ranks
from zfnet.analysis.activation_statistics import ActivationStatistics
from zfnet.analysis.connections import Connections
from zfnet.analysis.evolution import Winners
from zfnet.atlas.files import FORMAT, write_json, write_script
from zfnet.atlas.overview import Origin, Settings, describe_layer, describe_network
from zfnet.atlas.records import LayerFindings, Records, class_names, strongest_links
from zfnet.atlas.run_files import draw_evolution
from zfnet.atlas.tiles import PIXELATED, image_tiles, sheet, webp
from zfnet.atlas.units import EXAMPLES, UnitTiles
from zfnet.deconv import Deconvnet, Top, TopActivations, Unit, doctor, projectable_layers
from zfnet.deconv.contrast import Contrast
from zfnet.deconv.doctor import Diagnosis
from zfnet.errors import InputError
from zfnet.fingerprint import digest
from zfnet.io import npy, read_json, read_torch, save, save_torch
from zfnet.json_output import plain
from zfnet.model_on_data import ModelOnData, has_annotations, object_of
from zfnet.models.introspection import in_run_order
from zfnet.parts import Parts
from zfnet.progress import progress_bar
from zfnet.search import search

log = logging.getLogger(__name__)

BLOCK = 128  # channels whose units are projected together, and written before the next ones
UNITS_FILE, TILES_FILE, TILES_ACROSS = 32, 64, 8  # channels in a file of the pages, and in a row
AT_ONCE = 8  # images whose connections are computed together
LINKED = 32  # images whose connections are saved together
DIAGNOSED = 16  # images, for the doctor
MASKS = 2048  # of objects that are kept in memory
REMEDY = "delete it to make it again"


def make_atlas(
    model: ModelOnData,
    folder: Path,
    origin: Origin,
    settings: Settings,
    layers: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Measures and projects all channels of some layers, and writes the data of an atlas.

    Args:
        model: the network and the images.
        folder: of this network's data, such as `net_1` in the folder of the pages.
        origin: where the network and the images come from.
        settings: what is shown.
        layers: names of layers; None for the default layers that have a deconvnet.

    Returns:
        The overview, which `write_pages` takes.

    Raises:
        InputError: a layer cannot be projected, or an activation is not finite.
    """
    names, problems = projectable_layers(model.net, model.shape, layers)
    for problem in problems:
        log.warning("%s", problem)
    if not names:
        raise InputError(f"{origin.title}: no layer can be projected")
    names = in_run_order(model.net, names, model.inputs([0]))
    fingerprint = {
        **model.fingerprint(),
        **asdict(settings),
        "layers": names,
        "origin": [origin.title, origin.split, str(origin.checkpoint)],
        "history": digest(origin.run.history()),
        "format": FORMAT,
    }
    key, finished = digest(fingerprint), folder / "overview.json"
    known: dict[str, Any] = read_json(finished, REMEDY) if finished.exists() else {}
    ranks.wait()  # before the first process changes anything
    if known.get("made", {}).get("fingerprint") == key:
        log.info("%s is complete", folder)
        return known
    progress = folder / "progress"
    if ranks.is_first():
        _prepare(folder, progress, key)
    ranks.wait()
    _Atlas(model, folder, origin, settings, names, fingerprint).make()
    ranks.wait()
    if ranks.is_first():
        shutil.rmtree(progress)
    return read_json(finished, REMEDY)


def _prepare(folder: Path, progress: Path, key: str) -> None:
    """Deletes an atlas of another network, images or settings."""
    started = progress / "fingerprint.txt"
    if not started.exists() or started.read_text() != key:
        if folder.exists():
            log.info("%s was made of another network, images or settings: starting anew", folder)
            shutil.rmtree(folder)
        progress.mkdir(parents=True)
        save(started, key.encode())


@dataclass(frozen=True)
class _Measured:
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


class _Atlas:
    """The making of one atlas, part by part."""

    def __init__(
        self,
        model: ModelOnData,
        folder: Path,
        origin: Origin,
        settings: Settings,
        layers: list[str],
        fingerprint: Mapping[str, Any],
    ) -> None:
        self.model, self.folder, self.origin, self.settings = model, folder, origin, settings
        self.layers, self.fingerprint = layers, fingerprint
        self.progress = folder / "progress"

    def make(self) -> None:
        """Makes all parts that are missing. The first process writes the overview at the end."""
        measured = self._measure()
        examples = {name: measured.statistics.quantiles(name, EXAMPLES) for name in self.layers}
        counts = [len(measured.tops[name].values) for name in self.layers]
        blocks = [(n, part) for n, count in enumerate(counts) for part in _blocks(count)]

        @lru_cache(maxsize=1)  # each holds a copy of the network
        def tiles(number: int) -> UnitTiles:
            name = self.layers[number]
            return self._tiles(name, measured, examples[name])

        began, mine = time.monotonic(), ranks.share(blocks)
        with progress_bar(what="channels") as bar:
            task = bar.add_task("", total=sum(len(channels) for _, channels in mine))
            for number, channels in mine:
                self._block(tiles(number), number, channels)
                bar.update(task, advance=len(channels))
        ranks.wait()
        if not ranks.is_first():
            return
        seconds = time.monotonic() - began
        log.info("%d channels in %.0f s", sum(counts), seconds)
        overviews, class_channels, shown = [], [], set[int]()
        for number, name in enumerate(self.layers):
            made = [self._block(tiles(number), n, part) for n, part in blocks if n == number]
            found = self._findings(number, measured, examples[name], made)
            records = Records(self.model, number, found, tiles(number))
            preview = torch.cat([block["preview"] for block in made])
            self._write_layer(number, found, records, preview)
            diagnosis = measured.diagnoses[number]
            overviews.append(describe_layer(self.model, number, found, tiles(number), diagnosis))
            class_channels.append(records.for_classes())
            for top in (found.top, examples[name]):
                shown |= set(top.images[top.images >= 0].tolist())
        self._write_images(sorted(shown))
        if measured.statistics.classes > 1:
            self._script("classes.js", list(zip(*class_channels, strict=True)))
        overview: dict[str, Any] = plain(
            describe_network(
                *(self.model, self.origin, self.settings, len(measured.statistics.images)),
                *(digest(self.fingerprint), overviews),
            )
        )
        write_json(self.folder / "overview.json", overview)

    def _measure(self) -> _Measured:
        """Measures all layers together."""
        model, deconv = self.model, Deconvnet(self.model.net)
        channels = {name: deconv.units(name, model.shape)[0] for name in self.layers}
        classes = max(1, len(class_names(model)))
        labels = model.images.labels if classes > 1 else torch.zeros(len(model.images))
        statistics = ActivationStatistics(channels, labels, classes)
        parts = Parts(self.progress, "search", self.fingerprint)
        tops = search(model, parts, self.layers, self.settings.k, statistics)
        links = self._connections(tops)
        diagnoses = doctor(model.net, self.layers, model.inputs(_spread(len(model.images))))
        return _Measured(
            tops, statistics, links, diagnoses, self.origin.run.evolution(), self._masks()
        )

    def _tiles(self, name: str, measured: _Measured, examples: Top) -> UnitTiles:
        contrast = Contrast(self.settings.contrast, self.settings.seed)
        return UnitTiles(
            *(self.model, name, measured.tops[name], examples, contrast, measured.mask),
            self.settings.occlusion,
        )

    def _findings(
        self,
        number: int,
        measured: _Measured,
        examples: Top,
        blocks: Sequence[Mapping[str, Tensor]],
    ) -> LayerFindings:
        name, links = self.layers[number], measured.links
        above = self.layers[number + 1] if number + 1 < len(self.layers) else None
        top = measured.tops[name]
        return LayerFindings(
            name=name,
            top=top,
            examples=examples,
            statistics=measured.statistics,
            on_object=torch.cat([block["on_object"] for block in blocks]),
            by_chance=torch.cat([block["by_chance"] for block in blocks]),
            feeds=strongest_links(links[name]) if number else [],
            read_by=strongest_links(links[above].t()) if above else [],
            winners=_winners_of(name, len(top.values), measured.winners),
        )

    def _masks(self) -> Callable[[int], Tensor] | None:
        """Returns a function that gives the mask of an image's object, if the data set knows it."""
        if not has_annotations(self.model):
            return None
        return lru_cache(MASKS)(lambda index: object_of(self.model, index).mask)

    def _connections(self, tops: TopActivations) -> dict[str, Tensor]:
        """What each channel of the layer below contributes to the strongest unit of each channel.

        Images are taken in order, AT_ONCE at a time, and saved in parts of LINKED images.
        """
        units = [
            (layer, unit)
            for layer in self.layers[1:]
            for unit in tops[layer].best(1).units(range(len(tops[layer].values)))
        ]
        images = sorted({unit.image for _, unit in units})
        chunks = [images[start : start + LINKED] for start in range(0, len(images), LINKED)]
        connect = Connections(self.model.net, self.layers, self.model.inputs([0]))
        parts = Parts(self.progress, "connections", self.fingerprint)
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
                    each = connect.contributions(self.model.inputs(some), of)
                    found += [
                        (layer, [unit.channel for unit in of[layer]], values.float().cpu())
                        for layer, values in each.items()
                    ]
                    bar.update(task, advance=len(some))
                parts.save(number, found)
        links = {
            layer: torch.zeros(len(tops[layer].values), len(tops[below].values))
            for below, layer in pairwise(self.layers)
        }
        for found in parts.results(len(chunks), lambda _, state: state):
            for layer, channels, values in found:
                links[layer][channels] = values
        return links

    def _folder(self, number: int) -> Path:
        """Returns the folder of a layer, which exists."""
        folder = self.folder / f"layer_{number}"
        folder.mkdir(exist_ok=True)
        return folder

    def _block(self, tiles: UnitTiles, number: int, channels: range) -> dict[str, Tensor]:
        """Projects some channels and writes their tiles.

        Returns:
            The energy on objects, and by chance, (channels,) each; and the strongest projection and
            patch of N channels for the overview, uint8 (N, 2, H, W, 3).
        """
        folder = self._folder(number)
        done = self.progress / f"{folder.name}_{channels.start}.pt"
        if done.exists():
            return read_torch(done, REMEDY)
        shown = tiles.show(channels)
        lossless = _keeps_pixels(shown.tiles)
        for channel, each in zip(channels, shown.tiles, strict=True):
            save(folder / f"unit_{channel}.webp", webp(sheet(each), lossless), durable=False)
        for start in range(0, len(channels), TILES_FILE):
            part = shown.tiles[start : start + TILES_FILE, :2, 0]  # (N, 2, H, W, 3)
            rows = -(-len(part) // TILES_ACROSS)
            cells = torch.full((rows * TILES_ACROSS, *part.shape[1:]), 128, dtype=torch.uint8)
            cells[: len(part)] = part
            grid = cells.unflatten(0, (rows, TILES_ACROSS)).transpose(1, 2).flatten(0, 1)
            name = f"tiles_{(channels.start + start) // TILES_FILE}.webp"
            save(folder / name, webp(sheet(grid), lossless), durable=False)
        preview = [channel - channels.start for channel in tiles.preview if channel in channels]
        found = {
            "on_object": shown.on_object,
            "by_chance": shown.by_chance,
            "preview": shown.tiles[preview, :2, 0].clone(),
        }
        save_torch(done, found)
        return found

    def _write_layer(
        self, number: int, found: LayerFindings, records: Records, preview: Tensor
    ) -> None:
        folder = self._folder(number)
        units = [records.unit(channel) for channel in range(found.channels)]
        if found.winners:
            draw_evolution(folder, found.winners, units)
        write_json(folder / "layer.json", {"layer": found.name, "units": units})
        self._script(f"{folder.name}/summary.js", records.summary())
        for start in range(0, len(units), UNITS_FILE):
            part = {unit["channel"]: unit for unit in units[start : start + UNITS_FILE]}
            self._script(f"{folder.name}/units_{start // UNITS_FILE}.js", part)
        save(folder / "activations.npy", npy(found.statistics.values(found.name).numpy()))
        strip = preview.transpose(0, 1)  # (2, N, H, W, 3)
        save(folder / "preview.webp", webp(sheet(strip), _keeps_pixels(strip)), durable=False)

    def _write_images(self, indices: list[int]) -> None:
        folder = self.folder / "images"
        folder.mkdir(exist_ok=True)
        for start in range(0, len(indices), AT_ONCE):
            part = indices[start : start + AT_ONCE]
            pixels = image_tiles(self.model.shown(self.model.pixels(part)))
            for index, image in zip(part, pixels, strict=True):
                save(folder / f"{index}.webp", webp(image), durable=False)

    def _script(self, name: str, value: Any) -> None:
        write_script(self.folder.parent, f"{self.folder.name}/{name}", value)


def _blocks(channels: int) -> Iterator[range]:
    """Yields the channels of each block."""
    for start in range(0, channels, BLOCK):
        yield range(start, min(start + BLOCK, channels))


def _keeps_pixels(tiles: Tensor) -> bool:
    """Whether tiles (..., H, W, 3) are so small that they are stored without loss."""
    return max(tiles.shape[-3:-1]) <= PIXELATED


def _winners_of(
    name: str, channels: int, winners: Mapping[int, Mapping[str, Winners]]
) -> dict[int, Winners]:
    """Returns a layer's winners by epoch, if they are of a layer with so many channels."""
    return {
        epoch: each[name]
        for epoch, each in winners.items()
        if name in each and len(each[name].ids) == channels
    }


def _spread(count: int) -> range:
    """Indices of up to DIAGNOSED of so many images, evenly spread."""
    return range(0, count, max(1, count // DIAGNOSED))[:DIAGNOSED]
