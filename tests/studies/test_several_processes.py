"""Analyses that several processes share: the same bytes as by one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.commands import Commands
from tests.helpers.made_data import write_photos

JOBS = {
    "top_activations": ["layers=[conv1,conv5]", "channels=3", "k=2"],
    "sanity": ["layer=conv3", "channels=2", "k=2", "images=3"],
    "occlusion": ["images=2", "stride=24"],
    "invariance": ["images=3", "shifts=[0,20]", "scales=[1,1.3]", "angles=[0,40]"],
    "atlas": ["layers=[conv1,conv2]", "k=2", "contrast=2"],
    "ensemble": [],
    "layer_probe": ["images_per_class=[2]", "folds=2", "layers=[conv5,fc7]", "heads=[svm]"],
    "overlap": [],
}
FEW = ["data=creatures_few", "data.images_per_class=2", "data.test_per_class=2"]


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, commands: Commands
) -> Callable[[int], Path]:
    """Runs all jobs with so many processes, and returns the folder of their folders."""
    base = tmp_path_factory.mktemp("ranks")
    photos = write_photos(base / "photos", train=9, val=8)

    def words(name: str, folder: Path) -> list[str]:
        source = ["data.source.train=14", "data.source.val=150"]  # of three blocks
        own = {
            "layer_probe": [*FEW, "data.classes=[dog,car]"],
            "overlap": ["data=folder", f"data.root={photos}", "data.image_size=48"],
            "ensemble": [*source, f"cache={folder}/cache"],
        }
        ckpt = [] if name == "overlap" else [f"ckpt={checkpoint}"]
        stores = f"data.store_dir={base}/stores"
        return [f"analysis={name}", *ckpt, stores, *own.get(name, source), *JOBS[name]]

    def run(size: int) -> Path:
        folder = base / f"by_{size}"
        place = base / f"meet_{size}"
        jobs = [(words(name, folder), f"{folder}/{name}") for name in JOBS]
        place.with_name(f"{place.name}.json").write_text(json.dumps(jobs))
        done = commands.run("tests/helpers/ranks.py", [str(size), str(place)])
        assert done.status == 0, done.output + done.errors
        return folder

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_two_processes_write_the_bytes_of_one(made: Callable[[int], Path]) -> None:
    one, two = contents(made(1)), contents(made(2))
    assert {name.split("/")[0] for name in one} == {*JOBS, "cache"}
    assert list(one) == list(two)
    assert [name for name in one if one[name] != two[name]] == []
