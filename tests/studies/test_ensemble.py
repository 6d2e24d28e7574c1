"""`analysis=ensemble`: nets and combinations by hand, and what cannot be combined."""

import itertools
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from zfnet.data import Creatures
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData
from zfnet.probing import feature_extraction
from zfnet.studies import ensemble
from zfnet.studies.inputs import load_models
from zfnet.training import build

Compose = Callable[..., DictConfig]
NARROW = {
    **{f"conv{i}": {"channels": 8} for i in range(1, 6)},
    "fc6": {"units": 16},
    "fc7": {"units": 16},
}


def saved(path: Path, seed: int, size: int = 48, classes: Sequence[str] = Creatures.classes) -> str:
    """A narrow net of its own seed, as train.py saves it, whose softmax is not flat."""
    torch.manual_seed(seed)
    model = {"architecture": "zfnet", "edit": NARROW, "init": "he", "input_norm": "unit"}
    model["_target_"] = "zfnet.models.convnet"
    card = {
        "model": model,
        "classes": list(classes),
        "image_size": size,
        "store_size": round(size * 8 / 7),
    }
    classifier = build(card)
    with torch.no_grad():
        classifier.net.fc8.linear.weight.mul_(8)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model_config": card, "state_dict": classifier.state_dict()}, path)
    return str(path)


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two of one config and a third that sees larger pictures."""
    runs = tmp_path_factory.mktemp("train")
    return [
        saved(runs / name / "checkpoints" / "last.ckpt", seed, size)
        for seed, (name, size) in enumerate([("a", 48), ("b", 48), ("c", 56)])
    ]


@pytest.fixture
def config(tmp_path_factory: pytest.TempPathFactory, composed: Compose) -> Compose:
    stores = tmp_path_factory.getbasetemp() / "stores of twenty"
    return partial(composed, f"data.store_dir={stores}", "data.source.val=20", root="analyze")


def shown(config: Compose, paths: list[str]) -> list[ModelOnData]:
    return load_models(config(f"ckpt=[{','.join(paths)}]"))  # type: ignore[return-value]


def rows_of(folder: Path) -> dict[tuple[tuple[str, ...], int], dict[str, Any]]:
    rows = json.loads((folder / "ensemble.json").read_text())["rows"]
    return {(tuple(sorted(each["nets"])), each["crops"]): each for each in rows}


def softmax_of(subject: ModelOnData, crops: int) -> Tensor:
    """One picture and one crop at a time, cut, mirrored and normalised by hand: (N, C)."""
    side, size = subject.crop, subject.images.size
    far, middle = size - side, round((size - side) / 2)
    corners = [(0, 0), (0, far), (far, 0), (far, far), (middle, middle)]
    result = []
    for i in range(len(subject.images)):
        picture = (subject.images.read(i).permute(2, 0, 1).float() - subject.prepare.mean) / 64
        cuts = [picture[:, y : y + side, x : x + side] for y, x in corners]
        cuts = [*cuts, *(cut.flip(2) for cut in cuts)] if crops == 10 else [cuts[4]]
        with torch.no_grad():
            result.append(
                torch.stack([subject.net(cut[None])[0].softmax(0) for cut in cuts]).mean(0)
            )
    return torch.stack(result)


def errors(probabilities: Tensor, labels: Tensor) -> tuple[float, float]:
    """Top-1 and top-5 by counting how many classes are more probable than the true one."""
    true = probabilities[torch.arange(len(labels)), labels]
    rank = (probabilities > true[:, None]).sum(1)
    return (rank >= 1).float().mean().item(), (rank >= 5).float().mean().item()


def test_every_row_is_what_direct_computation_gives(
    config: Compose, nets: list[str], tmp_path: Path
) -> None:
    subjects = shown(config, nets)
    ensemble.Ensemble(nets, str(tmp_path / "kept")).run(subjects, tmp_path)
    found = rows_of(tmp_path)
    groups = [
        *(((net,), crops) for net in nets for crops in (1, 10)),
        (tuple(nets[:2]), 10),
        (tuple(nets), 10),
    ]
    assert set(found) == set(groups)
    labels = subjects[0].images.labels
    for chosen, crops in groups:
        each = [softmax_of(subjects[nets.index(net)], crops) for net in chosen]
        wanted = errors(torch.stack(each).mean(0), labels)
        row = found[chosen, crops]
        assert (row["top1_error"], row["top5_error"]) == pytest.approx(wanted, abs=1e-6), chosen
    assert [found[(net,), 1]["name"] for net in nets] == ["a", "b", "c"]
    assert found[tuple(nets[:2]), 10]["name"] == "2 nets like a"
    sheet = np.asarray(Image.open(tmp_path / "ensemble.png"))
    assert sheet.min() < 100


def test_the_order_of_the_nets_does_not_matter_and_nothing_is_computed_twice(
    config: Compose, nets: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    passes: list[int] = []
    run = feature_extraction.FeatureExtractor.run
    monkeypatch.setattr(
        feature_extraction.FeatureExtractor,
        "run",
        lambda *arguments: passes.append(1) or run(*arguments),
    )
    for i, order in enumerate(itertools.permutations(nets)):
        folder = tmp_path / str(i)
        folder.mkdir()
        ensemble.Ensemble(list(order), str(tmp_path / "kept")).run(
            shown(config, list(order)), folder
        )
        found.append(
            {key: (row["top1_error"], row["top5_error"]) for key, row in rows_of(folder).items()}
        )
    assert all(each == found[0] for each in found)
    assert len(passes) == len(nets)


def test_one_net_alone(config: Compose, nets: list[str], tmp_path: Path) -> None:
    (subject,) = load_models(config(f"ckpt={nets[0]}"))  # type: ignore[misc]
    ensemble.Ensemble(nets[0], str(tmp_path / "kept")).run([subject], tmp_path)
    assert set(rows_of(tmp_path)) == {((nets[0],), 1), ((nets[0],), 10)}


def test_together_is_the_mean_of_softmax() -> None:
    """By hand: two crops' worth of logits in ten, two nets, two classes."""
    logits = torch.zeros(1, 10, 2)
    logits[0, :5, 0] = np.log(3)  # softmax (0.75, 0.25) of five crops, (0.5, 0.5) of the others
    other = torch.zeros(1, 10, 2)
    other[0, :, 1] = np.log(4)  # (0.2, 0.8)
    assert ensemble.combine([logits], 10).tolist() == [pytest.approx([0.625, 0.375])]
    assert ensemble.combine([logits], 1).tolist() == [pytest.approx([0.75, 0.25])]
    assert ensemble.combine([logits, other], 10).tolist() == [pytest.approx([0.4125, 0.5875])]


