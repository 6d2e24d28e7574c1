"""Transfer by its definition: one pass for all folds, a head that never sees the test."""

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook

import zfnet
from tests.helpers.commands import Ended
from tests.helpers.made_data import write_voc
from zfnet.data.datasets.voc import CLASSES
from zfnet.data.preprocessing import ten_crops
from zfnet.errors import InputError
from zfnet.probing.average_precision import average_precision
from zfnet.training.fit import model_to_train
from zfnet.training.frozen_transfer import transfer_frozen

THREE = ("data=creatures_few", "data.classes=[bear,bird,bus]", "data.image_size=48")
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where stores and features lie, as in outputs/."""
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture
def run(composed: Callable[..., DictConfig], checkpoint: Path, home: Path) -> Run:
    """A frozen run on three classes of creatures, in this process: what its result.json holds."""

    def make(*words: str, data: tuple[str, ...] = THREE, home: Path = home) -> dict[str, Any]:
        frozen = ("transfer=frozen", f"ckpt={checkpoint}", f"data.store_dir={home / 'stores'}")
        cfg = composed(*data, *frozen, *words)
        return transfer_frozen(cfg, instantiate(cfg.data))

    return make


def features(checkpoint: Path, source: Any, layer: str, cut: Tensor) -> np.ndarray:
    """A stage's output for each picture of a source, one by one."""
    classifier = zfnet.load(checkpoint)
    rows = []
    with torch.inference_mode():
        for index in range(len(source)):
            image = source.read(index).permute(1, 2, 0)[None].contiguous()
            maps = classifier.prepare(image, torch.tensor([0]), cut[None])
            for name, stage in classifier.net.named_children():
                maps = stage(maps)
                if name == layer:
                    break
            rows.append(maps.flatten())
    return torch.stack(rows).numpy()


def fitted(
    train: np.ndarray, labels: list[int], strength: float
) -> Callable[[np.ndarray], np.ndarray]:
    """scikit-learn's softmax on features of mean norm 1: features → probabilities."""
    scale = np.linalg.norm(train, axis=1).mean()
    head = LogisticRegression(C=strength, max_iter=5000, tol=1e-6).fit(train / scale, labels)
    return lambda given: head.predict_proba(given / scale)


def class_accuracy(answers: np.ndarray, labels: list[int]) -> float:
    right = answers.argmax(1) == np.array(labels)
    return float(np.mean([right[np.array(labels) == label].mean() for label in set(labels)]))


def test_it_is_a_softmax_on_the_nets_own_features(
    run: Run, composed: Callable[..., DictConfig], checkpoint: Path
) -> None:
    """Step by step: ten crops of each training picture are samples; the centre crop, the mean of
    ten answers."""
    words = ("data.images_per_class=7", "data.fold=3", "data.test_per_class=10")
    result = run(*words, "transfer.crops=ten", "transfer.layer=fc6", "transfer.C=[1000]")
    data = instantiate(composed(*THREE, *words).data)
    train, val = data.sources["train"], data.sources["val"]
    assert result["chosen"]["images"] == {"train": 21, "val": 30}
    assert result["chosen"]["C"] == 1000
    cuts = ten_crops(55, 48)
    crops = np.concatenate([features(checkpoint, train, "fc6", cut) for cut in cuts])
    answer = fitted(crops, train.labels * 10, strength=1000 / 10)
    answers = [answer(features(checkpoint, val, "fc6", cut)) for cut in cuts]
    assert result["val/class_accuracy"] == pytest.approx(class_accuracy(answers[4], val.labels))
    ten = np.mean(answers, axis=0)
    assert result["test/class_accuracy"] == pytest.approx(class_accuracy(ten, val.labels))
    assert result["test/top1_error"] == pytest.approx(
        np.mean(ten.argmax(1) != np.array(val.labels))
    )


def test_the_top_layer_and_a_pooled_one(run: Run) -> None:
    assert run("data.images_per_class=5")["chosen"] | {"C": 0} == {
        "layer": "fc7", "features": 16, "C": 0, "images": {"train": 15, "val": 150}
    }  # fmt: skip
    narrow = run("data.images_per_class=5", "transfer.layer=conv1", "transfer.pool=2")
    assert narrow["chosen"]["features"] == 8 * 2 * 2


