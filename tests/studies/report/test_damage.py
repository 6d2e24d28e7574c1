"""Files of any shape beside good ones: a line each, no traceback, nothing executed."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.studies.report.conftest import RunFolders
from tests.studies.report.written import errors, grid, report, table
from zfnet.studies.report.discovery import find_runs
from zfnet.studies.report.images import Album
from zfnet.studies.report.runs import RunIndex

SHAPES: list[Any] = [
    *(
        None,
        1,
        "word",
        [],
        {},
        [[]],
        [None],
        {"a": None},
        {"layers": 3},
        {"layers": {"a": {"b": 1}}},
    ),
    *(
        {"jobs": [1]},
        {"hydra": []},
        {"val/top1_error": "0.1"},
        {"val/top1_error": [0.1]},
        {"seconds": "1"},
    ),
    *(
        {"val/average_precision": 0.5},
        {"val/average_precision": {"a": "b"}},
        {"val/average_precision": {}},
    ),
    *({"data": {"images_per_class": "k"}}, {"model": 1, "ckpt": {"a": 1}}, {"data": {"root": 3}}),
    *({"rows": [{"nets": "ab"}]}, {"images": [{}]}, {"layers": {}, "numbers": {}, "images": []}),
    {"layers": {"a": {"svm": {"x": {"folds": [1]}}}}, "numbers": {}},
    {"layers": {"a": {"svm": {"5": {"folds": []}}}}, "numbers": {"a": None}},
]
BYTES = [
    b"",
    b"\xff\xfe",
    b"{",
    b"[" * 3_000,
    b"1e999",
    b"NaN",
    b"a: &b [*b]",
    b"a: !!python/name:os.system x",
]


def whole(runs: RunFolders) -> list[Path]:
    """A run of every kind, as it should be; the files that a report reads of them."""
    run = runs.train("sweep/a", "model=zfnet", result=errors(0.1))
    (run / "history.json").write_text(json.dumps([{"epoch": 1, "val/top1_error": 0.5}]))
    runs.sweep("sweep", "python train.py seed=1", [{"folder": "a", "state": "finished"}])
    words = ("data=voc2012", "transfer=frozen", "ckpt=a")
    voc = runs.train("voc", *words, result={"val/average_precision": {"bird": 0.5, "cat": None}})
    few = (
        "data=caltech101",
        "transfer=frozen",
        "ckpt=a",
        "data.images_per_class=15",
        "data.fold=0",
    )
    transfer = runs.train("few", *few, result={"val/class_accuracy": 0.5})
    names = (
        "correspondence",
        "ensemble",
        "filters",
        "invariance",
        "layer_probe",
        "occlusion",
        "sanity",
    )
    names += ("overlap", "top_activations")
    folders = {
        name: runs.analysis(name, f"analysis={name}", "ckpt=a", numbers={}) for name in names
    }
    paths = [folder / f"{name}.json" for name, folder in folders.items()]
    paths += [each / "result.json" for each in (run, voc, transfer)]
    paths += [run / "history.json", runs.root / "sweep" / "sweep.json"]
    return paths + [transfer / ".hydra" / name for name in ("config.yaml", "hydra.yaml")]


def test_any_content_in_every_file(runs: RunFolders, tmp_path: Path) -> None:
    grid(runs, "zfnet")
    kinds = [path.relative_to(runs.root) for path in whole(RunFolders(runs.root / "good"))]
    for number, content in enumerate([*(json.dumps(each).encode() for each in SHAPES), *BYTES]):
        copy = shutil.copytree(runs.root / "good", runs.root / f"shape{number}")
        for config in copy.rglob("config.yaml"):
            config.write_text(config.read_text().replace("\nseed: 0\n", f"\nseed: {number}\n"))
        for path in kinds:
            (copy / path.relative_to("good")).write_bytes(content)
    shutil.rmtree(runs.root / "good")
    text = report(tmp_path / "report")
    assert table(text, "**Table 3 on creatures")["our model (as per Fig. 3)"][-1] == "3"
    problems = text.split("## Not finished")[1]
    for number in range(len(SHAPES) + len(BYTES)):
        assert f"outputs/shape{number}/" in problems
    assert problems.count("is damaged (") > 300


@pytest.mark.parametrize("name", ["config.yaml", "hydra.yaml"])
def test_yaml_runs_nothing(runs: RunFolders, tmp_path: Path, name: str) -> None:
    runs.train("good", "model=zfnet", result=errors(0.1))
    marker = tmp_path / "executed"
    for number, code in enumerate(
        [
            f"a: !!python/object/apply:os.system ['touch {marker}']",
            "a: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path "
            f"['{marker}']]",
            f"a: !!python/object/new:subprocess.Popen [['touch', '{marker}']]",
            "a: !!python/module:antigravity",
            "a: &a [1, 2]\nb: *a",
            "a: &a\n  b: *a",
        ]
    ):
        path = runs.train(f"bad{number}", f"seed={number}", result=errors(0.2)) / ".hydra" / name
        path.write_text(path.read_text() + code)
    found = find_runs(["outputs"])
    assert [run.folder.name for run in found.runs] == ["good"]
    assert len(found.problems) == 6
    assert all(len(problem.text.splitlines()) == 1 for problem in found.problems)
    assert not marker.exists()


def test_names_that_are_not_utf8(runs: RunFolders, tmp_path: Path) -> None:
    grid(runs, "zfnet")
    runs.train(os.fsdecode(b"caf\xe9"), "model=zfnet", result=errors(0.2))
    assert "caf\ufffd" in report(tmp_path / "report")


def test_only_png_and_jpeg_are_shown(tmp_path: Path) -> None:
    """By what a file holds: a JPEG in a .png is one; GIF, SVG and HTML are none, and no text of a
    PNG is kept."""
    image = Image.effect_noise((40, 20), 60).convert("RGB")
    found = RunIndex()
    album = Album(tmp_path / "images", found)
    image.save(tmp_path / "photo.png", "jpeg", comment=b"<script>")
    image.save(tmp_path / "animation.png", "gif")
    (tmp_path / "drawing.png").write_text(
        "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    )
    (tmp_path / "page.png").write_bytes(b"\x89PNG\r\n\x1a\n<script>alert(1)</script>")
    (tmp_path / "folder.png").mkdir()
    shown = album.add(tmp_path / "photo.png", "")
    assert shown is not None
    assert b"<script>" not in shown.data
    assert shown.data.startswith({"png": b"\x89PNG", "jpeg": b"\xff\xd8"}[shown.format])
    for name in ("animation", "drawing", "page", "folder", "absent"):
        assert album.add(tmp_path / f"{name}.png", "") is None
    assert len(found.problems) == 5
    (tmp_path / '"](x) <b>.png').write_bytes((tmp_path / "photo.png").read_bytes())
    odd = album.add(tmp_path / '"](x) <b>.png', "")
    assert odd is not None
    assert odd.name.startswith("02--x-b-.")
