"""`axes=` on the command line: analyses of a layer whose axes are not recognized."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from tests.helpers.commands import Commands
from zfnet.config import Analysis, check_config
from zfnet.errors import InputError
from zfnet.studies.inputs import load_model

Compose = Callable[..., DictConfig]
SOURCE = ["data=creatures", "data.source.train=8", "data.source.val=6", "data.image_size=24"]
NET = ["model=custom", "model._target_=tests.models.test_given_axes.Columns"]
GIVEN = "axes={act:BTC@1+12x12}"


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"data.store_dir={tmp_path_factory.mktemp('stores')}"


@pytest.mark.parametrize(
    ("analysis", "options", "figure"),
    [
        ("top_activations", ["layers=[act]", "k=2"], "act.png"),
        ("occlusion", ["layer=act", "images=1", "size=12", "stride=12"], "occlusion.png"),
        ("layers", [], None),
    ],
)
def test_an_analysis(
    commands: Commands, tmp_path: Path, stores: str, analysis: str, options: list[str],
    figure: str | None,
) -> None:  # fmt: skip
    given = [*SOURCE, *NET, stores, f"analysis={analysis}", f"paths.log_dir={tmp_path}", "name=a"]
    ended = commands.run("analyze.py", [*given, *options, GIVEN])
    assert ended.status == 0, ended.errors
    folder = tmp_path / "analysis" / "a"
    result = json.loads((folder / f"{analysis}.json").read_text())
    if figure:
        with Image.open(folder / figure) as image:
            image.load()
    if analysis == "layers":
        (entry,) = (each for each in result["layers"] if each["name"] == "act")
        units = {"axes": "BTC", "prefix_tokens": 1, "channels": 5, "rows": 12, "columns": 12}
        assert entry | units == entry


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ("{acts:BHWC}", "layer 'acts' is not in Columns"),
        ("{act:HWC}", "axes 'HWC': give BCHW, BHWC, BC, or for tokens"),
        ("{act:BTC}", "axes 'BTC': the tokens need a grid: give BTC@14x14"),
        ("{1.10:BHWC}", r"axes=\{1.1:BHWC\}: the name of the layer looks like a number"),
        ("BHWC", r"axes=BHWC: a mapping {...} or null is needed"),
        ("{act:3}", r"axes\.act=3: a string is needed"),
    ],
)
def test_bad_axes(composed: Compose, stores: str, axes: str, said: str) -> None:
    config = composed("analysis=layers", *SOURCE, *NET, stores, f"axes={axes}", root="analyze")
    with pytest.raises(InputError, match=said):
        _load(config)


def _load(config: DictConfig) -> None:
    check_config(config, Analysis)
    load_model(config)


def test_names_of_layers(composed: Compose) -> None:
    words = "axes={a.b.0:BHWC,3:BCHW,blocks.3:BTC@1+14x14+2}"
    config = composed("analysis=layers", "data=creatures", words, root="analyze")
    check_config(config, Analysis)
    axes = {"a.b.0": "BHWC", 3: "BCHW", "blocks.3": "BTC@1+14x14+2"}
    assert OmegaConf.to_container(config.axes) == axes
