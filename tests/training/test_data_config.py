"""What a checkpoint says of its data set is plain, whole, and free of what is the machine's."""

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from zfnet.data import datasets
from zfnet.launch.project import config_folder
from zfnet.training.data_config import SOURCES, checked_data, describe_data, linked_data

Compose = Callable[..., DictConfig]
CHOICES = sorted(path.stem for path in (config_folder() / "data").glob("*.yaml"))
NEEDS_ROOT = ("class_folders", "csv", "folder", "parquet", "photos", "webdataset")
WHOLE = [name for name in CHOICES if name not in ("images", "few_per_class")]


def described(config: DictConfig) -> dict[str, object]:
    return describe_data(OmegaConf.to_container(config.data, resolve=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", WHOLE)
def test_every_choice_comes_back(composed: Compose, name: str) -> None:
    """Described, checked and linked, it is conf/data's again, but for the machine's and the run's
    own keys."""
    asked = composed(
        f"data={name}",
        *(["data.root=/photos"] if name in NEEDS_ROOT else []),
        *(["data.dataset=owner/name"] if name == "huggingface" else []),
    )
    found = linked_data(checked_data(described(asked), "a.ckpt", trust=[]))
    before = OmegaConf.to_container(asked.data, resolve=False)
    assert isinstance(before, dict)
    shared = {"batch_size", "crops", "store", "store_dir", "seed"}
    shared |= {
        "channels",
        "dtype",
        "channels_shown",
        "store_format",
    }  # left out where they have their defaults
    assert set(found) == set(before) - shared
    assert found["source"] == before["source"]
    values = OmegaConf.to_container(asked.data, resolve=True)
    assert isinstance(values, dict)
    assert {key: found[key] for key in found if key != "source"} == {
        key: values[key] for key in found if key != "source"
    }


def test_the_table_has_every_source_of_conf() -> None:
    named = {
        OmegaConf.load(config_folder() / "data" / f"{name}.yaml").get("source", {}).get("_target_")
        for name in WHOLE
    }
    assert named - {None} <= set(SOURCES)
    public = {name: getattr(datasets, name) for name in datasets.__all__}
    functions = {name for name, each in public.items() if inspect.isfunction(each)}
    assert {name.rpartition(".")[2] for name in SOURCES} == functions - {"modification_stamp"}


def test_paths_are_found_from_anywhere(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = described(composed("data=folder", "data.root=photos", "data.exclude=gone.csv"))
    assert (found["root"], found["exclude"]) == (f"{tmp_path}/photos", f"{tmp_path}/gone.csv")
    assert found["source"]["root"] == f"{tmp_path}/photos"  # type: ignore[index]


def test_a_root_of_the_source_alone_stays_its_own(composed: Compose) -> None:
    found = linked_data(described(composed("data=folder", "data.root=/a", "data.source.root=/b")))
    assert (found["root"], found["source"]["root"]) == ("/a", "/b")  # type: ignore[index]
