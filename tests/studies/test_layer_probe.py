"""`analysis=layer_probe` from the config to Table 7: every fold a plain fit, and resumed."""

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from omegaconf import DictConfig

from zfnet import convnet
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData
from zfnet.probing.linear_probe import choose_C, class_accuracy, fit_linear_probe
from zfnet.studies import layer_probe
from zfnet.studies.inputs import load_model
from zfnet.studies.layers import paper_numbers
from zfnet.studies.run import build_analysis

Compose = Callable[..., DictConfig]
WORDS: dict[str, Any] = {
    "images_per_class": [3, 5],
    "folds": 2,
    "layers": ["conv1", "fc7"],
    "pool": 2,
    "heads": ["svm", "softmax"],
    "C": [0.1, 10],
    "seed": 0,
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab") / "stores"


@pytest.fixture
def subject(composed: Compose, checkpoint: Path, stores: Path) -> ModelOnData:
    words = [
        "data=creatures_few",
        "data.images_per_class=3",
        "data.test_per_class=6",
        "data.classes=[dog,car,fish]",
    ]
    return load_model(
        composed(f"ckpt={checkpoint}", f"data.store_dir={stores}", *words, root="analyze")
    )


def run(subject: ModelOnData, folder: Path, **change: Any) -> dict[str, Any]:
    layer_probe.LayerProbe(**WORDS | change).run(subject, folder)
    return json.loads((folder / "layer_probe.json").read_text())


def test_every_fold_is_a_plain_fit(
    subject: ModelOnData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    found = run(subject, tmp_path)
    assert set(found["layers"]) == {"conv1", "fc7"}
    assert found["features"] == {"conv1": 8 * 2 * 2, "fc7": 16}
    about = found["layers"]["fc7"]["softmax"]["5"]
    assert about["mean"] == pytest.approx(sum(about["folds"]) / 2, rel=1e-4)
    assert about["std"] == pytest.approx(
        abs(about["folds"][0] - about["folds"][1]) / 2**0.5, rel=1e-3, abs=1e-6
    )
    assert "fc7" in caplog.text
    assert "(85.5 ± 0.4)" in caplog.text  # the paper's
    for fold in range(2):
        train, test = (
            subject.source.resample(subject.source.pool, split=split, images_per_class=5, fold=fold)  # type: ignore[attr-defined]
            for split in ("train", "val")
        )
        assert not set(train.ids) & set(test.ids)
        numbers = {id_: row for row, id_ in enumerate(subject.images.base.ids)}  # type: ignore[attr-defined]
        with torch.no_grad():
            x, y = (
                subject.net[:7](_inputs(subject, [numbers[id_] for id_ in part.ids]))
                for part in (train, test)
            )
        labels, truth = torch.tensor(train.labels), torch.tensor(test.labels)
        strength = choose_C(x, labels, "softmax", [0.1, 10])
        assert about["strengths"][fold] == strength
        plain = class_accuracy(fit_linear_probe(x, labels, "softmax", strength).scores(y), truth)
        assert about["folds"][fold] == pytest.approx(plain, rel=1e-5)
    assert (tmp_path / "layer_probe.png").stat().st_size > 5000
    assert not (tmp_path / "probed_0.json").exists()


def _inputs(subject: ModelOnData, rows: list[int]) -> torch.Tensor:
    whole = ModelOnData(subject.net, subject.prepare, subject.images.base, subject.source, [], 8)  # type: ignore[attr-defined]
    return whole.inputs(rows)


def test_one_that_was_stopped_goes_on(
    subject: ModelOnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(subject, tmp_path)
    fit, fits = layer_probe.fit_linear_probe, []

    def stopping(*words: Any) -> Any:
        if len(fits) == 5:
            raise KeyboardInterrupt
        fits.append(words)
        return fit(*words)

    monkeypatch.setattr(layer_probe, "fit_linear_probe", stopping)
    folder = tmp_path / "stopped"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        run(subject, folder)
    monkeypatch.setattr(
        layer_probe, "fit_linear_probe", lambda *words: (fits.append(words), fit(*words))[1]
    )
    assert run(subject, folder) == whole
    assert len(fits) == 2 * 2 * 2 * 2


def test_all_folds_take_rows_of_one_pass(
    subject: ModelOnData, tmp_path: Path, stores: Path
) -> None:
    run(subject, tmp_path, layers=None, folds=1)
    files = {path: path.stat().st_mtime_ns for path in (stores.parent / "features").rglob("*.f32")}
    assert len(files) >= 7
    run(subject, tmp_path, layers=["conv3"], images_per_class=[2], folds=3)
    assert files == {
        path: path.stat().st_mtime_ns for path in (stores.parent / "features").rglob("*.f32")
    }


def test_which_of_the_papers_layers_they_are() -> None:
    ours = convnet("zfnet", 3, 64)
    image = torch.zeros(1, 3, 64, 64)
    assert paper_numbers(ours, ["conv5", "conv5.pool", "fc7"], image) == {
        "conv5": 5,
        "conv5.pool": 5,
        "fc7": 7,
    }
    names = ["features", "features.0", "features.12", "classifier.1", "classifier.5"]
    found = paper_numbers(torchvision.models.alexnet(), names, image)
    assert found == dict(zip(names, [None, 1, 5, 6, 7], strict=True))
    other = paper_numbers(torchvision.models.resnet18(), ["relu", "layer1.1", "layer4"], image)
    assert other == {"relu": 1, "layer1.1": 2, "layer4": None}


def test_the_words_of_the_command_line(composed: Compose) -> None:
    words = composed(
        "analysis=layer_probe", "data=creatures_few", "data.images_per_class=7", root="analyze"
    )
    analysis = build_analysis(words)
    assert isinstance(analysis, layer_probe.LayerProbe)
    assert analysis.images_per_class == [7]


def test_errors(
    subject: ModelOnData, tmp_path: Path, stores: Path, composed: Compose, checkpoint: Path
) -> None:
    wrong = partial(run, subject, tmp_path)
    with pytest.raises(InputError, match=r"heads=\[tree\]: a list .* of svm, softmax is needed"):
        wrong(heads=["tree"])
    with pytest.raises(InputError, match="folds=0"):
        wrong(folds=0)
    with pytest.raises(InputError, match="images_per_class=500 needs 501"):
        wrong(images_per_class=[500])
    plain = load_model(
        composed(
            f"ckpt={checkpoint}", f"data.store_dir={stores}", "data.source.val=14", root="analyze"
        )
    )
    with pytest.raises(
        InputError, match="has no folds of a few images per class; choose data=caltech101"
    ):
        run(plain, tmp_path)
