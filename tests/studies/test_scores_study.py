"""`score=` on the command line, for a network that gives class maps."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.commands import Commands

SOURCE = ["data=creatures", "data.source.train=8", "data.source.val=6", "data.image_size=48"]
NET = ["model=custom", "model._target_=tests.models.test_scores.Segmenter"]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"data.store_dir={tmp_path_factory.mktemp('stores')}"


@pytest.mark.parametrize(
    ("analysis", "options", "figures"),
    [
        ("occlusion", ["images=1", "size=16", "stride=16"], ["occlusion.png"]),
        (
            "invariance",
            ["images=2", "shifts=[0,8]", "scales=[1]", "angles=[0]", "layers=[body.1,head]"],
            ["invariance.png"],
        ),
        ("sanity", ["k=2", "images=2"], ["sanity.png"]),
        ("top_activations", ["k=2"], ["score.png"]),
    ],
)
@pytest.mark.parametrize("score", ["class 2@20,30", "tests.models.test_scores.mean_of_maps"])
def test_an_analysis_of_a_score(
    commands: Commands, tmp_path: Path, stores: str, analysis: str, options: list[str],
    figures: list[str], score: str,
) -> None:  # fmt: skip
    given = [*SOURCE, *NET, stores, f"analysis={analysis}", f"paths.log_dir={tmp_path}", "name=a"]
    ended = commands.run("analyze.py", [*given, *options, f"score={score}"])
    assert ended.status == 0, ended.errors
    folder = tmp_path / "analysis" / "a"
    assert json.loads((folder / f"{analysis}.json").read_text())["score"] == score
    for figure in figures:
        with Image.open(folder / figure) as image:
            image.load()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "gives no (B, classes), but {'out': (1, 4, 24, 24)}: give score=3"),
        (["score=cat@1,2"], "'cat' is no class; some are 0 (class 0), 1 (class 1), 2 (class 2)"),
        (["score=1@48,0"], "pixel 48,0 is outside of the image of 48 x 48 pixels"),
        (["score=1@nothing.png"], "nothing.png is no image"),
        (["score=no.such.function"], "neither a class of the network, nor CLASS@ROW,COLUMN"),
    ],
)
def test_a_bad_score_is_one_line(
    commands: Commands, tmp_path: Path, stores: str, options: list[str], said: str
) -> None:
    given = [*SOURCE, *NET, stores, "analysis=occlusion", f"paths.log_dir={tmp_path}", "images=1"]
    ended = commands.run("analyze.py", [*given, "size=16", "stride=16", *options])
    assert (ended.status != 0, said in ended.errors + ended.output) == (True, True), ended.errors
