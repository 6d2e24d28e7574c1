"""`analysis=correspondence` from a checkpoint, and a csv of parts, to Table 1 and Figure 8."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import nn

from zfnet.data import Creatures
from zfnet.errors import InputError
from zfnet.studies import correspondence
from zfnet.studies.inputs import load_model
from zfnet.studies.layers import last_convolution_and_top

SIDE = 48
WORDS: dict[str, Any] = {
    "parts": None, "parts_side": SIDE, "names": None, "classes": None, "layers": None, "images": 4,
    "patch": 0.2, "draws": 3, "permutations": 49, "seed": 0,
}  # fmt: skip
Compose = Callable[..., DictConfig]


@pytest.fixture(scope="module")
def config(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, composed: Compose
) -> Compose:
    stores = tmp_path_factory.mktemp("stores")
    return partial(composed, f"data.store_dir={stores}", f"ckpt={checkpoint}", root="analyze")


@pytest.fixture
def run(config: Compose, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def study(**change: Any) -> dict[str, Any]:
        subject = load_model(config("data.source.val=40"))
        correspondence.Correspondence(**{**WORDS, **change}).run(subject, tmp_path)
        return json.loads((tmp_path / "correspondence.json").read_text())

    return study


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four photos and where their nose and tail are; one has no tail."""
    source = Creatures(40, size=55)
    folder = tmp_path / "photos" / "trip"
    folder.mkdir(parents=True)
    rows = []
    for i in range(4):
        Image.fromarray(source.read(i).permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
        rows += [f"{i}.png,nose,{20 + i},30"] + [f"trip/{i}.png,tail,10.5,{8 + i}"] * (i != 2)
    (tmp_path / "parts.csv").write_text("image,part,x,y\n" + "\n".join(rows) + "\n")
    return tmp_path / "photos"


def of_photos(config: Compose, folder: Path, parts: Path, **change: Any) -> dict[str, Any]:
    subject = load_model(config("data=photos", f"data.root={folder}"))
    correspondence.Correspondence(**{**WORDS, "parts": str(parts), **change}).run(
        subject, folder.parent
    )
    return json.loads((folder.parent / "correspondence.json").read_text())


def test_creatures_parts_are_masked_where_they_are(
    run: Callable[..., dict[str, Any]], config: Compose
) -> None:
    found = run()
    assert (len(found["images"]), found["side"], list(found["layers"])) == (4, 10, ["conv5", "fc7"])
    subject = load_model(config("data.source.val=40"))
    for n, name in enumerate(found["images"]):
        known = subject.source.annotation(subject.images.ids.index(name))
        for part in ("right_eye", "left_eye", "nose"):
            x, y = known.parts[part]  # of the stored 55 pixels
            assert found["places"][part][n] == pytest.approx([x - 4, y - 4], abs=1e-4)
        for draw in found["places"]["random"]:
            x, y = (round(v - 0.5) for v in draw[n])
            assert known.mask[y + 4, x + 4], "not on the creature"
    for rows in found["layers"].values():
        assert list(rows) == ["right_eye", "left_eye", "nose", "random"]
        assert all(0 <= row["mean"] <= row["mean_of_changed"] <= 1 for row in rows.values())
        assert 0 < rows["nose"]["p"] <= 1
    assert found["paper"]["nose"]["layer 7"] == [0.069, 0.011]


def test_classes_are_chosen_and_the_log_stands_beside_the_paper(
    run: Callable[..., dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    found = run(classes=["dog", "cat"], names=["nose", "left_ear"], images=99)
    labels = {int(name.split("/")[1]) % 12 for name in found["images"]}
    assert {Creatures.classes[label] for label in labels} == {"cat", "dog"}
    assert list(found["places"]) == ["nose", "left_ear", "random"]
    assert "paper, layer 7: 0.069 ± 0.011" in caplog.text
    sheet = np.asarray(Image.open(tmp_path / "correspondence.png"))
    assert sheet.min() < 100
    assert sheet.max() == 255


def test_a_csv_names_the_parts(
    config: Compose, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By file name or by path; an image without a part is left out, and counted."""
    caplog.set_level("INFO")
    found = of_photos(config, photos, tmp_path / "parts.csv")
    assert set(found["images"]) == {"trip/0.png", "trip/1.png", "trip/3.png"}
    assert found["left_out"] == 1
    assert "3 images; 1 left out, without all of nose, tail" in caplog.text
    n = found["images"].index("trip/3.png")
    assert found["places"]["nose"][n] == [23, 30]
    assert found["places"]["tail"][n] == [10.5, 11]
    every = of_photos(config, photos, tmp_path / "parts.csv", names=["nose"], parts_side=2 * SIDE)
    assert len(every["images"]) == 4
    assert every["places"]["nose"][every["images"].index("trip/2.png")] == [
        22.5 / 2 - 0.5,
        30.5 / 2 - 0.5,
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,part,x\n", "no column y; its first line must be image,part,x,y"),
        ("", "no column image, part, x, y"),
        ("image,part,x,y\nb.png,nose,1,1\n", "line 2: photos has no image 'b.png'"),
        (
            "image,part,x,y\n0.png,nose,48,1\n",
            "line 2: nose of 0.png at 48, 1 lies outside the center crop of 48",
        ),
        ("image,part,x,y\n0.png,nose,1,nan\n", "outside the center crop"),
        ("image,part,x,y\n0.png,nose,one,1\n", "x and y are pixels, not 'one', '1'"),
        ("image,part,x,y\n0.png,nose,1\n", "line 2: has nothing for y"),
        (
            "image,part,x,y\n0.png,nose,1,1\n0.png,nose,2,1\n",
            "line 3: nose of 0.png is listed twice",
        ),
        ("image,part,x,y\n0.png,nose,1,1\n1.png,tail,2,1\n", "0 images have all of nose, tail"),
        ("image,part,x,y\n0.png,nose,1,1\n", "1 images have all of nose"),
        ("image,part,x,y\n", "names no parts"),
    ],
)
def test_errors_of_a_csv(
    config: Compose, photos: Path, tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        of_photos(config, photos, tmp_path / "bad.csv")


def test_more_errors(
    config: Compose, photos: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    with pytest.raises(InputError, match=r"nowhere\.csv: No such file"):
        of_photos(config, photos, tmp_path / "nowhere.csv")
    for side in (0, -224):
        with pytest.raises(InputError, match=f"parts_side={side}: must be at least 1"):
            of_photos(config, photos, tmp_path / "parts.csv", parts_side=side)
    model = load_model(config("data=photos", f"data.root={photos}"))
    with pytest.raises(InputError, match="knows no parts of its images"):
        correspondence.Correspondence(**WORDS).run(model, tmp_path)
    for change, says in [
        ({"patch": 1.2}, "patch=1.2"),
        ({"patch": 0.0}, "patch=0.0: must be above 0"),
        ({"patch": 0.001}, "is no pixel in images of 48"),
        ({"patch": 0.9}, "0 images have all of right_eye, left_eye, nose and room"),
        ({"names": ["beak", "nose"]}, "0 images have all of beak, nose"),
        ({"classes": ["unicorn"]}, "there is no unicorn"),
        ({"layers": ["conv9"]}, "conv9"),
        ({"draws": 0}, "draws=0"),
        ({"permutations": 0}, "permutations=0"),
        ({"images": 1}, "images=1"),
    ]:
        with pytest.raises(InputError, match=says):
            run(**change)
    with pytest.raises(InputError, match="Sequential: name the layers"):
        last_convolution_and_top(nn.Sequential(), torch.zeros(1, 3, 8, 8))


def test_the_layers_of_other_nets() -> None:
    from torchvision.models import alexnet

    assert last_convolution_and_top(alexnet(weights=None), torch.zeros(1, 3, 64, 64)) == [
        "features.11",
        "classifier.5",
    ]


def test_a_dead_layer_is_said_to_be_dead(
    config: Compose, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("INFO")
    subject = load_model(config("data.source.val=40"))
    with torch.no_grad():
        subject.net.fc7.linear.bias.fill_(-1e6)  # type: ignore[union-attr, operator]
    correspondence.Correspondence(**WORDS).run(subject, tmp_path)
    found = json.loads((tmp_path / "correspondence.json").read_text())["layers"]
    assert {number for part in found["fc7"].values() for number in part.values()} == {None}
    assert all(part["mean"] is not None for part in found["conv5"].values())
    assert "fc7          nose       dead: no square changes it" in caplog.text