def test_names_of_runs() -> None:
    assert ensemble.run_names(["/x/demo/checkpoints/last.ckpt", "/y/net.ckpt"]) == ["demo", "net"]
    both = ["/x/demo/checkpoints/last.ckpt", "/x/demo/checkpoints/stop.ckpt"]
    assert ensemble.run_names(both) == ["demo/last", "demo/stop"]
    jobs = [f"/x/sweeps/{sweep}/none/checkpoints/last.ckpt" for sweep in ("one", "two")]
    assert ensemble.run_names([*jobs, both[0]]) == ["one/none", "two/none", "demo"]


def test_errors(config: Compose, nets: list[str], tmp_path: Path) -> None:
    other = saved(tmp_path / "other.ckpt", 5, classes=("cat", "dog"))
    with pytest.raises(
        InputError, match=r"other\.ckpt was trained on other classes .* \(2, cat, dog, \.\.\.;"
    ):
        ensemble.Ensemble([nets[0], other], str(tmp_path / "kept")).run(
            shown(config, [nets[0], other]), tmp_path
        )
    with pytest.raises(InputError, match="names a checkpoint twice"):
        ensemble.Ensemble([nets[0]] * 2, str(tmp_path / "kept")).run(
            shown(config, [nets[0]] * 2), tmp_path
        )
    subjects = shown(config, nets[:2])
    subjects[1].images.labels = subjects[1].images.labels.flip(0)
    with pytest.raises(InputError, match=r"has other images or labels than"):
        ensemble.Ensemble(nets[:2], str(tmp_path / "kept")).run(subjects, tmp_path)
    with pytest.raises(InputError, match="ckpt="):
        ensemble.Ensemble(None, str(tmp_path / "kept")).run(subjects, tmp_path)
