"""`analysis=occlusion` from a checkpoint to Figure 7 and its numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from zfnet.deconv import Deconvnet
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData
from zfnet.studies import occlusion
from zfnet.studies.inputs import load_model
from zfnet.studies.run import build_analysis

SIDE = 48
Compose = Callable[..., DictConfig]


@pytest.fixture
def config(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, composed: Compose
) -> Compose:
    stores = tmp_path_factory.getbasetemp() / "stores"
    small = [
        "analysis=occlusion",
        f"data.store_dir={stores}",
        f"ckpt={checkpoint}",
        "data.source.val=14",
    ]
    return lambda *overrides: composed(*small, *overrides, root="analyze")


@pytest.fixture
def subject(config: Compose) -> ModelOnData:
    found = load_model(config())
    assert isinstance(found, ModelOnData)
    return found


def run(subject: ModelOnData, folder: Path, **settings: Any) -> dict[str, Any]:
    given = {"layer": None, "images": [3], "size": 16, "stride": 8, "fill": 0.0} | settings
    occlusion.Occlusion(**given).run(subject, folder)
    return json.loads((folder / "occlusion.json").read_text())


@torch.no_grad()
def covered(
    subject: ModelOnData, image: Tensor, size: int, stride: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (n, n, classes), sums of conv5's maps (n, n, 8) and places, one picture after the
    other."""
    places = torch.arange(0, SIDE - size + 1, stride)
    logits, sums = [], []
    for top in places:
        for left in places:
            one = image.clone()
            one[:, :, top : top + size, left : left + size] = 0
            sums.append(_conv5(subject, one))
            logits.append(subject.net(one)[0])
    n = len(places)
    return torch.stack(logits).unflatten(0, (n, n)), torch.stack(sums).unflatten(0, (n, n)), places


def _conv5(subject: ModelOnData, image: Tensor) -> Tensor:
    """(8,) what the units of each map of conv5 sum up to."""
    net: Any = subject.net
    return net.conv5.conv(net[:4](image)).clamp(min=0).sum((2, 3))[0]


@pytest.mark.parametrize("relu", ["deconv", "guided"])
def test_the_numbers_by_hand(subject: ModelOnData, tmp_path: Path, relu: str) -> None:
    """Every number of one picture, from pictures covered by slices and projections taken apart."""
    found = run(subject, tmp_path, relu=relu)
    (entry,) = found.pop("images")
    settings = {"layer": "conv5", "size": 16, "stride": 8, "fill": [0]}
    deconv = Deconvnet(subject.net, relu=relu)
    rules = {"relu": relu, "extended_rules": {}, "caution": deconv.caution("conv5")}
    assert found == {**settings, "class_is": "true", "score": None, **rules}
    image, label = subject.inputs([3]), int(subject.images.labels[3])
    logits, sums, places = covered(subject, image, 16, 8)
    with torch.no_grad():
        clean, clean_sums = subject.net(image)[0].softmax(0), _conv5(subject, image)
    strongest, second = clean_sums.topk(2).indices.tolist()
    drop = 1 - sums[:, :, strongest] / clean_sums[strongest]

    def weighted(map: int) -> float:
        energy = deconv.project_channel(image, "conv5", map)[0].square().sum(0)
        total = share = 0.0
        for a, top in enumerate(places):
            for b, left in enumerate(places):
                inside = energy[top : top + 16, left : left + 16].sum().item()
                total, share = total + inside, share + inside * drop[a, b].item()
        return share / total

    assert (entry["image"], entry["class"]) == (subject.images.ids[3], subject.classes[label])
    assert entry["map"] == strongest
    expected = {
        "probability": clean[label].item(),
        "least_probability": logits.softmax(2)[:, :, label].min().item(),
        "drop_on_projection": weighted(strongest),
        "drop_on_another_maps_projection": weighted(second),
        "drop_anywhere": drop.mean().item(),
    }
    assert {name: entry[name] for name in expected} == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert set(entry) == {*expected, "image", "class", "map"}


