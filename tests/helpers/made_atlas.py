"""A small atlas that is made up, in the files that the builder writes.

    nets = [make_net(folder, 1, MadeLayer("conv1", 12), MadeLayer("conv2", 70))]
    write_pages(folder, nets, compare=False)

Its numbers are random but agree with each other: a tile's file, a unit's links and the class lists
name what exists."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zfnet.atlas.files import write_json
from zfnet.atlas.pages import write_pages

NASTY = '<script>document.title="broken"</script>'
CLASSES = [NASTY, 'a "quoted" one', "slash/and\\back", "100 % ünïcödé 猫", "ant & bee", "it's"]
UNITS_A_FILE, TILES_A_FILE = 32, 64
CONTROLS = ["contrastive", "random_channel", "random_weights", "guided", "gradient"]
ROWS = ["projections", "patches", "controls", "example_projections", "example_patches"]
QUANTILES = (0.99, 0.9, 0.75, 0.5, 0.25)


@dataclass(frozen=True)
class MadeLayer:
    """What a layer of a made atlas is like."""

    name: str
    channels: int
    size: int = 8
    window: int | None = 9
    tile: int = 12
    dead: tuple[int, ...] = ()
    saturated: tuple[int, ...] = ()
    evolution: bool = False
    rules: str = ""
    warnings: tuple[str, ...] = ()


def write_js(path: Path, name: str, value: Any) -> None:
    """A data file, as the pages read it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"atlas.receive({json.dumps(name)},{text});\n", encoding="utf-8")


