"""`python analyze.py` from a checkpoint to figures and numbers, and its errors."""

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

from tests.helpers.commands import Commands, Ended
from zfnet import progress_file
from zfnet.data import Creatures
from zfnet.data.batches import Batch
from zfnet.deconv import Deconvnet, TopActivations, Unit
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData, object_of
from zfnet.studies import doctor, top_activations
from zfnet.studies.inputs import load_model
from zfnet.studies.run import build_analysis

SIDE = 48
Compose = Callable[..., DictConfig]


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> list[str]:
    """What every command of these tests says."""
    stores = tmp_path_factory.getbasetemp() / "stores"
    return [f"data.store_dir={stores}", f"ckpt={checkpoint}"]


@pytest.fixture
def config(small: list[str], composed: Compose) -> Compose:
    return partial(composed, *small, "data.source.val=14", root="analyze")


def numbers(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "top_activations.json").read_text())


def test_a_subject_prepares_as_training_does(config: Compose) -> None:
    subject = load_model(config())
    assert (subject.crop, len(subject.images), subject.net.training) == (SIDE, 14, False)
    inputs, pixels = subject.inputs([3, 5]), subject.pixels([3, 5])
    stored = torch.stack([subject.images.read(i)[4:52, 4:52].permute(2, 0, 1) for i in (3, 5)])
    torch.testing.assert_close(pixels, stored / 255)
    torch.testing.assert_close(
        inputs * 64, stored - subject.prepare.mean[:, 4:52, 4:52], atol=1e-3, rtol=1e-4
    )
    batches = list(subject.batches(range(4, 14)))
    assert torch.cat([ids for _, ids in batches]).tolist() == list(range(4, 14))


def test_the_numbers_are_those_of_the_net(config: Compose, tmp_path: Path) -> None:
    """Every entry's value comes back when its picture is shown again; the best of all pictures is
    first."""
    subject = load_model(config())
    top_activations.TopActivationSearch(["conv1", "conv3"], channels=4, k=3).run(subject, tmp_path)
    found = numbers(tmp_path)
    assert (found["searched"], found["k"], list(found["layers"])) == (14, 3, ["conv1", "conv3"])
    deconv = Deconvnet(subject.net)
    for layer in found["layers"]:
        maps = found["layers"][layer]["maps"]
        assert len(maps) == 8
        for number, entries in enumerate(maps):
            for rank, entry in enumerate(entries):
                index = subject.images.ids.index(entry["image"])
                unit = Unit(0, number, entry["y"], entry["x"])
                value = deconv.patches(subject.inputs([index]), layer, [unit]).values[0].item()
                assert value == pytest.approx(max(entry["value"], 0), rel=1e-4, abs=1e-5)
                assert entry["window"] == list(deconv.window(layer, unit))
                assert rank == 0 or entry["value"] <= entries[rank - 1]["value"]
        for share in ("energy_on_object", "energy_by_chance"):
            assert 0 <= found["layers"][layer][share] <= 1
        sheet = np.asarray(Image.open(tmp_path / f"{layer}.png"))
        assert sheet.ndim == 3
        assert sheet.min() < 100
        assert sheet.max() == 255


