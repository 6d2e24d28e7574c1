"""The true class of an image is the net's own class of that image, or there is none."""

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from zfnet.data import ImageData
from zfnet.data.datasets import Photos, folder
from zfnet.data.preprocessing import Preprocessing
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData, object_of
from zfnet.models import Conv, ConvNet, Linear
from zfnet.studies import annotations, ensemble, invariance, occlusion
from zfnet.studies.annotations import images_with_parts, object_masks, read_parts

SIDE = 28


class Annotated(Photos):
    """Photos whose annotations say which photo they are of: one pixel of the mask, and a part
    there."""

    def annotation(self, index: int) -> Any:
        mask = torch.zeros(32, 32, dtype=torch.bool)
        mask[10, 5 + index] = True
        mask[2:30, 25:30] = True  # room for random squares
        return type("Known", (), {"mask": mask, "parts": {"nose": (5.0 + index, 10.0)}})


@pytest.fixture
def subject(tmp_path: Path) -> ModelOnData:
    """Six photos of three classes, of which the first cannot be read."""
    rng = np.random.default_rng(0)
    root = tmp_path / "photos"
    for split in ("train", "val"):
        for label in "abc":
            for i in range(2):
                path = root / split / label / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(path)
    (root / "val/a/0.png").write_bytes(b"broken")

    def source(split: str) -> Annotated:
        return Annotated(**vars(folder(root, split)))  # type: ignore[arg-type]

    data = ImageData(partial(source), SIDE, 2, str(tmp_path / "stores"))
    images = data.open("val")
    torch.manual_seed(0)
    net = ConvNet({"conv1": Conv(4, 3), "fc8": Linear(activation=False)}, 3, SIDE, init="he").eval()
    assert len(images) == 5
    return ModelOnData(
        net, Preprocessing(32, SIDE, "unit"), images, data.sources["val"], list("abc"), 2
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The units that methods are asked for by localization_scores."""
    found: list[int] = []

    def method(_: Any, __: Tensor, ___: str, units: Any) -> Tensor:
        found.extend(unit.channel for unit in units)
        return torch.rand(len(units), SIDE, SIDE)

    monkeypatch.setattr(annotations, "methods_for", lambda *_: {"method": method})
    return found


def whole_masks(subject: ModelOnData) -> dict[int, Tensor]:
    return {i: torch.ones(SIDE, SIDE, dtype=torch.bool) for i in range(len(subject.images))}


def most_probable(subject: ModelOnData) -> list[int]:
    with torch.no_grad():
        return subject.net(subject.inputs(range(len(subject.images)))).argmax(1).tolist()


def test_labels_are_of_the_images_that_could_be_read(
    subject: ModelOnData, asked: list[int]
) -> None:
    labels = subject.true_classes([0, 2, 4])
    assert labels is not None
    assert labels.tolist() == [0, 1, 2]
    found = annotations.localization_scores(subject, None, "conv1", whole_masks(subject), 0)
    assert asked == [0, 1, 1, 2, 2]
    assert found["unit"] == "the true class of fc8"


@pytest.mark.parametrize(
    "classes", [["a", "c", "b"], ["x", "y", "z"], ["a", "b"], ["a", "b", "c", "d"]], ids=str
)
def test_other_classes_mean_no_true_class(
    subject: ModelOnData, asked: list[int], classes: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    subject.classes = classes
    with caplog.at_level(logging.INFO):
        assert subject.true_classes([0]) is None
        found = annotations.localization_scores(subject, None, "conv1", whole_masks(subject), 0)
    assert found["unit"] == "the most probable class of fc8"
    assert asked == most_probable(subject)
    assert caplog.text.count("no image has a true class") == 1


def test_occlusion_and_invariance_take_the_most_probable_class(
    subject: ModelOnData, tmp_path: Path
) -> None:
    subject.classes = ["x", "y", "z"]
    occlusion.Occlusion("conv1", [0, 1, 2, 3, 4], 8, 10, 0.0).run(subject, tmp_path)
    found = json.loads((tmp_path / "occlusion.json").read_text())
    best = ["xyz"[i] for i in most_probable(subject)]
    assert found["class_is"] == "most probable"
    assert [each["class"] for each in found["images"]] == best
    invariance.Invariance(["conv1"], 5, [0, 4], [1.0], [0], 0).run(subject, tmp_path)
    found = json.loads((tmp_path / "invariance.json").read_text())
    assert found["classes_are_true"] is False
    by_image = dict(zip(found["images"], found["classes"], strict=True))
    assert [by_image[id_] for id_ in subject.images.ids] == best
    with pytest.raises(InputError, match="without a true class there is no error"):
        ensemble.check([subject], ["a.ckpt"])


def test_annotations_are_of_the_images_that_could_be_read(subject: ModelOnData) -> None:
    """Image 0 of the store is the source's second: its mask has its pixel in column 6, cut by 2."""
    for index in range(5):
        assert subject.annotation(index).parts["nose"] == (6.0 + index, 10.0)
        shown = object_of(subject, index)
        assert shown.parts["nose"] == (4.0 + index, 8.0)
        assert shown.mask[8, 4 + index]
    masks = object_masks(subject, None, 5)
    assert all(masks[index][8, 4 + index] for index in range(5))
    chosen = images_with_parts(subject, ["nose"], None, 5, 3, None, seed=0)
    places = dict(zip(chosen.images, chosen.places["nose"].tolist(), strict=True))
    assert places == {index: [4.0 + index, 8.0] for index in range(5)}


def test_a_csv_names_images_by_id(subject: ModelOnData, tmp_path: Path) -> None:
    (tmp_path / "parts.csv").write_text(
        "image,part,x,y\nval/b/0.png,nose,3,4\nval/c/1.png,nose,5,6\n"
    )
    known = read_parts(str(tmp_path / "parts.csv"), subject, SIDE)
    assert {subject.images.ids[i]: places["nose"] for i, places in known.items()} == {
        "val/b/0.png": (3.0, 4.0),
        "val/c/1.png": (5.0, 6.0),
    }
    chosen = images_with_parts(subject, ["nose"], known, 5, 3, ["b", "c"], seed=0)
    assert sorted(chosen.images) == [1, 4]
