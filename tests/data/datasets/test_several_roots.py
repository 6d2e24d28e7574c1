"""data=folder with several roots: one data set, whose classes are joined by name."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from zfnet.config import Training, check_config
from zfnet.data.datasets import folder
from zfnet.errors import InputError
from zfnet.training.data_config import checked_data, describe_data, linked_data


@pytest.fixture
def roots(tmp_path: Path, paint: Callable[..., None]) -> list[str]:
    """One root to be split, and one that is split; a class each of its own."""
    for name in ("a/photos/cat/1", "a/photos/cat/2", "a/photos/dog/1", "a/photos/dog/2"):
        paint(tmp_path / f"{name}.png", 1)
    for name in ("train/ant/1", "train/cat/1", "val/ant/2"):
        paint(tmp_path / f"b/photos/{name}.png", 2)
    return [f"{tmp_path}/a/photos", f"{tmp_path}/b/photos"]


def test_classes_are_joined_by_name(roots: list[str], tmp_path: Path) -> None:
    train, val = folder(roots, "train"), folder(roots, "val")
    assert train.classes == val.classes == ["ant", "cat", "dog"]
    found = {**dict(zip(train.ids, train.labels)), **dict(zip(val.ids, val.labels))}  # noqa: B905
    assert found == {
        **{f"a/photos/{label}/{i}.png": n for n, label in ((1, "cat"), (2, "dog")) for i in (1, 2)},
        "b/photos/train/ant/1.png": 0,
        "b/photos/train/cat/1.png": 1,
        "b/photos/val/ant/2.png": 0,
    }
    assert len(val) == 3
    assert train.read(0).shape == val.read(0).shape == (3, 20, 24)
    assert train.root == tmp_path
    alone = [folder(root, "train") for root in roots]
    assert len(train) == sum(map(len, alone))


@pytest.mark.usefixtures("run_folder")
def test_from_the_command_line_and_back_from_a_checkpoint(
    roots: list[str], composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    config = composed(
        "data=folder", f"data.root=[{','.join(roots)}]", f"data.store_dir={tmp_path}/stores"
    )
    check_config(config, Training)
    data = instantiate(config.data)
    assert len(data.open("train")) == 4
    assert data.folder.name.startswith("photos-")
    described = describe_data(OmegaConf.to_container(config.data, resolve=True))  # type: ignore[arg-type]
    again = linked_data(checked_data(described, "a.ckpt", trust=[]))
    assert again["root"] == roots
    assert again["source"]["root"] == "${data.root}"


@pytest.mark.usefixtures("run_folder")
@pytest.mark.parametrize("name", ["csv", "webdataset", "parquet", "photos", "imagenet_tars"])
def test_other_data_sets_have_one_root(composed: Callable[..., DictConfig], name: str) -> None:
    with pytest.raises(InputError, match=r"root=\[/a, /b\]: a string is needed"):
        check_config(composed(f"data={name}", "data.root=[/a,/b]"), Training)


def test_roots_that_overlap(roots: list[str]) -> None:
    for wrong in ([roots[0], roots[0]], [roots[0], f"{roots[0]}/.."]):
        with pytest.raises(InputError, match="which is also given; remove it"):
            folder(wrong, "train", val_fraction=0)
    with pytest.raises(InputError, match="name a folder"):
        folder([], "train")
    with pytest.raises(InputError, match="no such folder"):
        folder([roots[0], "/gone"], "train")
