"""`analysis=filters` from checkpoints to a figure and numbers, one net and two."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import nn

from zfnet.data import Creatures
from zfnet.errors import InputError
from zfnet.models.default_layers import default_layers
from zfnet.studies import filters
from zfnet.studies.inputs import load_model, load_models
from zfnet.studies.layers import first_two_convolutions
from zfnet.training import build

SIDE = 64
EDIT = {
    **{f"conv{i}": {"channels": 8} for i in range(1, 6)},
    "fc6": {"units": 16},
    "fc7": {"units": 16},
}
Compose = Callable[..., DictConfig]


def saved(folder: Path, architecture: str, edit: dict[str, dict[str, int]]) -> Path:
    """A narrow, untrained net, saved as train.py saves."""
    torch.manual_seed(3)
    model = {"architecture": architecture, "edit": edit, "init": "he", "input_norm": "unit"}
    model["_target_"] = "zfnet.models.convnet"
    card = {
        "model": model,
        "classes": list(Creatures.classes),
        "image_size": SIDE,
        "store_size": 73,
    }
    path = folder / f"{architecture}.ckpt"
    torch.save({"model_config": card, "state_dict": build(card).state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("run")
    return [saved(folder, "alexnet", EDIT), saved(folder, "zfnet", EDIT)]


@pytest.fixture
def config(tmp_path_factory: pytest.TempPathFactory, composed: Compose) -> Compose:
    stores = tmp_path_factory.getbasetemp() / "stores"
    return partial(composed, f"data.store_dir={stores}", "data.source.val=14", root="analyze")


def test_two_nets_side_by_side(config: Compose, checkpoints: list[Path], tmp_path: Path) -> None:
    subjects = load_models(config(f"ckpt=[{checkpoints[0]},{checkpoints[1]}]"))
    assert isinstance(subjects, list)
    filters.Filters(channels=4, names=["AlexNet", "ZFNet"]).run(subjects, tmp_path)
    alexnet, zfnet = found = json.loads((tmp_path / "filters.json").read_text())
    assert [each["name"] for each in found] == ["AlexNet", "ZFNet"]
    assert (alexnet["filters"], alexnet["stride"]) == ([8, 11, 11], 4)
    assert (zfnet["filters"], zfnet["stride"]) == ([8, 7, 7], 2)
    assert [grid["period"] for grid in alexnet["aliasing"]] == [4, 8]
    assert [grid["period"] for grid in zfnet["aliasing"]] == [2, 4]
    for each in found:
        assert sum(each["bands"].values()) == pytest.approx(1)
        assert sum(each["peaks"].values()) == 8
        assert len(each["rms"]) == 8
        assert each["dominance"] >= 1
        for grid in each["aliasing"]:
            assert 0 <= grid["projections"]["share"] <= 1
    sheet = np.asarray(Image.open(tmp_path / "filters.png"))
    assert sheet.ndim == 3
    assert sheet.min() < 100


def test_dead_maps_are_found_and_not_projected(config: Compose, checkpoints: list[Path]) -> None:
    (subject,) = load_models(config(f"ckpt={checkpoints[1]}"))  # type: ignore[misc]
    with torch.no_grad():
        subject.net.conv2.conv.bias[[2, 5]] = -1e6
    examined = filters.examine(subject, "ZFNet")
    assert set(examined.numbers["dead"]["conv2"]) >= {2, 5}
    assert len(examined.projections) == 8 - len(examined.numbers["dead"]["conv2"])
    with torch.no_grad():
        subject.net.conv2.conv.bias.fill_(-1e6)
    with pytest.raises(InputError, match="no image activates any channel of conv2"):
        filters.examine(subject, "ZFNet")


def test_where_two_layers_are() -> None:
    from torchvision.models import alexnet, resnet18, vgg11

    image = torch.zeros(1, 3, 64, 64)
    assert first_two_convolutions(alexnet(weights=None), image) == (
        "features.1",
        "features.4",
        "features.2",
    )
    assert first_two_convolutions(vgg11(weights=None), image) == (
        "features.1",
        "features.4",
        "features.2",
    )
    residual = resnet18(weights=None)  # its ReLU modules run several times each
    assert first_two_convolutions(residual, image) == ("relu", "layer1.0", "maxpool")
    stem = timm.create_model("test_convnext")  # its first convolution has no activation
    first, second, _ = first_two_convolutions(stem, image)
    assert (first, second) == ("stem.0", default_layers(stem, image)[0])
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    assert first_two_convolutions(plain, image) == ("0", "1", "0")
    with pytest.raises(InputError, match="no two convolutional layers"):
        first_two_convolutions(nn.Sequential(nn.Conv2d(3, 4, 3)), image)


@pytest.mark.parametrize(
    ("value", "says"), [(float("nan"), "conv1 .* not finite"), (0.0, "conv1 .* is dead")]
)
def test_filters_that_say_nothing(
    config: Compose, checkpoints: list[Path], value: float, says: str
) -> None:
    subject = load_model(config(f"ckpt={checkpoints[0]}"))
    with torch.no_grad():
        subject.net.conv1.conv.weight.fill_(value)  # type: ignore[union-attr, operator]
    with pytest.raises(InputError, match=says):
        filters.examine(subject, "ZFNet")


def test_errors(config: Compose, checkpoints: list[Path], tmp_path: Path) -> None:
    first, second = checkpoints
    both = config(f"ckpt=[{first},{second}]")
    with pytest.raises(InputError, match="takes one network, not 2"):
        load_model(both)
    with pytest.raises(InputError, match="takes one or more networks"):
        load_models(config("ckpt=[]"))
    with pytest.raises(InputError, match=r"/nowhere\.ckpt: no such file"):
        load_models(config(f"ckpt=[{first},/nowhere.ckpt]"))
    with pytest.raises(InputError, match="which network"):
        load_models(config())
    subject = load_model(config(f"ckpt={first}"))
    with pytest.raises(InputError, match="1 networks need as many names"):
        filters.Filters(channels=4, names=["a", "b"]).run([subject], tmp_path)
    with pytest.raises(InputError, match="channels=0"):
        filters.Filters(channels=0, names=None).run([subject], tmp_path)