class MadeNet:
    """One network of a made atlas; `write` returns its overview.

    Without `pictures` it has numbers only. If `shared`, all files of pictures of a layer are one
    file, by links, so that thousands of units are made quickly."""

    def __init__(
        self,
        folder: Path,
        number: int,
        layers: Sequence[MadeLayer],
        classes: Sequence[str] = CLASSES,
        images: int = 40,
        k: int = 9,
        image_size: int = 24,
        gray: bool = False,
        pictures: bool = True,
        shared: bool = False,
    ) -> None:
        self.root, self.path = folder, f"net_{number}"
        self.layers, self.classes, self.images = layers, list(classes), images
        self.k, self.image_size, self.gray, self.pictures = k, image_size, gray, pictures
        self.shared = shared
        self.rng = np.random.default_rng(number)
        self.labels = [i % len(self.classes) if self.classes else None for i in range(images)]

    def write(self) -> dict[str, Any]:
        for index, layer in enumerate(self.layers):
            self._write_layer(index, layer)
        per_layer = [
            [[c, round(0.99 - i / 50, 2)] for i, c in enumerate(range(min(12, layer.channels)))]
            for layer in self.layers
        ]
        write_js(
            self.root / self.path / "classes.js",
            f"{self.path}/classes.js",
            [per_layer for _ in self.classes],
        )
        folder = self.root / self.path / "images"
        folder.mkdir(parents=True, exist_ok=True)
        if self.pictures:
            for index in range(self.images):
                self._save(folder / f"{index}.webp", 1, 1, self.image_size)
        overview = self._overview()
        write_json(self.root / self.path / "overview.json", overview)
        return overview

    def _overview(self) -> dict[str, Any]:
        counts = [self.labels.count(index) for index in range(len(self.classes))]
        return {
            "version": 2,
            "title": f"net {self.path[-1]} {NASTY if self.classes == CLASSES else ''}".strip(),
            "net": {
                "name": "ConvNet",
                "checkpoint": "outputs/<b>demo</b>/last.ckpt",
                "hash": f"0123456789abcde{self.path[-1]}",
                "parameters": 1234567,
            },
            "software": "0.1.0",
            "data": {
                "name": "creatures",
                "split": "val",
                "images": self.images,
                "sampled": self.images,
                "classes": self.classes,
                "class_images": counts,
                "masks": not self.gray,
            },
            "image_size": [self.image_size, self.image_size],
            "image_channels": 1 if self.gray else 3,
            "made": {"k": self.k, "contrast": 16, "seed": 0, "occlusion": False},
            "training": {
                "epochs": [1, 2, 3, 4],
                "curves": {"validation error": [0.8, 0.4, 0.2, 0.1], "training loss": [2, 1, 1, 0]},
            }
            if self.classes
            else None,
            "layers": [
                {
                    "name": layer.name,
                    "folder": f"layer_{index}",
                    "channels": layer.channels,
                    "size": [layer.size, layer.size],
                    "window": layer.window and [layer.window, layer.window],
                    "tile": [layer.tile, layer.tile],
                    "preview": {
                        "channels": list(range(min(12, layer.channels))),
                        "tile": [layer.tile, layer.tile],
                    },
                    "sprite": {
                        "columns": 9,
                        "rows": {name: i for i, name in enumerate(ROWS)},
                    },
                    "controls": CONTROLS,
                    "rules": layer.rules,
                    "warnings": list(layer.warnings),
                    "dead": list(layer.dead),
                    "dominant": [0] if not layer.dead else [],
                    "saturated": list(layer.saturated),
                    "selective": 3 if self.classes else 0,
                    "energy_on_object": None if self.gray else 0.61,
                    "energy_by_chance": None if self.gray else 0.28,
                }
                for index, layer in enumerate(self.layers)
            ],
        }

    def _write_layer(self, index: int, layer: MadeLayer) -> None:
        name = f"{self.path}/layer_{index}"
        folder, channels = self.root / name, layer.channels
        dead = [channel in layer.dead for channel in range(channels)]
        alive = ~np.array(dead)
        largest = np.where(alive, self.rng.uniform(1, 9, channels), 0).round(3)
        best = [
            channel % len(self.classes) if self.classes and not dead[channel] else -1
            for channel in range(channels)
        ]
        auc = [0.5 + (c * 7 % 50) / 100 if best[c] >= 0 else None for c in range(channels)]
        on_object = [None if d or self.gray else (c * 3 % 10) / 10 for c, d in enumerate(dead)]
        write_js(
            folder / "summary.js",
            f"{name}/summary.js",
            {
                "largest": largest.tolist(),
                "mean": (largest / 4).round(3).tolist(),
                "active": np.where(alive, self.rng.uniform(0, 1, channels), 0).round(3).tolist(),
                "best_class": best,
                "auc": auc,
                "energy_on_object": None if self.gray else on_object,
                "last_jump": [c % 5 for c in range(channels)] if layer.evolution else None,
                "dead": dead,
            },
        )
        summary = {"largest": largest, "best": best, "auc": auc, "on_object": on_object}
        everything = [self._unit(index, layer, channel, summary) for channel in range(channels)]
        write_json(folder / "layer.json", {"layer": layer.name, "units": everything})
        activations = np.linspace(0, 1, self.images, dtype=np.float32)[:, None] * largest
        np.save(folder / "activations.npy", activations.astype(np.float32))
        for first in range(0, channels, UNITS_A_FILE):
            here = range(first, min(first + UNITS_A_FILE, channels))
            units = {str(c): everything[c] for c in here}
            file = f"units_{first // UNITS_A_FILE}.js"
            write_js(folder / file, f"{name}/{file}", units)
        if not self.pictures:
            return
        for first in range(0, channels, TILES_A_FILE):
            rows = -(-min(TILES_A_FILE, channels - first) // 8)
            self._save(folder / f"tiles_{first // TILES_A_FILE}.webp", 2 * rows, 8, layer.tile)
        self._save(folder / "preview.webp", 2, min(12, channels), layer.tile)
        for channel in range(channels):
            self._save(folder / f"unit_{channel}.webp", len(ROWS), 9, layer.tile)
            if layer.evolution and not dead[channel]:
                self._save(folder / f"evolution_{channel}.webp", 2, 3, layer.tile)

    def _save(self, path: Path, rows: int, columns: int, tile: int) -> None:
        shared = self.root / f"shared_{rows}_{columns}_{tile}.webp"
        if not (self.shared and shared.exists()):
            sheet = (rows * tile, columns * tile, 3)
            picture = Image.fromarray(self.rng.integers(0, 256, sheet, np.uint8))
            picture = picture.convert("L") if self.gray else picture
            picture.save(shared if self.shared else path, quality=30, method=0)
        if self.shared:
            path.hardlink_to(shared)

    def _example(self, layer: MadeLayer, i: int, value: float) -> dict[str, Any]:
        image = i % self.images
        whole = {"cell": [3, 3, 9, 9]} if layer.window is None else {}
        side = layer.window or self.image_size
        return {
            "image": image,
            "id": f"val/{NASTY}/{image:04}.png",
            "class": self.labels[image],
            "y": 3,
            "x": 5,
            "value": round(value, 3),
            "window": [-2, 4, side - 2, side + 4],
            **whole,
        }

    def _unit(self, index: int, layer: MadeLayer, channel: int, summary: Any) -> dict[str, Any]:
        largest = float(summary["largest"][channel])
        dead = channel in layer.dead
        shown = 0 if dead else min(self.k, self.images)
        evolution = {
            "epochs": [1, 2, 4],
            "images": ["a.png", "a.png", NASTY],
            "values": [0.4 * largest, 0.7 * largest, largest],
            "drawn": True,
            "shown": [0, 1, 2],
        }
        best = summary["best"][channel]
        return {
            "channel": channel,
            "top": [self._example(layer, channel + i, largest * 0.95**i) for i in range(shown)],
            "examples": [
                self._example(layer, channel + 11 * i, largest * max(q - 0.25, 0)) | {"quantile": q}
                for i, q in enumerate(QUANTILES if not dead else ())
            ],
            "histogram": {
                "low": 0.0,
                "high": largest,
                "counts": [self.images, *[0] * 23] if dead else [max(23 - i, 0) for i in range(24)],
            },
            "largest": largest,
            "at_largest": self.images if channel in (*layer.dead, *layer.saturated) else 1,
            "mean": largest / 4,
            "deviation": largest / 5,
            "active": 0.0 if dead else 0.83,
            "class_means": [
                0.0 if dead else largest * ((i + channel) % len(self.classes)) / len(self.classes)
                for i in range(len(self.classes))
            ],
            "best": None
            if best < 0
            else {
                "class": best,
                "auc": summary["auc"][channel],
                "z": 5.0,
                "images": self.labels.count(best),
            },
            "energy_on_object": summary["on_object"][channel],
            "feeds": self._links(index - 1, channel),
            "read_by": self._links(index + 1, channel),
            "controls": {"random_channel": (channel + 1) % layer.channels},
            "evolution": evolution if layer.evolution and not dead else None,
        }

    def _links(self, index: int, channel: int) -> list[dict[str, Any]]:
        if not 0 <= index < len(self.layers):
            return []
        channels = self.layers[index].channels
        return [
            {"layer": index, "channel": (channel + i) % channels, "share": (-1) ** i / (i + 3)}
            for i in range(min(8, channels))
        ]


def write_compare(folder: Path, layers: Sequence[MadeLayer], images: int = 40) -> None:
    """The comparison of two networks with the same layers: channel c is matched with its mirror."""
    pairs = []
    for index, layer in enumerate(layers):
        status = [("kept", "changed", "lost")[c % 3] for c in range(layer.channels)]
        counts = {kind: status.count(kind) for kind in ("kept", "changed", "lost", "dead")}
        partner = [
            layer.channels - 1 - c if kind != "lost" else -1 for c, kind in enumerate(status)
        ]
        pairs.append(
            {
                "layers": [index, index],
                "cka": 0.93,
                "chance": 0.21,
                "partner": partner,
                "score": [
                    None if other < 0 else round(1 - c / layer.channels, 3)
                    for c, other in enumerate(partner)
                ],
                "status": status,
                "new": [c for c in range(layer.channels) if c not in partner],
                "counts": counts | {"new": sum(c not in partner for c in range(layer.channels))},
            }
        )
    size = len(layers)
    cka = [[round(1 / (1 + abs(i - j)), 2) for j in range(size)] for i in range(size)]
    result = {"images": images, "cka": cka, "pairs": pairs}
    write_json(folder / "compare.json", result)
    write_js(folder / "compare.js", "compare.js", result)


def write_atlas(folder: Path, *layers: MadeLayer, two: bool = False, **options: Any) -> Path:
    """Writes an atlas of one network, or of two; returns the path of its first page."""
    numbers = (1, 2) if two else (1,)
    overviews = [MadeNet(folder, number, layers, **options).write() for number in numbers]
    if two:
        write_compare(folder, layers)
    write_pages(folder, overviews, compare=two)
    return folder / "index.html"
