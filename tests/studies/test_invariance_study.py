"""`analysis=invariance` from a checkpoint to Figure 5 and its numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from zfnet.analysis.invariance import transform
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData
from zfnet.studies import invariance
from zfnet.studies.inputs import load_model
from zfnet.studies.layers import first_and_top

SIDE = 48
FEW: dict[str, Any] = {"shifts": [-14, 0, 20], "scales": [1, 1.5], "angles": [0, 40, 90], "seed": 0}


@pytest.fixture(scope="module")
def subject(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, composed: Callable[..., DictConfig]
) -> ModelOnData:
    """A narrow, untrained net and 14 creatures."""
    stores = tmp_path_factory.mktemp("stores")
    words = [f"data.store_dir={stores}", f"ckpt={checkpoint}", "data.source.val=14"]
    return load_model(composed(*words, root="analyze"))


def run(subject: ModelOnData, folder: Path, **change: Any) -> dict[str, Any]:
    invariance.Invariance(**{"layers": None, "images": 6, **FEW, **change}).run(subject, folder)
    return json.loads((folder / "invariance.json").read_text())


def test_the_numbers_are_those_of_the_net(subject: ModelOnData, tmp_path: Path) -> None:
    found = run(subject, tmp_path)
    assert (found["layers"], found["classes_are_true"], len(found["images"])) == (
        ["conv1", "fc7"],
        True,
        6,
    )
    assert found["translation"]["amounts"] == [-14, 0, 20]
    for n, name in enumerate(found["images"]):
        index = subject.images.ids.index(name)
        label = int(subject.images.labels[index])
        assert found["classes"][n] == subject.images.classes[label]
        x = subject.inputs([index])
        moved = transform(x, "translation", [20 * SIDE / 224])
        with torch.no_grad():
            before, after = subject.net[:7](x), subject.net[:7](moved)
            p = F.softmax(subject.net(moved), 1)[0, label].item()
        far = (after - before).norm().item()
        assert found["translation"]["distances"]["fc7"][2][n] == pytest.approx(far, rel=1e-3)
        assert found["translation"]["normalised"]["fc7"][2][n] == pytest.approx(
            far / before.norm().item(), rel=1e-3
        )
        assert found["translation"]["probabilities"][2][n] == pytest.approx(p, rel=1e-3)
        assert found["rotation"]["distances"]["conv1"][0][n] == 0
    sheet = np.asarray(Image.open(tmp_path / "invariance.png"))
    assert sheet.min() < 100
    assert sheet.max() == 255


def test_the_summary_is_the_mean_and_is_said(
    subject: ModelOnData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    found = run(subject, tmp_path)
    lines = {(line["kind"], line["amount"]): line for line in found["summary"]}
    at = lines["translation", 20]["normalised_distance"]
    assert at["conv1"] == pytest.approx(
        np.mean(found["translation"]["normalised"]["conv1"][2]), rel=1e-4
    )
    every = lines["rotation", "all"]["normalised_distance"]
    assert every["fc7"] == pytest.approx(
        np.mean(found["rotation"]["normalised"]["fc7"][1:]), rel=1e-4
    )
    assert "rotation       90°: normalized distance conv1" in caplog.text
    assert "is used instead" not in caplog.text


def test_the_sample_is_the_same_every_time(subject: ModelOnData, tmp_path: Path) -> None:
    first = run(subject, tmp_path, images=3)
    assert first == run(subject, tmp_path, images=3)
    assert first["images"] == run(subject, tmp_path, images=5)["images"][:3]
    assert set(run(subject, tmp_path, images=99)["images"]) == set(subject.images.ids)
    assert first["images"] != run(subject, tmp_path, images=3, seed=1)["images"]


def test_where_labels_are_not_the_nets_classes(
    subject: ModelOnData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The class found most probable at first is followed, and the log says so."""
    caplog.set_level("INFO")
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 8, 8),
        nn.ReLU(True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 20),
    )
    other = ModelOnData(
        net.eval(),
        subject.prepare,
        subject.images,
        subject.source,
        subject.classes,
        subject.batch_size,
    )
    found = run(other, tmp_path, images=4)
    assert (found["layers"], found["classes_are_true"]) == (["1", "3"], False)
    assert "each image's most probable class is used instead" in caplog.text
    x = other.inputs([other.images.ids.index(name) for name in found["images"]])
    best = net(x).softmax(1).max(1)
    assert found["classes"] == [f"class {i}" for i in best.indices.tolist()]
    assert found["scale"]["probabilities"][0] == pytest.approx(best.values.tolist(), rel=1e-4)


def test_the_ends_of_other_nets() -> None:
    from torchvision.models import resnet18, squeezenet1_1

    image = torch.zeros(1, 3, 64, 64)
    assert first_and_top(squeezenet1_1(weights=None), image) == ["features.1", "classifier.0"]
    assert first_and_top(resnet18(weights=None).eval(), image) == ["relu", "avgpool"]
    with pytest.raises(InputError, match="name the layers"):
        first_and_top(nn.Sequential(nn.Flatten(), nn.Linear(5, 2)), torch.zeros(1, 5))


def test_errors(subject: ModelOnData, tmp_path: Path) -> None:
    for change, says in [
        ({"images": 0}, "images=0"),
        ({"layers": ["conv9"]}, "conv9"),
        ({"angles": []}, r"angles=\[\]: must not be empty"),
        ({"scales": [0]}, "above 0"),
    ]:
        with pytest.raises(InputError, match=says):
            run(subject, tmp_path, **change)


def test_a_dead_layer_is_said_and_json_stays_json(subject: ModelOnData, tmp_path: Path) -> None:
    bias: Tensor = subject.net.fc7.linear.bias.data
    before = bias.clone()
    bias.fill_(-1e6)
    try:
        found = run(subject, tmp_path, images=2)
    finally:
        bias.copy_(before)
    assert found["rotation"]["normalised"]["fc7"] == [[None, None]] * 3
    assert found["rotation"]["distances"]["fc7"] == [[0, 0]] * 3
    assert found["dead"] == ["fc7"]
    assert {line["normalised_distance"]["fc7"] for line in found["summary"]} == {None}
