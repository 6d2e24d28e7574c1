"""Atlases of odd networks and data sets: their numbers make sense, and their pages open."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from playwright.sync_api import Browser
from torch import Tensor, nn

import zfnet.atlas
from tests.atlas.test_pages import Visitor, _browser, browses  # noqa: F401
from tests.helpers.made_atlas import NASTY
from zfnet.atlas.build import make_atlas
from zfnet.atlas.overview import Origin, Settings
from zfnet.atlas.pages import write_pages
from zfnet.data.datasets import Arrays
from zfnet.data.image_store import ImageStore
from zfnet.data.preprocessing import Preprocessing
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData


def noise(
    net: nn.Module, count: int, classes: Sequence[str], side: int = 16, channels: int = 3
) -> ModelOnData:
    """A net before images of noise, whose classes take turns."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, side, side, channels)
    pixels = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    ids = [f"{NASTY}/{number}.png" for number in range(count)]
    labels, mean = torch.arange(count) % len(classes), torch.full((channels, side, side), 127.0)
    store = ImageStore(Path("memory"), ids, list(classes), labels, mean, side, pixels)
    source = Arrays(NASTY, list(classes), ids, labels.tolist(), pixels.numpy())
    prepare = Preprocessing(side, side, "unit", channels=channels)
    prepare.set_mean(mean)
    return ModelOnData(net.eval(), prepare, store, source, list(classes), batch_size=8)


def two_layers(channels: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(6 * 25, 3),
    )  # fmt: skip


def dead() -> nn.Sequential:
    net = two_layers()
    with torch.no_grad():
        net[3].bias.fill_(-1000)
    return net


def relu6() -> nn.Sequential:
    """Channel 1 of the second layer reaches 6 in all images, and channel 2 in none."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU6(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU6()
    )
    with torch.no_grad():
        net[3].bias[1] = 100
        net[3].weight[2] *= 0.01
        net[3].bias[2] = 1
    return net


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 0 + 1


ODD: dict[str, Callable[[], tuple[ModelOnData, list[str] | None]]] = {
    "dead layer": lambda: (noise(dead(), 12, ["a", "b"]), None),
    "saturated": lambda: (noise(relu6(), 12, ["a", "b"]), ["1", "4"]),
    "one layer": lambda: (noise(two_layers(), 12, ["a", "b"]), ["1"]),
    "few images": lambda: (noise(two_layers(), 2, ["a", "b"]), None),
    "one image": lambda: (noise(two_layers(), 1, ["a", "b"]), None),
    "no classes": lambda: (noise(two_layers(), 12, ["all"]), None),
    "one image a class": lambda: (noise(two_layers(), 5, list("abcde")), None),
    "1000 classes": lambda: (noise(two_layers(), 20, [f"{NASTY} {n}" for n in range(1000)]), None),
    "gray": lambda: (noise(two_layers(1), 12, ["a", "b"], channels=1), None),
    "five bands": lambda: (noise(two_layers(5), 12, ["a", "b"], channels=5), None),
    "tokens": lambda: (
        noise(timm.create_model("test_vit", img_size=32), 4, ["a", "b"], side=32), ["blocks.1"]
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of an odd atlas, made when it is first asked for."""
    known: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in known:
            folder = known[name] = tmp_path_factory.mktemp("odd")
            model, layers = ODD[name]()
            settings = Settings(k=9, contrast=0 if name == "one layer" else 2)
            overview = make_atlas(model, folder / "net_1", Origin(name), settings, layers)
            write_pages(folder, [overview], compare=False)
        return known[name]

    return make


def units(folder: Path, layer: int = 0) -> list[dict[str, Any]]:
    return json.loads((folder / "net_1" / f"layer_{layer}" / "layer.json").read_text())["units"]


def overview(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "net_1" / "overview.json").read_text())


def test_a_dead_layer(made: Callable[[str], Path]) -> None:
    folder = made("dead layer")
    assert overview(folder)["layers"][1]["dead"] == list(range(6))
    assert overview(folder)["layers"][1]["saturated"] == []
    for unit in units(folder, 1):
        assert unit["at_largest"] == 12
        assert (unit["largest"], unit["active"], unit["best"]) == (0, 0, None)
        assert unit["feeds"] == []
        assert (unit["top"], unit["examples"]) == ([], [])


