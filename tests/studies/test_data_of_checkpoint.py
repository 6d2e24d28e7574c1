"""An analysis looks at its checkpoint's data set, unless the command line says otherwise."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from zfnet.data import Creatures
from zfnet.errors import InputError
from zfnet.studies import layer_probe
from zfnet.studies.inputs import complete_data, load_model, load_models
from zfnet.studies.report.runs import Run
from zfnet.studies.report.settings import data_name
from zfnet.training import build
from zfnet.training.data_config import describe_data

Compose = Callable[..., DictConfig]
SMALL = {f"conv{i}": {"channels": 4} for i in range(1, 6)} | {
    "fc6": {"units": 8},
    "fc7": {"units": 8},
}
MODEL = {
    "_target_": "zfnet.models.convnet",
    "architecture": "zfnet",
    "edit": SMALL,
    "init": "he",
    "input_norm": "unit",
}


def write_photos(root: Path) -> Path:
    """Two classes, two photos each for training and validation."""
    source = Creatures(8, size=56)
    for i in range(8):
        path = root / ("train", "val")[i % 2] / ("ant", "bee")[i // 4] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(source.read(i).permute(1, 2, 0).numpy()).save(path)
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("of_training"))


@pytest.fixture
def made(composed: Compose, tmp_path: Path) -> Callable[..., Path]:
    """A checkpoint of a net that knows the classes `net`, its data those of `overrides` with
    `changes`."""

    def make(
        *overrides: str, net: list[str] | None = None, name: str = "a", **changes: Any
    ) -> Path:
        config = composed(*overrides, "data.image_size=48")
        data = describe_data(OmegaConf.to_container(config.data, resolve=True))  # type: ignore[arg-type]
        card = {
            "model": MODEL,
            "classes": net or ["ant", "bee"],
            "image_size": 48,
            "store_size": 55,
        }
        state = build(card).state_dict()
        path = tmp_path / f"{name}.ckpt"
        torch.save({"model_config": card | {"data": data | changes}, "state_dict": state}, path)
        return path

    return make


@pytest.fixture
def config(composed: Compose, tmp_path: Path) -> Compose:
    """The config that analyze.py gets."""
    return lambda *words: composed(
        "analysis=occlusion", f"++data.store_dir={tmp_path}/stores", *words, root="analyze"
    )


def of_photos(photos: Path) -> list[str]:
    return ["data=folder", f"data.root={photos}"]


def test_without_data_it_is_the_trainings(
    made: Callable[..., Path], config: Compose, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = made(*of_photos(photos))
    with caplog.at_level(logging.INFO):
        subject = load_model(config(f"ckpt={path}"))
    assert subject.images.ids == [
        f"val/{label}/{i}.png" for label, i in (("ant", 1), ("ant", 3), ("bee", 5), ("bee", 7))
    ]
    assert subject.knows_classes()
    assert f"looking at the data set of {path}: folder in {photos}" in caplog.text
    train = load_model(config(f"ckpt={path}", "split=train"))
    assert all(name.startswith("train/") for name in train.images.ids)


def test_data_on_the_command_line_counts_more(
    made: Callable[..., Path], config: Compose, photos: Path, tmp_path: Path
) -> None:
    path = made(*of_photos(photos))
    other = write_photos(tmp_path / "moved")
    assert load_model(config(f"ckpt={path}", f"data.root={other}")).source.root == other
    drawn = load_model(config(f"ckpt={path}", "data=creatures", "data.source.val=5"))
    assert (drawn.source.name, len(drawn.images), drawn.knows_classes()) == ("creatures", 5, False)
    assert load_model(config(f"ckpt={path}", "data.batch_size=3")).batch_size == 3
    with pytest.raises(InputError, match="sees 48 pixels"):
        load_model(config(f"ckpt={path}", "data.image_size=64"))


def test_single_keys_of_the_source_count_more(made: Callable[..., Path], config: Compose) -> None:
    path = made(
        "data=creatures_six",
        "data.source.train=20",
        net=["bear", "bicycle", "bird", "bus", "cat", "house"],
    )
    asked = config(f"ckpt={path}", "data.source.val=9", "data.classes=[bear,cat]")
    subject = load_model(asked)
    assert asked.data.source.train == 20
    assert (subject.images.classes, len(subject.images)) == (["bear", "cat"], 9)
    for key in ("fold=3", "source.vall=3"):
        with pytest.raises(
            InputError, match=rf"^data\.{key.partition('=')[0]}: there is no such key"
        ):
            load_model(config(f"ckpt={path}", f"data.{key}"))


def test_what_the_analysis_asks_of_the_data_is_there(
    made: Callable[..., Path], composed: Compose
) -> None:
    """The keys of the analysis refer to the data set's."""
    path = made("data=creatures_few", "data.images_per_class=4", "data.fold=2")
    asked = composed("analysis=layer_probe", f"ckpt={path}", root="analyze")
    complete_data(asked)
    assert (asked.images_per_class, asked.data.fold) == ([4], 2)


