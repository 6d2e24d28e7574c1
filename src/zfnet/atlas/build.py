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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zfnet import ranks
from zfnet.analysis.evolution import Winners
from zfnet.atlas.files import FORMAT, write_json
from zfnet.atlas.measuring import Measured, measure
from zfnet.atlas.network_files import NetworkFiles
from zfnet.atlas.overview import Origin, Settings, describe_layer, describe_network
from zfnet.atlas.records import LayerFindings, Records, strongest_links
from zfnet.atlas.units import EXAMPLES, UnitTiles
from zfnet.deconv import Top, projectable_layers
from zfnet.deconv.contrast import Contrast
from zfnet.errors import InputError
from zfnet.fingerprint import digest
from zfnet.io import read_json, read_torch, save, save_torch
from zfnet.json_output import plain
from zfnet.model_on_data import ModelOnData
from zfnet.models.introspection import in_run_order
from zfnet.progress import progress_bar

log = logging.getLogger(__name__)

BLOCK = 128  # channels whose units are projected together, and written before the next ones
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
        self.progress, self.files = folder / "progress", NetworkFiles(folder)

    def make(self) -> None:
        """Makes all parts that are missing. The first process writes the overview at the end."""
        measured = measure(
            *(self.model, self.layers, self.origin, self.settings),
            *(self.progress, self.fingerprint),
        )
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
            self.files.write_layer(number, found, records, preview)
            diagnosis = measured.diagnoses[number]
            overviews.append(describe_layer(self.model, number, found, tiles(number), diagnosis))
            class_channels.append(records.for_classes())
            for top in (found.top, examples[name]):
                images = top.images[~found.dead]
                shown |= set(images[images >= 0].tolist())
        self.files.write_images(self.model, sorted(shown))
        if measured.statistics.classes > 1:
            self.files.write_script("classes.js", list(zip(*class_channels, strict=True)))
        overview: dict[str, Any] = plain(
            describe_network(
                *(self.model, self.origin, self.settings, len(measured.statistics.images)),
                *(digest(self.fingerprint), overviews),
            )
        )
        write_json(self.folder / "overview.json", overview)

    def _tiles(self, name: str, measured: Measured, examples: Top) -> UnitTiles:
        contrast = Contrast(self.settings.contrast, self.settings.seed)
        return UnitTiles(
            *(self.model, name, measured.tops[name], examples, contrast, measured.mask),
            self.settings.occlusion,
        )

    def _findings(
        self,
        number: int,
        measured: Measured,
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

    def _block(self, tiles: UnitTiles, number: int, channels: range) -> dict[str, Tensor]:
        """Projects some channels and writes their tiles.

        Returns:
            The energy on objects, and by chance, (channels,) each; and the strongest projection and
            patch of N channels for the overview, uint8 (N, 2, H, W, 3).
        """
        done = self.progress / f"layer_{number}_{channels.start}.pt"
        if done.exists():
            return read_torch(done, REMEDY)
        shown = tiles.show(channels)
        self.files.write_tiles(number, channels, shown.tiles)
        preview = [channel - channels.start for channel in tiles.preview if channel in channels]
        found = {
            "on_object": shown.on_object,
            "by_chance": shown.by_chance,
            "preview": shown.tiles[preview, :2, 0].clone(),
        }
        save_torch(done, found)
        return found


def _blocks(channels: int) -> Iterator[range]:
    """Yields the channels of each block."""
    for start in range(0, channels, BLOCK):
        yield range(start, min(start + BLOCK, channels))


def _winners_of(
    name: str, channels: int, winners: Mapping[int, Mapping[str, Winners]]
) -> dict[int, Winners]:
    """Returns a layer's winners by epoch, if they are of a layer with so many channels."""
    return {
        epoch: each[name]
        for epoch, each in winners.items()
        if name in each and len(each[name].ids) == channels
    }