def test_a_dead_channel_shows_nothing(made: Callable[[str], Path]) -> None:
    """There is no image that activates it, and nothing to project."""
    folder = made("dead layer")
    alive, dead = (zfnet.atlas.load(folder)[name] for name in ("1", "4"))
    for unit in dead:
        assert " · dead<" in unit._repr_html_()
        assert "<img" not in unit._repr_html_()
        assert unit.control_projections == {}
        with Image.open(folder / "net_1" / "layer_1" / f"unit_{unit.channel}.webp") as sprite:
            assert set(np.asarray(sprite).flat) == {128}
    shown = {each["image"] for unit in alive for each in (*unit.top, *unit.examples)}
    images = (folder / "net_1" / "images").iterdir()
    assert {int(path.stem) for path in images} == shown


def test_saturated_channels(made: Callable[[str], Path]) -> None:
    folder, (model, _) = made("saturated"), ODD["saturated"]()
    with torch.no_grad():
        values = model.net(model.inputs(range(12))).amax((2, 3))
    reached = (values == values.amax(0)).sum(0)
    found = units(folder, 1)
    assert [unit["at_largest"] for unit in found] == reached.tolist()
    assert overview(folder)["layers"][1]["saturated"] == [1]
    assert (found[1]["at_largest"], found[1]["largest"], found[1]["feeds"]) == (12, 6, [])
    assert [each["image"] for each in found[1]["top"]] == list(range(9))
    assert (found[2]["at_largest"], bool(found[2]["feeds"])) == (1, True)
    unit = zfnet.atlas.load(folder)["4"][1]
    assert (unit.control_projections["gradient"] == 128).all()
    assert (unit.control_projections["contrastive"] != 128).any()


def test_few_images(made: Callable[[str], Path]) -> None:
    for name, count in (("few images", 2), ("one image", 1)):
        for unit in units(made(name)):
            assert len(unit["top"]) == count
            assert len(unit["examples"]) == 5
            assert sum(unit["histogram"]["counts"]) == count


def test_no_classes(made: Callable[[str], Path]) -> None:
    folder = made("no classes")
    assert overview(folder)["data"]["classes"] == []
    assert not (folder / "net_1" / "classes.js").exists()
    for unit in units(folder):
        assert (unit["class_means"], unit["best"], unit["top"][0]["class"]) == ([], None, None)


def test_classes_of_one_image_and_without_images(made: Callable[[str], Path]) -> None:
    for name, classes in (("one image a class", 5), ("1000 classes", 1000)):
        folder = made(name)
        found = overview(folder)["data"]
        assert len(found["classes"]) == len(found["class_images"]) == classes
        for unit in units(folder, 1):
            means = unit["class_means"]
            assert len(means) == classes
            assert [mean is None for mean in means] == [n == 0 for n in found["class_images"]]
            if unit["best"]:
                assert found["class_images"][unit["best"]["class"]] == 1
        assert all(layer["selective"] == 0 for layer in overview(folder)["layers"])


def test_tokens_show_their_own_position(made: Callable[[str], Path]) -> None:
    for unit in units(made("tokens")):
        for entry in unit["top"]:
            assert entry["window"] == [0, 0, 32, 32]
            top, left, bottom, right = entry["cell"]
            assert (bottom - top, right - left) == (16, 16)
            assert (top, left) == (16 * entry["y"], 16 * entry["x"])


def test_a_net_without_projections_is_refused(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Constant())
    with pytest.raises(InputError):
        make_atlas(noise(net, 3, ["a"]), tmp_path / "net_1", Origin("x"), Settings(), ["nothing"])


@browses
@pytest.mark.parametrize("name", ODD)
def test_the_pages_open(made: Callable[[str], Path], browser: Browser, name: str) -> None:
    folder = made(name)
    layer = overview(folder)["layers"][-1]["name"]
    context = browser.new_context(viewport={"width": 400, "height": 800})
    visitor = Visitor(context.new_page(), folder / "index.html")
    for address in ("", f"#/{layer}", f"#/{layer}/0", "#class/0"):
        page = visitor.open(address)
        text = page.inner_text("main")
        assert "undefined" not in text, (address, text)
        assert "NaN" not in text
        assert page.title()
        assert page.title() != "broken"
    context.close()
    assert not visitor.faults