def test_a_probe_of_data_without_folds_says_so(
    made: Callable[..., Path], config: Compose, photos: Path, tmp_path: Path
) -> None:
    subject = load_model(config(f"ckpt={made(*of_photos(photos))}"))
    with pytest.raises(InputError, match="has no folds"):
        layer_probe.LayerProbe([1], 1, ["conv1"], 6, ["svm"], [1], 0).run(subject, tmp_path)


def test_an_older_checkpoint_looks_at_creatures_and_says_so(
    checkpoint: Path, config: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        subject = load_model(config(f"ckpt={checkpoint}", "data.source.val=3"))
    assert (subject.source.name, len(subject.images)) == ("creatures", 3)
    assert caplog.text.count("does not say on which data it was trained") == 1


def test_a_folder_that_is_gone(made: Callable[..., Path], config: Compose, tmp_path: Path) -> None:
    path = made("data=folder", f"data.root={tmp_path}/gone")
    with pytest.raises(InputError) as error:
        load_model(config(f"ckpt={path}"))
    assert "\n" not in str(error.value)
    assert f"trained on the images in {tmp_path}/gone" in str(error.value)
    assert "give data.root=FOLDER" in str(error.value)


def test_several_checkpoints_look_at_one_data_set(
    made: Callable[..., Path], composed: Compose, photos: Path, tmp_path: Path, checkpoint: Path
) -> None:
    a, b = made(*of_photos(photos)), made(*of_photos(photos), name="b")
    c = made(*of_photos(write_photos(tmp_path / "other")), name="c")

    def asked(*words: str) -> Any:
        stores = f"++data.store_dir={tmp_path}/stores"
        return load_models(composed("analysis=filters", stores, *words, root="analyze"))

    assert [len(each.images) for each in asked(f"ckpt=[{a},{b}]")] == [4, 4]
    with pytest.raises(
        InputError, match=rf"data\.root={photos}.*data\.root={tmp_path}/other; give data="
    ):
        asked(f"ckpt=[{a},{c}]")
    with pytest.raises(InputError, match="unknown; give data="):
        asked(f"ckpt=[{a},{checkpoint}]")
    assert len(asked(f"ckpt=[{a},{c}]", *of_photos(photos))) == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"_target_": "os.system"}, "trained on data of os.system"),
        ({"source": {"_target_": "os.system", "command": "touch {ran}"}}, "trust=[os.system]"),
        (
            {"source": {"_target_": "zfnet.training.fit.instantiate"}},
            "zfnet.training.fit.instantiate",
        ),
        ({"classes": {"_target_": "os.system", "command": "touch {ran}"}}, "the key '_target_'"),
        ({"classes": [{"_target_": "os.system"}]}, "the key '_target_'"),
        (
            {"source": {"_target_": "zfnet.data.datasets.folder", "_args_": ["{ran}"]}},
            "the key '_args_'",
        ),
        ({"root": "${oc.env:HOME}"}, "the value"),
        ({"root": 5}, "root=5"),
        ({"fold": 1}, "unknown key, fold"),
        ({"max_bad": "many"}, "max_bad='many'"),
        ({"source": "folder"}, "damaged"),
        ({"source": {"_target_": ["zfnet.data.datasets.folder"]}}, "trained on data of ["),
    ],
    ids=str,
)
def test_a_files_config_runs_no_code(
    made: Callable[..., Path],
    config: Compose,
    photos: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    says: str,
) -> None:
    ran = tmp_path / "ran"
    changes = OmegaConf.to_container(OmegaConf.create(changes), resolve=False)  # a copy
    for each in (changes, changes.get("source"), changes.get("classes")):
        if isinstance(each, dict) and "command" in each:
            each["command"] = each["command"].format(ran=ran)
    path = made(*of_photos(photos), **changes)
    with pytest.raises(InputError) as error:
        load_model(config(f"ckpt={path}"))
    assert says in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not ran.exists()


def own_photos(split: str, root: str) -> Any:
    """A data set of one's own, as conf/data/mine.yaml would name it."""
    from zfnet.data.datasets import folder

    return folder(root, split)  # type: ignore[arg-type]


def test_a_data_set_of_ones_own_is_used_where_it_is_trusted(
    made: Callable[..., Path], config: Compose, photos: Path
) -> None:
    name = f"{__name__}.own_photos"
    path = made(*of_photos(photos), f"data.source._target_={name}")
    with pytest.raises(InputError, match="which is not part of zfnet; give data=, or trust="):
        load_model(config(f"ckpt={path}"))
    assert len(load_model(config(f"ckpt={path}", f"trust=[{name}]")).images) == 4


def test_the_report_names_the_data_set(photos: Path) -> None:
    """analyze.py writes what data=checkpoint came to into the run's config."""
    data = {"root": str(photos), "source": {"_target_": "zfnet.data.datasets.folder"}}
    run = Run(photos, "analyze", [], {"data": "checkpoint"}, {"data": data}, {})
    assert data_name(run) == f"folder {photos.name}"
