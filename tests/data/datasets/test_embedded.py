"""The embedded data set and the folders of few pictures, as the command line composes them."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig

from zfnet.data import ImageData
from zfnet.data.subset import Selection
from zfnet.errors import InputError


@pytest.fixture
def made(composed: Callable[..., DictConfig], tmp_path: Path) -> Callable[..., ImageData]:
    """The data that `train.py data=...` would have."""

    def make(*overrides: str) -> Any:
        return instantiate(
            composed(*overrides, f"data.store_dir={tmp_path}/stores", "data.image_size=14").data
        )

    return make


def test_half_of_the_classes_and_the_other_half(made: Callable[..., ImageData]) -> None:
    six, few = made("data=creatures_six"), made("data=creatures_few", "data.images_per_class=60")
    assert sorted([*six.classes, *few.classes]) == made().classes
    assert [len(six.sources[split]) for split in ("train", "val")] == [3000, 600]
    assert [len(few.sources[split]) for split in ("train", "val")] == [360, 300]
    assert set(Counter(few.sources["val"].labels).values()) == {50}
    assert not set(few.sources["train"].ids) & {*six.sources["train"].ids, *six.sources["val"].ids}
    assert few.sources["train"].read(0).shape == (3, 16, 16)
    assert few.sources["train"].annotation(0).mask.any()


def test_classes_are_chosen_on_the_command_line(made: Callable[..., ImageData]) -> None:
    assert made("data.classes=[dog,bear]").classes == ["bear", "dog"]
    assert made("data=creatures_few", "data.classes=[bird,bus]").classes == ["bird", "bus"]
    assert len(made("data=creatures_few", "data.classes=null").classes) == 12
    with pytest.raises(Exception, match="no class 'unicorn'") as caught:
        made("data.classes=[unicorn]")
    assert isinstance(caught.value.__cause__, InputError)


@pytest.mark.parametrize("name", ["caltech101", "caltech256", "class_folders"])
def test_few_pictures_a_class_are_asked_for_on_the_command_line(
    made: Callable[..., ImageData], paint: Callable[..., None], tmp_path: Path, name: str
) -> None:
    place = {
        "caltech101": "caltech101/101_ObjectCategories",
        "caltech256": "caltech256/256_ObjectCategories",
        "class_folders": ".",
    }[name]
    for label in ("ant", "bee"):
        for number in range(8):
            paint(tmp_path / "own" / place / label / f"{number}.jpg", number)
    words = (f"data={name}", f"data.root={tmp_path}/own", "data.images_per_class=3")
    first = made(*words, "data.test_per_class=4")
    assert [len(first.open(split)) for split in ("train", "val")] == [6, 8]
    other = made(*words, "data.fold=2")
    assert [len(other.open(split)) for split in ("train", "val")] == [6, 10]
    assert first.sources["train"].ids != other.sources["train"].ids
    (store,) = (tmp_path / "stores").glob("*/*")  # of both folds
    assert re.fullmatch("all-16-[0-9a-f]{8}", store.name)
    assert isinstance(other.sources["val"], Selection)
    with pytest.raises(Exception, match=r"data\.fold=1000"):
        made(*words, "data.fold=1000")


def test_an_unreadable_picture_of_the_whole_is_missing_from_its_fold(
    made: Callable[..., ImageData], paint: Callable[..., None], tmp_path: Path
) -> None:
    for label in ("ant", "bee"):
        for number in range(8):
            paint(tmp_path / f"own/{label}/{number}.png", number)
    (tmp_path / "own/bee/3.png").write_bytes(b"broken")
    for store in ("true", "false"):
        data = made(
            "data=class_folders",
            f"data.root={tmp_path}/own",
            "data.images_per_class=4",
            f"data.store={store}",
        )
        found = [id_ for split in ("train", "val") for id_ in data.open(split).ids]
        asked = [id_ for split in ("train", "val") for id_ in data.sources[split].ids]
        assert found == [id_ for id_ in asked if id_ != "bee/3.png"]
        assert len(found) == len(asked) - 1 == 15
