"""`analysis=sanity` from a checkpoint to a figure and numbers, and its errors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image

from zfnet.data import Creatures
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData
from zfnet.studies import sanity
from zfnet.studies.annotations import object_masks
from zfnet.studies.inputs import load_model

SIDE = 48
CASCADE = ["conv5.conv", "conv4.conv", "conv3.conv", "conv2.conv", "conv1.conv"]


@pytest.fixture
def subject(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, composed: Callable[..., DictConfig]
) -> ModelOnData:
    """A narrow, untrained net before 14 creatures."""
    stores = tmp_path_factory.getbasetemp() / "stores"
    words = [f"data.store_dir={stores}", "data.source.val=14", f"ckpt={checkpoint}"]
    return load_model(composed(*words, root="analyze"))


@pytest.fixture
def study(subject: ModelOnData, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs the study on the subject, and reads what it wrote."""

    def run(**words: Any) -> dict[str, Any]:
        usual = {
            "layer": None,
            "channels": 3,
            "k": 2,
            "images": 6,
            "located": None,
            "boxes": None,
            "seed": 0,
        }
        for path in tmp_path.glob("search_*"):  # of a study that ended with an error
            path.unlink()
        sanity.Sanity(**{**usual, **words}).run(subject, tmp_path)
        return json.loads((tmp_path / "sanity.json").read_text())

    return run


def test_the_checks_and_where_the_methods_point(study: Callable[..., Any], tmp_path: Path) -> None:
    found = study()
    assert found["layer"] == "conv5"
    contrastive = ["contrastive", "contrastive other map"]
    others = ["other map", *contrastive, "other image", "both"]
    assert list(found["similarity"]) == ["original", *CASCADE, *others]
    assert found["contrast"] == {"channels": 7, "seed": 0}
    ways = (found["similarity"][name]["cosine"] for name in ("contrastive other map", "other map"))
    assert next(ways) < next(ways)
    assert found["similarity"]["original"] == pytest.approx({"cosine": 1, "rank": 1})
    assert all(
        each["cosine"] < 1 for name, each in found["similarity"].items() if name != "original"
    )
    where = found["localisation"]
    assert (where["unit"], where["images"]) == ("the true class of fc8", 6)
    assert list(where["methods"]) == [
        "deconvnet",
        "contrastive",
        "guided",
        "gradient",
        "gradient x input",
        "occlusion",
        "centre",
        "chance",
    ]
    assert all(0 <= share <= 1 for each in where["methods"].values() for share in each.values())
    assert where["methods"]["chance"]["energy"] < where["methods"]["chance"]["pointing"]
    sheet = np.asarray(Image.open(tmp_path / "sanity.png"))
    assert sheet.ndim == 3
    assert sheet.min() < 100
    assert study() == found


def test_one_map_of_another_layer_by_another_rule(study: Callable[..., Any]) -> None:
    found = study(layer="conv2", channels=1, k=1, located="conv3", relu="guided")
    assert list(found["similarity"])[1:3] == ["conv2.conv", "conv1.conv"]
    assert found["localisation"]["unit"] == "the strongest unit of conv3"
    assert (found["relu"], found["extended_rules"], found["caution"]) == ("guided", {}, "")


def test_boxes_of_a_csv(study: Callable[..., Any], subject: ModelOnData, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    first, second = subject.images.ids[3], subject.images.ids[8]
    boxes.write_text(f"image,x0,y0,x1,y1\n{second},0,0,48,48\n{first},0,0,24,48\n")
    masks = object_masks(subject, str(boxes), 96)
    assert {index: mask.float().mean().item() for index, mask in masks.items()} == {3: 0.5, 8: 1}
    assert study(boxes=str(boxes))["localisation"]["methods"]["chance"]["energy"] == pytest.approx(
        0.75
    )
    boxes.write_text("image,x0,y0,x1,y1\nnobody.jpg,0,0,9,9\n")
    with pytest.raises(InputError, match=r"image 'nobody\.jpg' is not in creatures"):
        study(boxes=str(boxes))


def test_without_masks_there_is_no_second_half(
    study: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Creatures, "annotation")
    assert study()["localisation"] == {}


def test_masks_are_those_of_the_centre_crop(subject: ModelOnData) -> None:
    masks = object_masks(subject, None, 3)
    assert list(masks) == [0, 4, 9]
    whole = subject.source.annotation(4).mask  # type: ignore[attr-defined]
    assert torch.equal(masks[4], whole[4:52, 4:52])


def test_errors(study: Callable[..., Any], subject: ModelOnData) -> None:
    with pytest.raises(InputError, match="conv9"):
        study(layer="conv9")
    with pytest.raises(InputError, match="conv9"):
        study(located="conv9")
    with pytest.raises(InputError, match="images=0"):
        study(images=0)
    with pytest.raises(InputError, match="channels 0 to 7, no 8"):
        study(channels=[8])
    with pytest.raises(InputError, match="No such file"):
        study(boxes="/nowhere.csv")
    with torch.no_grad():
        subject.net.conv5.conv.bias.fill_(-1e6)  # type: ignore[union-attr, operator]
    with pytest.raises(InputError, match="no image activates the chosen channels of conv5"):
        study()
    with torch.no_grad():
        subject.net.conv1.conv.weight[0] = torch.nan  # type: ignore[union-attr, index]
    with pytest.raises(InputError, match="not a number for image 0"):
        study()