def test_a_sweep_over_four_k_and_five_folds_costs_one_pass(run: Run, tmp_path: Path) -> None:
    seen = 0

    def count(module: torch.nn.Module, inputs: Any, _: Any) -> None:
        nonlocal seen
        first = isinstance(module, torch.nn.Conv2d) and module.in_channels == 3
        # One alone tells the layers' shapes.
        seen += len(inputs[0]) if first and len(inputs[0]) > 1 else 0

    handle = register_module_forward_hook(count)
    try:
        results = [
            run(f"data.images_per_class={k}", f"data.fold={fold}", "transfer.C=[1]", home=tmp_path)
            for k in (2, 5, 15, 30)
            for fold in range(5)
        ]
    finally:
        handle.remove()
    assert seen == 330
    assert len({result["val/class_accuracy"] for result in results}) > 5


def test_the_strength_is_chosen_without_the_test_pictures(
    composed: Callable[..., DictConfig], checkpoint: Path, home: Path
) -> None:
    """With the test pictures' labels turned round the same head is chosen and fitted."""
    words = ("data.images_per_class=15", "transfer=frozen", f"ckpt={checkpoint}")
    results = []
    for shift in (0, 1):
        cfg = composed(*THREE, *words, f"data.store_dir={home / 'stores'}")
        data = instantiate(cfg.data)
        images = data.open("val")
        images.labels = (images.labels + shift) % 3
        opened = {"train": data.open("train"), "val": images}
        data.open = opened.__getitem__
        results.append(transfer_frozen(cfg, data))
    same = ("chosen", "train_eval/top1_error", "train_eval/class_accuracy")
    assert {key: results[0][key] for key in same} == {key: results[1][key] for key in same}
    assert results[0]["val/class_accuracy"] != results[1]["val/class_accuracy"]


# VOC: several classes a picture


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """data=voc2012 on 60 + 60 pictures."""
    root = write_voc(tmp_path_factory.mktemp("voc"), 60)
    return ("data=voc2012", f"data.root={root}", "data.image_size=48")


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_voc_has_an_average_precision_for_each_class(
    run: Run, voc: tuple[str, ...], head: str
) -> None:
    result = run(f"transfer.head={head}", "transfer.C=[1,100]", data=voc)
    each = result["val/average_precision"]
    assert list(each) == CLASSES
    assert result["val/mean_average_precision"] == pytest.approx(np.mean(list(each.values())))
    # Two of twenty classes a picture: 0.1 by chance.
    assert result["val/mean_average_precision"] > 0.3
    assert result["chosen"]["C"] in (1, 100)
    assert "val/top1_error" not in result


def test_the_single_softmax_step_by_step(
    run: Run, voc: tuple[str, ...], composed: Callable[..., DictConfig], checkpoint: Path
) -> None:
    """Each class that a training picture shows is a sample; difficult ones count neither here nor
    in the test."""
    result = run("transfer.C=[10]", data=voc)
    data = instantiate(composed(*voc, "data.image_size=48").data)
    stored = {split: data.open(split) for split in ("train", "val")}

    class Stored:  # as 55 pixels, which a source's own photos are not
        def __init__(self, split: str) -> None:
            self.images = stored[split]

        def __len__(self) -> int:
            return len(self.images)

        def read(self, index: int) -> Tensor:
            return self.images.read(index).permute(2, 0, 1)

    train, val = (
        features(checkpoint, Stored(s), "fc7", ten_crops(55, 48)[4]) for s in ("train", "val")
    )
    samples = [
        (row, label)
        for row, target in enumerate(data.sources["train"].targets.tolist())
        for label, shows in enumerate(target)
        if shows == 1
    ]
    rows, labels = map(list, zip(*samples, strict=True))
    assert len(rows) == 120
    probabilities = torch.from_numpy(fitted(train[rows], labels, strength=10)(val))
    targets = data.sources["val"].targets
    for label, name in enumerate(CLASSES):
        expected = average_precision(probabilities[:, label], targets[:, label])
        assert result["val/average_precision"][name] == pytest.approx(expected, abs=0.02), name


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("transfer.head=svm",), "transfer.head='svm' is unknown: choose one of softmax, sigmoid"),
        (("transfer.crops=five",), "transfer.crops='five' is unknown: choose one of center, ten"),
        (("ckpt=null",), "needs a net that has learned: ckpt="),
        (("ckpt=/nowhere/last.ckpt",), "/nowhere/last.ckpt: no such file"),
        (("data.image_size=64",), "data.image_size=64: the net of .* sees 48 pixels"),
        (("transfer.layer=conv9",), "layer 'conv9' is not in ConvNet"),
    ],
    ids=lambda value: value[0].split("=")[0] if isinstance(value, tuple) else "",
)
def test_what_the_user_can_mend_is_one_line(run: Run, words: tuple[str, ...], line: str) -> None:
    with pytest.raises(InputError, match=line) as error:
        run(*words)
    assert "\n" not in str(error.value)


