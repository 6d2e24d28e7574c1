"""An atlas that is read has the values and pixels of its files, and says what is wrong with it."""

import base64
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zfnet.atlas
from tests.helpers.made_atlas import NASTY, ROWS, MadeLayer, write_atlas
from zfnet.atlas.files import write_json
from zfnet.atlas.tiles import image_tiles, patch_tiles, projection_tiles
from zfnet.deconv import Deconvnet, Unit
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData
from zfnet.models.introspection import capture_outputs, find_modules

LAYERS = (
    MadeLayer("conv1", 6, dead=(2,), saturated=(4,)),
    MadeLayer("features.9", 4, window=None, evolution=True),
    MadeLayer(NASTY, 3),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_atlas(folder, *LAYERS, two=True, images=12)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    write_atlas(folder, MadeLayer("conv1", 3), images=5)
    return folder


@pytest.fixture
def own(small: Path, tmp_path: Path) -> Path:
    """An atlas that a test may damage."""
    return shutil.copytree(small, tmp_path / "atlas")


def tile(path: Path, row: int, column: int, size: int = 12) -> np.ndarray:
    """A tile of a sprite."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return pixels[row * size : (row + 1) * size, column * size : (column + 1) * size]


def test_the_network_and_its_layers(folder: Path) -> None:
    for net in (1, 2):
        atlas = zfnet.atlas.load(str(folder), net)
        overview = json.loads((folder / f"net_{net}" / "overview.json").read_text())
        assert atlas.overview == overview
        assert atlas.title == overview["title"]
        assert atlas.layers == ["conv1", "features.9", NASTY]
        assert atlas.classes == overview["data"]["classes"]
        assert atlas.sampled.tolist() == list(range(12))
    assert repr(atlas["conv1"]) == "<layer 'conv1': 6 channels, 1 dead>"
    assert re.fullmatch(r"<atlas of 'net 2 .*: conv1, .*; 12 images of creatures>", repr(atlas))


def test_the_values_of_units_are_those_of_the_file(folder: Path) -> None:
    layer = zfnet.atlas.load(folder)["conv1"]
    records = json.loads((folder / "net_1/layer_0/layer.json").read_text())["units"]
    assert len(layer) == len(layer.units) == 6
    for unit, record in zip(layer, records, strict=True):
        assert {name: getattr(unit, name) for name in record} == record
        assert unit is layer[unit.channel]
        assert unit.layer is layer
    assert layer[np.int64(3)].name == "conv1 3"


def test_columns_have_a_value_for_each_channel(folder: Path) -> None:
    layer = zfnet.atlas.load(folder)["conv1"]
    columns = layer.columns
    assert {column.shape for column in columns.values()} == {(6,)}
    for name in ("largest", "at_largest", "mean", "deviation", "active"):
        assert columns[name].tolist() == [getattr(unit, name) for unit in layer]
    assert columns["dead"].tolist() == [False, False, True, False, False, False]
    assert columns["saturated"].tolist() == [False, False, False, False, True, False]
    assert columns["best_class"].tolist() == [0, 1, -1, 3, 4, 5]
    known = [unit.best["auc"] for unit in layer if unit.best]
    assert columns["auc"][~columns["dead"]].tolist() == known
    assert np.isnan(columns["auc"][2])
    assert np.isnan(columns["energy_on_object"]).tolist() == columns["dead"].tolist()


def test_activations_are_mapped(folder: Path) -> None:
    layer = zfnet.atlas.load(folder)["conv1"]
    assert isinstance(layer.activations, np.memmap)
    assert layer.activations.shape == (12, 6)
    assert layer.activations.max(0) == pytest.approx(layer.columns["largest"])


def test_tiles_are_those_of_the_sprite(folder: Path) -> None:
    atlas = zfnet.atlas.load(folder)
    unit, path = atlas["conv1"][3], folder / "net_1/layer_0/unit_3.webp"
    controls = unit.control_projections
    assert list(controls) == atlas["conv1"].description["controls"]
    rows = [
        unit.projections,
        unit.patches,
        np.stack(list(controls.values())),
        unit.example_projections,
        unit.example_patches,
    ]
    assert [len(row) for row in rows] == [9, 9, 5, 5, 5]
    for number, row in enumerate(rows):
        assert row.shape[1:] == (12, 12, 3)
        for column, each in enumerate(row):
            assert np.array_equal(each, tile(path, number, column)), ROWS[number]
    image = Image.open(folder / f"net_1/images/{unit.top[4]['image']}.webp").convert("RGB")
    assert np.array_equal(unit.image(4), np.asarray(image))


def test_a_dead_unit_has_no_tiles(folder: Path) -> None:
    unit = zfnet.atlas.load(folder)["conv1"][2]
    assert unit.projections.shape == unit.example_patches.shape == (0, 12, 12, 3)
    assert unit.control_projections == {}
    assert unit.evolution_tiles.shape == (2, 0, 12, 12, 3)
    with pytest.raises(InputError, match="conv1 2 has 0 images"):
        unit.image(0)


def test_the_evolution_is_in_a_file_of_its_own(folder: Path) -> None:
    unit = zfnet.atlas.load(folder)["features.9"][1]
    path = folder / "net_1/layer_1/evolution_1.webp"
    pixels = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)
    Image.fromarray(pixels).save(path, lossless=True)
    assert unit.evolution_tiles.shape == (2, 3, 12, 12, 3)
    assert np.array_equal(unit.evolution_tiles[1, 2], tile(path, 1, 2))


def test_a_notebook_shows_a_unit(folder: Path) -> None:
    """As HTML in which the image is, and no name is markup."""
    atlas = zfnet.atlas.load(folder)
    unit = atlas[NASTY][0]
    html = unit._repr_html_()
    assert "<script" not in html
    assert "prefers &lt;script&gt;" in html
    assert "fed by features.9 0 (33%), features.9 1 (-25%)" in html
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert pixels.shape == (24, 108, 3)
    assert np.array_equal(pixels[12:, 12:24], unit.patches[1])
    dead = atlas["conv1"][2]._repr_html_()
    assert "dead" in dead
    assert "<img" not in dead
    assert "saturated: 12 images reach its largest activation" in atlas["conv1"][4]._repr_html_()
    assert "saturated" not in html


def test_the_comparison(folder: Path, own: Path) -> None:
    comparison = zfnet.atlas.load(folder).comparison
    assert comparison == json.loads((folder / "compare.json").read_text())
    assert zfnet.atlas.load(own).comparison is None


def test_the_rows_of_activations_are_a_sample(own: Path) -> None:
    """Of a large data set: the one that statistics draw."""
    path = own / "net_1/overview.json"
    overview = json.loads(path.read_text())
    overview["data"]["images"] = 1000
    path.write_text(json.dumps(overview))
    sampled = zfnet.atlas.load(own).sampled
    assert len(sampled) == 5
    assert (np.diff(sampled) > 0).all()


def test_names_that_are_not_utf_8(own: Path) -> None:
    """The bytes of a file name are what they were."""
    path = own / "net_1/layer_0/layer.json"
    content = json.loads(path.read_text())
    content["units"][0]["top"][0]["id"] = name = os.fsdecode(b"cat/\xff.png")
    write_json(path, content)
    assert zfnet.atlas.load(own)["conv1"][0].top[0]["id"] == name


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (lambda atlas: atlas["conv2"], r"layer 'conv2' is not in .* has conv1, .* mean conv1\?"),
        (lambda atlas: atlas["conv1"][6], "conv1 has the channels 0 to 5, not 6"),
        (lambda atlas: atlas["conv1"][-1], "conv1 has the channels 0 to 5, not -1"),
        (lambda atlas: atlas["conv1"][0].image(9), "conv1 0 has 9 images, and none of rank 9"),
        (lambda atlas: atlas.image(12), r"images/12\.webp: no such file"),
    ],
)
def test_what_is_not_there(folder: Path, look: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        look(zfnet.atlas.load(folder))


def test_there_is_no_atlas(own: Path) -> None:
    with pytest.raises(InputError, match=r"net_2/overview.json: no such file; make it with"):
        zfnet.atlas.load(own, net=2)
    (own / "net_1/overview.json").unlink()
    (own / "net_1/progress").mkdir()
    with pytest.raises(InputError, match="is not finished; continue it with resume=true"):
        zfnet.atlas.load(own)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 1}, "version 1, and this software reads version 2; make the atlas again"),
        ({"data": {}}, r"damaged .*'name' is missing\); make the atlas again"),
        ({"layers": [{"folder": "../.."}]}, "damaged"),
    ],
)
def test_another_or_a_damaged_overview(own: Path, change: dict[str, Any], words: str) -> None:
    path = own / "net_1/overview.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=words):
        zfnet.atlas.load(own)


def test_a_folder_outside_is_not_read(own: Path) -> None:
    path = own / "net_1/overview.json"
    path.write_text(path.read_text().replace('"layer_0"', '"../layer_0"'))
    with pytest.raises(InputError, match=r"damaged .*folder is '\.\./layer_0'"):
        zfnet.atlas.load(own)


@pytest.mark.parametrize(
    ("name", "data", "look"),
    [
        ("layer.json", b"{", lambda layer: layer[0]),
        ("layer.json", b'{"units":[{}]}', lambda layer: layer[0]),
        ("layer.json", b'{"units":[]}', lambda layer: layer[0]),
        ("activations.npy", b"", lambda layer: layer.activations),
        ("unit_0.webp", b"RIFF", lambda layer: layer[0].patches),
    ],
)
def test_damaged_files(
    own: Path, name: str, data: bytes, look: Callable[[zfnet.atlas.Layer], Any]
) -> None:
    path = own / "net_1/layer_0" / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"{name}: is damaged .*; make the atlas again"):
        look(zfnet.atlas.load(own)["conv1"])
    path.unlink()
    with pytest.raises(InputError, match=rf"{name}: no such file; make the atlas again"):
        look(zfnet.atlas.load(own)["conv1"])


def test_files_of_another_atlas(own: Path) -> None:
    folder = own / "net_1/layer_0"
    np.save(folder / "activations.npy", np.zeros((5, 4), np.float32))
    Image.fromarray(np.zeros((12, 12, 3), np.uint8)).save(folder / "unit_0.webp")
    layer = zfnet.atlas.load(own)["conv1"]
    with pytest.raises(InputError, match=r"float32 \(5, 4\), not float32 \(5, 3\)"):
        layer.activations  # noqa: B018
    with pytest.raises(InputError, match="has 12 x 12 pixels, and 60 x 108 are expected"):
        layer[0].patches  # noqa: B018


def test_a_real_atlas(small_atlas: Path, small_model: ModelOnData) -> None:
    """What is read is what the network has seen: activations, their images, their projections."""
    layer = zfnet.atlas.load(small_atlas)["conv1"]
    modules = find_modules(small_model.net, ["conv1"])
    outputs: dict[str, torch.Tensor] = {}
    with torch.no_grad(), capture_outputs(modules, outputs.__setitem__):
        small_model.net.eval()(small_model.inputs(range(14)))
    largest = outputs["conv1"].amax((2, 3))
    assert layer.activations == pytest.approx(largest.numpy(), rel=1e-5, abs=1e-6)
    assert layer.columns["mean"] == pytest.approx(largest.mean(0).numpy(), rel=1e-4)
    unit = layer[2]
    assert [each["image"] for each in unit.top] == largest[:, 2].topk(3).indices.tolist()
    places = [Unit(each["image"], 2, each["y"], each["x"]) for each in unit.top]
    patches, pixels = small_model.project(Deconvnet(small_model.net), "conv1", places)
    assert np.array_equal(unit.projections, projection_tiles(patches.projections))
    assert np.array_equal(unit.patches, patch_tiles(pixels))
    shown = image_tiles(small_model.pixels([unit.top[1]["image"]]))[0].numpy().astype(int)
    assert abs(unit.image(1) - shown).mean() < 8  # WebP loses a little
