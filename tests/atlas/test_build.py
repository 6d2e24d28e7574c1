"""An atlas has the numbers of the search and the projections of the deconvnet.

Also when it was interrupted."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.atlas.conftest import SETTINGS
from zfnet.analysis import Connections
from zfnet.analysis.localization import occlusion_map
from zfnet.atlas import build
from zfnet.atlas.build import make_atlas
from zfnet.atlas.overview import Origin, Settings
from zfnet.atlas.tiles import patch_tiles, projection_tiles
from zfnet.atlas.units import EXAMPLES, ROWS
from zfnet.data.image_store import Subset
from zfnet.deconv import Deconvnet, Unit, make_deconvnet, top_activations
from zfnet.deconv.patches import starts_of
from zfnet.deconv.windows import cut
from zfnet.model_on_data import ModelOnData

LAYERS = [f"conv{number}" for number in range(1, 6)]


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / "net_1" / name).read_text())


def script(folder: Path, name: str) -> Any:
    """The value that a script hands to the pages."""
    text = (folder / "net_1" / name).read_text()
    start = f'atlas.receive("net_1/{name}",'
    assert text.startswith(start)
    return json.loads(text.removeprefix(start).removesuffix(");\n"))


def sprite(folder: Path, layer: int, channel: int, tile: tuple[int, int]) -> np.ndarray:
    """The tiles of a unit, (rows, columns, H, W, 3)."""
    image = np.asarray(Image.open(folder / "net_1" / f"layer_{layer}" / f"unit_{channel}.webp"))
    height, width = tile
    rows, columns = image.shape[0] // height, image.shape[1] // width
    return image.reshape(rows, height, columns, width, 3).swapaxes(1, 2)


def test_the_overview(small_atlas: Path, small_model: ModelOnData) -> None:
    overview = read(small_atlas, "overview.json")
    assert [layer["name"] for layer in overview["layers"]] == LAYERS
    assert overview["data"]["images"] == overview["data"]["sampled"] == 14
    assert sum(overview["data"]["class_images"]) == 14
    deconv = Deconvnet(small_model.net)
    for layer in overview["layers"]:
        channels, *size = deconv.units(layer["name"])
        assert [layer["channels"], layer["size"]] == [channels, size]
    assert overview["layers"][0]["window"] == [7, 7]
    assert overview["layers"][4]["window"] == [139, 139]
    assert not (small_atlas / "net_1" / "progress").exists()


def test_the_values_are_those_of_the_search(small_atlas: Path, small_model: ModelOnData) -> None:
    tops = top_activations(small_model.net, small_model.batches(), LAYERS, 3, progress=False)
    for number, name in enumerate(LAYERS):
        units, summary = (
            read(small_atlas, f"layer_{number}/layer.json")["units"],
            script(small_atlas, f"layer_{number}/summary.js"),
        )
        top = tops[name]
        assert len(units) == len(top.values) == 8
        for channel, unit in enumerate(units):
            largest = top.values[channel, 0].item()
            shown = [channel] if largest > 0 else []  # a dead channel shows nothing
            expected = [(u.image, u.y, u.x) for u in top.units(shown)]
            assert [(e["image"], e["y"], e["x"]) for e in unit["top"]] == expected
            values = [entry["value"] for entry in unit["top"]]
            assert values == pytest.approx(top.values[shown].flatten().tolist(), rel=1e-5)
            assert [e["id"] for e in unit["top"]] == [
                small_model.images.ids[image] for image, _, _ in expected
            ]
            assert summary["largest"][channel] == pytest.approx(largest, rel=1e-5)
            assert summary["dead"][channel] == (not shown)
            assert sum(unit["histogram"]["counts"]) == 14
        scripts = script(small_atlas, f"layer_{number}/units_0.js")
        assert [scripts[str(channel)] for channel in range(8)] == units


def test_the_tiles_are_those_of_the_deconvnet(small_atlas: Path, small_model: ModelOnData) -> None:
    deconv, layer = Deconvnet(small_model.net), read(small_atlas, "overview.json")["layers"][0]
    unit = read(small_atlas, "layer_0/layer.json")["units"][2]
    tiles = sprite(small_atlas, 0, 2, layer["tile"])
    assert tiles.shape == (len(ROWS), len(EXAMPLES), 7, 7, 3)
    for row, entries in ((0, unit["top"]), (3, unit["examples"])):
        units = [Unit(e["image"], 2, e["y"], e["x"]) for e in entries]
        patches, pixels = small_model.project(deconv, "conv1", units)
        assert np.array_equal(tiles[row, : len(units)], projection_tiles(patches.projections))
        assert np.array_equal(tiles[row + 1, : len(units)], patch_tiles(pixels))
        assert [list(window) for window in patches.windows] == [e["window"] for e in entries]
    first = [Unit(unit["top"][0]["image"], 2, unit["top"][0]["y"], unit["top"][0]["x"])]
    other = replace(first[0], channel=unit["controls"]["random_channel"])
    shown = {
        "contrastive": small_model.project(Deconvnet(small_model.net, contrast=4), "conv1", first),
        "random_channel": small_model.project(
            Deconvnet(small_model.net, seed="forced"), "conv1", [other]
        ),
        "guided": small_model.project(make_deconvnet(small_model.net, "guided"), "conv1", first),
    }
    for name, (patches, _) in shown.items():
        expected = projection_tiles(patches.projections)[0]
        assert np.array_equal(tiles[2, layer["controls"].index(name)], expected), name


def test_occlusion_maps_are_shown_if_asked_for(
    small_model: ModelOnData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(k=7, contrast=0, occlusion=True)
    with caplog.at_level("INFO"):
        make_atlas(small_model, tmp_path / "net_1", Origin("a"), settings, ["conv1"])
    assert "conv1: occlusion maps of" in caplog.text
    layer = read(tmp_path, "overview.json")["layers"][0]
    assert layer["controls"] == [
        "random_channel",
        "random_weights",
        "guided",
        "gradient",
        "occlusion",
    ]
    unit = read(tmp_path, "layer_0/layer.json")["units"][2]
    best = unit["top"][0]
    images = small_model.inputs([best["image"]])
    where = Unit(0, 2, best["y"], best["x"])
    (whole,) = occlusion_map(small_model.net, images, "conv1", [where], classifier=False)
    window = Deconvnet(small_model.net).window("conv1", where)
    part = cut(whole[None, None], torch.tensor([0]), starts_of([window]), (7, 7))
    shown = sprite(tmp_path, 0, 2, layer["tile"])[2, layer["controls"].index("occlusion")]
    assert np.array_equal(shown, projection_tiles(part)[0])


def test_the_connections_go_both_ways(small_atlas: Path, small_model: ModelOnData) -> None:
    lower, upper = (read(small_atlas, f"layer_{i}/layer.json")["units"] for i in (2, 3))
    best = upper[5]["top"][0]
    unit, images = Unit(0, 5, best["y"], best["x"]), small_model.inputs([best["image"]])
    connections = Connections(small_model.net, ["conv3", "conv4"], images)
    (each,) = connections.contributions(images, {"conv4": [unit]})["conv4"]
    shares = each / each.abs().sum()
    strongest = upper[5]["feeds"][0]
    assert strongest["layer"] == 2
    assert strongest["channel"] == int(shares.abs().argmax())
    assert strongest["share"] == pytest.approx(float(shares[strongest["channel"]]), rel=1e-4)
    readers = {(e["layer"], e["channel"]) for e in lower[strongest["channel"]]["read_by"]}
    assert (3, 5) in readers
    assert read(small_atlas, "layer_0/layer.json")["units"][0]["feeds"] == []
    assert read(small_atlas, "layer_4/layer.json")["units"][0]["read_by"] == []


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Killed(BaseException):
    """What ends the process at a certain file."""


def test_an_interrupted_atlas_has_the_same_bytes(
    small_atlas: Path, small_model: ModelOnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends at each of its files in turn, and goes on."""
    whole = contents(small_atlas / "net_1")
    save, left = build.save, 0

    def dying(path: Path, *args: Any, **options: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        save(path, *args, **options)

    monkeypatch.setattr(build, "save", dying)
    for step in (1, 5, 20, 30, 40, 60, 1000):
        left = step
        try:
            make_atlas(small_model, tmp_path / "net_1", Origin("small"), SETTINGS)
        except Killed:
            assert step < 1000
    assert contents(tmp_path / "net_1") == whole


def test_other_images_start_anew(small_model: ModelOnData, tmp_path: Path) -> None:
    settings, folder = Settings(k=1, contrast=0), tmp_path / "net_1"
    make_atlas(small_model, folder, Origin("a"), settings, ["conv1"])
    before = contents(folder)
    (folder / "stray").touch()
    make_atlas(small_model, folder, Origin("a"), settings, ["conv1"])
    assert (folder / "stray").exists()
    few = replace(small_model, images=Subset(small_model.images, torch.arange(5)))
    make_atlas(few, folder, Origin("a"), settings, ["conv1"])
    assert not (folder / "stray").exists()
    assert contents(folder) != before
    assert read(tmp_path, "overview.json")["data"]["images"] == 5