def test_a_class_that_no_picture_shows(run: Run, tmp_path: Path) -> None:
    data = ("data=voc2012", f"data.root={write_voc(tmp_path / 'voc', 10)}", "data.image_size=48")
    with pytest.raises(InputError, match="voc2012: no image of train shows class 'dog'"):
        run(data=data)


# As a user meets it


def test_frozen_and_scratch_are_one_sweep(
    command: Callable[..., Ended], checkpoint: Path, tmp_path: Path
) -> None:
    """The control is the checkpoint's own net from random weights, whatever model= says."""
    words = (
        "transfer=frozen,scratch",
        f"ckpt={checkpoint}",
        "trainer.max_epochs=1",
        "callbacks=[checkpoint]",
    )
    done = command(*words, f"hydra.sweep.dir={tmp_path}", "--multirun", narrow=False)
    assert done.status == 0, done.output + done.errors
    frozen, scratch = (tmp_path / f"transfer-{name}" for name in ("frozen", "scratch"))
    results = [json.loads((folder / "result.json").read_text()) for folder in (frozen, scratch)]
    for key in ("val/class_accuracy", "val/top1_error", "train_eval/top1_error", "seconds"):
        assert all(key in result for result in results)
    assert {path.name for path in frozen.iterdir() if path.is_file()} >= {
        "result.json",
        "train.log",
    }
    assert not (frozen / "checkpoints").exists()
    old, new = zfnet.load(checkpoint), zfnet.load(scratch / "checkpoints" / "last.ckpt")
    assert new.model_config["model"] == old.model_config["model"]
    assert not torch.allclose(new.net.conv1.conv.weight, old.net.conv1.conv.weight, atol=0.05)


def test_runs_at_the_same_time_share_one_pass(
    start: Callable[..., subprocess.Popen[str]], checkpoint: Path, tmp_path: Path
) -> None:
    words = ("transfer=frozen", f"ckpt={checkpoint}", "transfer.layer=fc6")
    both = [
        start(*words, f"hydra.run.dir={tmp_path / name}", narrow=False) for name in ("one", "other")
    ]
    outputs = "".join(process.communicate(timeout=240)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0], outputs
    for split in ("32 images", "13 images"):
        assert outputs.count(f"features of fc6: {split}") == 1
    one, other = (
        json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "other")
    )
    assert one | {"seconds": 0} == other | {"seconds": 0}


def test_a_network_of_a_users_own(composed: Callable[..., DictConfig], home: Path) -> None:
    """model=custom is taken as it is. A network of zfnet needs weights."""
    net = ("model=custom", "model._target_=torchvision.models.squeezenet1_1")
    words = (*THREE, "transfer=frozen", f"data.store_dir={home / 'stores'}", "data.image_size=64")
    cfg = composed(*words, *net, "transfer.layer=features.12")
    assert 0 <= transfer_frozen(cfg, instantiate(cfg.data))["val/class_accuracy"] <= 1
    cfg = composed(*words)
    with pytest.raises(InputError, match="needs a net that has learned"):
        transfer_frozen(cfg, instantiate(cfg.data))


def test_which_net_is_trained(composed: Callable[..., DictConfig], checkpoint: Path) -> None:
    """The checkpoint's net, or that of model=; scratch has no weights."""
    alexnet = ("model=torchvision", "model.name=alexnet", "model.weights=alexnet.pth")
    words = OmegaConf.to_container(composed(*alexnet).model)
    assert model_to_train(composed(*alexnet)) == words
    assert model_to_train(composed(*alexnet, "transfer=scratch")) == words | {"weights": None}
    own = zfnet.load(checkpoint).model_config["model"]
    sized = (f"ckpt={checkpoint}", "data.image_size=48")
    assert model_to_train(composed(*alexnet, *sized, "transfer=scratch")) == own
    with pytest.raises(InputError, match=r"data\.image_size=112: the net of .* sees 48 pixels"):
        model_to_train(composed(f"ckpt={checkpoint}", "transfer=scratch"))
    assert model_to_train(composed(*sized)) == own  # a warm start


@pytest.mark.usefixtures("composed")
@pytest.mark.parametrize(
    ("name", "jobs"), [("table4", 20), ("table5", 40), ("table6", 2), ("transfer_creatures", 18)]
)
def test_experiments_sweep_over_what_their_tables_have(name: str, jobs: int) -> None:
    cfg = compose("train", [f"experiment={name}"], return_hydra_config=True)
    assert cfg.hydra.mode.name == "MULTIRUN"
    assert (
        math.prod(len(str(values).split(",")) for values in cfg.hydra.sweeper.params.values())
        == jobs
    )
    assert cfg.transfer.method == "frozen"