def test_a_figure_of_several_pictures(subject: ModelOnData, tmp_path: Path) -> None:
    """In the order asked for; another layer; a row a picture."""
    heights = []
    for images in ([5], [5, 0, 2]):
        found = run(subject, tmp_path, images=images, layer="conv3", stride=16)
        assert found["layer"] == "conv3"
        assert [entry["image"] for entry in found["images"]] == [
            subject.images.ids[i] for i in images
        ]
        sheet = np.asarray(Image.open(tmp_path / "occlusion.png"))
        assert sheet.min() < 100
        assert sheet.max() == 255
        heights.append(sheet.shape[0])
    assert heights[1] == pytest.approx(3 * heights[0], rel=0.1)


def test_as_the_command_line_says_it(config: Compose, subject: ModelOnData, tmp_path: Path) -> None:
    """What is null is the paper's 50 and 8 of 224 pixels; a number of pictures is a lot, the same
    every time."""
    build_analysis(config("images=2")).run(subject, tmp_path)
    found = json.loads((tmp_path / "occlusion.json").read_text())
    assert (found["layer"], found["size"], found["stride"]) == ("conv5", 11, 2)
    assert len(found["images"]) == 2
    again = run(subject, tmp_path, images=2)
    assert [each["image"] for each in again["images"]] == [
        each["image"] for each in found["images"]
    ]
    assert len({each["image"] for each in run(subject, tmp_path, images=3)["images"]}) == 3


def test_a_net_with_other_classes_than_the_data(subject: ModelOnData, tmp_path: Path) -> None:
    """The class is then the most probable one, by the net's own name for it."""
    subject.classes = [f"other {i}" for i in range(len(subject.classes))]
    found = run(subject, tmp_path)
    assert found["class_is"] == "most probable"
    with torch.no_grad():
        probable = subject.net(subject.inputs([3])).softmax(1)[0]
    (entry,) = found["images"]
    assert entry["class"] == f"other {int(probable.argmax())}"
    assert entry["probability"] == pytest.approx(probable.max().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"images": [3, 14]}, r"images=\[3, 14\].*0 to 13, no 14"),
        ({"images": [-1]}, r"images=\[-1\]: each must be at least 0"),
        ({"images": []}, r"images=\[\]"),
        ({"images": 0}, "images"),
        ({"images": -2}, "images=-2"),
        ({"size": 49}, "size=49"),
        ({"size": 0}, "size=0"),
        ({"stride": 0}, "stride=0"),
        ({"stride": -4}, "stride=-4"),
        ({"layer": "conv9"}, "conv9"),
    ],
)
def test_errors(subject: ModelOnData, tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    """One line each, and no figure."""
    with pytest.raises(InputError, match=says) as raised:
        run(subject, tmp_path, **settings)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layer", ["conv1.conv", "conv5.pool", "conv2.norm"])
def test_other_layers(subject: ModelOnData, tmp_path: Path, layer: str) -> None:
    assert run(subject, tmp_path, layer=layer, stride=16)["layer"] == layer


def test_squares_farther_apart_than_they_are_large(subject: ModelOnData, tmp_path: Path) -> None:
    """None of them lies beyond the picture."""
    run(subject, tmp_path, size=10, stride=37)


def test_where_no_deconvnet_is(
    subject: ModelOnData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The sweep needs none: the figure stands without projections, and one line says why."""
    whole = run(subject, tmp_path)["images"][0]
    net: Any = subject.net
    net.conv2.relu = torch.nn.Hardtanh()
    found = run(subject, tmp_path)["images"][0]
    assert {*whole} - {*found} == {"drop_on_projection", "drop_on_another_maps_projection"}
    assert np.asarray(Image.open(tmp_path / "occlusion.png")).max() == 255
    (warning,) = (each for each in caplog.records if each.levelname == "WARNING")
    assert "Hardtanh" in warning.message
    assert "\n" not in warning.message


def test_the_square_has_the_colour_that_is_asked_for(subject: ModelOnData, tmp_path: Path) -> None:
    grey = run(subject, tmp_path)
    assert (grey["fill"], run(subject, tmp_path, fill=[0.0, 0.0, 0.0])["images"]) == (
        [0],
        grey["images"],
    )
    found = run(subject, tmp_path, fill=[2.0, -1.0, 0.0])
    assert found["fill"] == [2, -1, 0]
    assert found["images"][0]["drop_anywhere"] != grey["images"][0]["drop_anywhere"]
    with pytest.raises(
        InputError, match=r"fill=\[1\.0, 2\.0\]: give one value, or one for each of 3 channels"
    ):
        run(subject, tmp_path, fill=[1.0, 2.0])