def test_contrastive_projections(
    config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sheet shows them and says so; the JSON has K, which is at most all others, and the
    seed."""
    shown: list[Any] = []
    draw = top_activations.feature_sheet
    monkeypatch.setattr(
        top_activations, "feature_sheet", lambda *a, **k: shown.append((a, k)) or draw(*a, **k)
    )
    words = ("analysis=top_activations", "layers=[conv2]", "channels=[3]", "k=2", "contrast=16")
    subject = load_model(config(*words, "seed=5"))
    build_analysis(config(*words, "seed=5")).run(subject, tmp_path)
    found = numbers(tmp_path)["layers"]["conv2"]
    assert found["contrast"] == {"channels": 7, "seed": 5}
    (_, (panel,)), options = shown[0]
    assert options["note"] == "contrastive projections, K = 7: ours, not the paper's"
    best = found["maps"][3][0]
    image = subject.inputs([subject.images.ids.index(best["image"])])
    deconv = Deconvnet(subject.net, contrast=16, contrast_seed=5)
    patches = deconv.patches(image, "conv2", [Unit(0, 3, best["y"], best["x"])])
    expected = subject.shown(patches.projections)
    torch.testing.assert_close(panel.projections[:1], expected, atol=1e-5, rtol=1e-4)


def test_the_rule_of_the_projections(config: Compose, tmp_path: Path) -> None:
    """The energy on the objects is that of projections of whole images by the rule of `relu`."""
    words = ("analysis=top_activations", "layers=[conv2]", "channels=8", "k=2", "relu=guided")
    subject = load_model(config(*words))
    build_analysis(config(*words)).run(subject, tmp_path)
    found = numbers(tmp_path)
    assert found["relu"] == "guided"
    shares = []
    for number, entries in enumerate(found["layers"]["conv2"]["maps"]):
        for entry in entries:
            index = subject.images.ids.index(entry["image"])
            unit = Unit(0, number, entry["y"], entry["x"])
            deconv = Deconvnet(subject.net, relu="guided", seed="one")
            energy = deconv.project(subject.inputs([index]), "conv2", [unit])[0].square().sum(0)
            shares.append((energy * object_of(subject, index).mask).sum() / energy.sum())
    expected = torch.stack(shares).nanmean().item()
    assert found["layers"]["conv2"]["energy_on_object"] == pytest.approx(expected, rel=1e-4)


def test_a_search_goes_on_where_it_stopped(
    config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = load_model(config("data.batch_size=4"))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    top_activations.TopActivationSearch(["conv2"], channels=2, k=3).run(subject, whole)
    monkeypatch.setattr(progress_file, "SAVED_EVERY", -1)  # after every batch
    read, shown = ModelOnData.preprocess, []

    def preprocess(self: ModelOnData, batch: Batch) -> torch.Tensor:
        shown.append(batch)
        if len(shown) == 3:
            raise KeyboardInterrupt
        return read(self, batch)

    monkeypatch.setattr(ModelOnData, "preprocess", preprocess)
    with pytest.raises(KeyboardInterrupt):
        top_activations.TopActivationSearch(["conv2"], channels=2, k=3).run(subject, broken)
    assert (broken / "search_0.begun.pt").exists()
    assert not (broken / "search_0.begun.tmp").exists()
    monkeypatch.setattr(ModelOnData, "preprocess", read)
    searched: list[int] = []
    update = TopActivations.update
    monkeypatch.setattr(
        TopActivations,
        "update",
        lambda self, a, b, ids: searched.extend(ids.tolist()) or update(self, a, b, ids),
    )
    top_activations.TopActivationSearch(["conv2"], channels=2, k=3).run(subject, broken)
    assert searched == list(range(8, 14))
    assert numbers(broken) == numbers(whole)
    assert not (broken / "search_0.begun.pt").exists()


def test_named_channels_are_chosen_and_a_sample_is_the_same_every_time() -> None:
    assert top_activations.choose([5, 2], 8, "channels", "conv1") == [5, 2]
    drawn = top_activations.choose(4, 96, "channels", "conv1")
    assert drawn == sorted(set(drawn)) == top_activations.choose(4, 96, "channels", "conv1")
    assert top_activations.choose(99, 3, "channels", "conv1") == [0, 1, 2]
    with pytest.raises(InputError, match="conv1 has channels 0 to 7, no 8"):
        top_activations.choose([1, 8], 8, "channels", "conv1")


def test_the_doctor_writes_what_it_says(
    config: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    doctor.Doctor(None, images=5).run(load_model(config()), tmp_path)
    found = json.loads((tmp_path / "doctor.json").read_text())
    assert [each["layer"] for each in found] == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert [p["name"] for p in found[4]["poolings"]] == ["conv2.pool", "conv1.pool"]
    assert "conv5: 8 channels, units see 139 x 139 pixels" in caplog.text


@pytest.fixture
def command(commands: Commands, small: list[str], tmp_path: Path) -> Callable[..., Ended]:
    """Runs analyze.py; results go to `results`."""
    words = [small[0], f"hydra.run.dir={tmp_path}/results"]
    return lambda *overrides: commands.run("analyze.py", [*words, *overrides])


def test_own_photos_and_a_pretrained_net_from_any_directory(
    command: Callable[..., Ended], tmp_path: Path
) -> None:
    """A folder of photos without classes, and torchvision's net from a file of its weights."""
    from torchvision.models import squeezenet1_1

    source = Creatures(3, size=80)
    (tmp_path / "photos" / "trip").mkdir(parents=True)
    for i, place in enumerate(("a.png", "b.jpg", "trip/c.png")):
        Image.fromarray(source.read(i).permute(1, 2, 0).numpy()).save(tmp_path / "photos" / place)
    torch.manual_seed(0)
    torch.save(squeezenet1_1(weights=None).state_dict(), tmp_path / "squeezenet.pth")
    net = [
        "model=torchvision",
        "model.name=squeezenet1_1",
        f"model.weights={tmp_path}/squeezenet.pth",
    ]
    photos = ["data=photos", f"data.root={tmp_path}/photos", "data.image_size=64"]
    done = command(
        "analysis=top_activations",
        *net,
        *photos,
        "layers=[features.0,features.3]",
        "channels=[3]",
        "k=2",
    )
    assert done.status == 0, done.errors
    found = numbers(tmp_path / "results")
    ids = {e["image"] for layer in found["layers"].values() for map in layer["maps"] for e in map}
    assert ids <= {"a.png", "b.jpg", "trip/c.png"}
    assert "energy_on_object" not in found["layers"]["features.0"]
    assert {"features.0.png", "features.3.png"} <= {
        path.name for path in (tmp_path / "results").iterdir()
    }


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["analysis=top_activations"], "which network"),
        (["ckpt={ckpt}"], "which analysis? analysis="),
        (["analysis=doctor", "ckpt=/nowhere/last.ckpt"], "/nowhere/last.ckpt: no such file"),
        (["analysis=top_activations", "ckpt={ckpt}", "layers=[conv9]"], "conv9"),
        (
            ["analysis=occlusion", "ckpt={ckpt}", "size=abc"],
            "size=abc: a whole number or null is needed",
        ),
        (
            [
                "analysis=invariance",
                "model=torchvision",
                "model.name=vit_b_16",
                "data.image_size=48",
            ],
            "VisionTransformer does not take images of 48 x 48 pixels (Wrong image height",
        ),
    ],
)
def test_errors_are_one_line(
    command: Callable[..., Ended],
    checkpoint: Path,
    overrides: list[str],
    says: str,
) -> None:
    done = command(*(word.format(ckpt=checkpoint) for word in overrides), "data.source.val=14")
    assert done.status == 1
    assert says in done.output
    assert "Traceback" not in done.output + done.errors


def test_more_errors(config: Compose) -> None:
    with pytest.raises(InputError, match=f"sees {SIDE}"):
        load_model(config("data.image_size=64"))
    with pytest.raises(InputError, match="not both"):
        load_model(config("model=zfnet"))
