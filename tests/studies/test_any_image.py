"""Four bands, not square: from TIFF files to a net, its figures and its errors."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.helpers.commands import Commands
from tests.helpers.train_command import NARROW
from zfnet.training.checkpoint import load

SIZE = [48, 56]


@pytest.fixture(scope="module")
def bands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of four bands of 60 x 70 pixels: one is bright above, one below."""
    root, random = tmp_path_factory.mktemp("bands"), np.random.default_rng(0)
    for i in range(24):
        pixels = random.integers(0, 120, (60, 70, 4), dtype=np.uint8)
        pixels[slice(0, 30) if i % 2 else slice(30, 60)] += 100
        path = root / ("train" if i < 16 else "val") / ("above" if i % 2 else "below") / f"{i}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig")
    return root


@pytest.fixture(scope="module")
def words(bands: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [
        *("data=folder", f"data.root={bands}", f"data.image_size={SIZE}".replace(" ", "")),
        *("data.channels=4", f"data.store_dir={tmp_path_factory.mktemp('stores')}"),
    ]


@pytest.fixture(scope="module")
def trained(words: list[str], commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    options = ["trainer.max_epochs=1", "data.batch_size=8", "test=false", "callbacks=none"]
    given = [*words, *options, f"model.edit={NARROW}", f"paths.log_dir={folder}", "name=bands"]
    ended = commands.run("train.py", [*given, "logger=none", "trainer.precision=32-true"])
    assert ended.status == 0, ended.errors
    return folder / "train" / "bands" / "checkpoints" / "last.ckpt"


def test_the_net_takes_four_channels_and_the_shape(trained: Path) -> None:
    classifier = load(trained)
    config = classifier.model_config
    assert config is not None
    assert (config["channels"], config["image_size"], config["store_size"]) == (4, SIZE, [55, 64])
    assert classifier.prepare.mean.shape == (4, 55, 64)
    assert next(classifier.net.parameters()).shape[1] == 4


@pytest.mark.parametrize(
    ("analysis", "options", "figure"),
    [
        ("top_activations", ["layers=[conv1]", "channels=2", "k=2"], "conv1.png"),
        ("occlusion", ["images=1", "size=10", "stride=10", "layer=conv1"], "occlusion.png"),
        ("sanity", ["layer=conv1", "channels=2", "k=1"], "sanity.png"),
        ("invariance", ["images=1", "shifts=[0,8]", "scales=[1]", "angles=[0]"], "invariance.png"),
        ("filters", [], "filters.png"),
        ("doctor", [], "doctor.json"),
        ("atlas", ["layers=[conv1,conv5]", "k=1", "contrast=1"], "net_1/overview.json"),
    ],
)
def test_every_figure_is_drawn(
    trained: Path, commands: Commands, tmp_path: Path, words: list[str], analysis: str,
    options: list[str], figure: str,
) -> None:  # fmt: skip
    """The data set, its channels and its size are those of the checkpoint."""
    given = [f"analysis={analysis}", f"ckpt={trained}", f"paths.log_dir={tmp_path}", "name=a"]
    ended = commands.run("analyze.py", [*given, *options, words[-1]])
    assert ended.status == 0, ended.errors
    path = tmp_path / "analysis" / "a" / figure
    if path.suffix == ".png":
        with Image.open(path) as image:
            assert image.mode in ("RGB", "RGBA")
    else:
        assert json.loads(path.read_text())


def test_another_number_of_channels_is_one_line(
    trained: Path, commands: Commands, tmp_path: Path, words: list[str]
) -> None:
    line = "the net takes 4 channels, data has 3: data.channels=4"
    given = [f"ckpt={trained}", f"paths.log_dir={tmp_path}", "data.channels=3", words[-1]]
    ended = commands.run("analyze.py", ["analysis=doctor", *given])
    assert (ended.status != 0, line in ended.errors + ended.output) == (True, True)
    ended = commands.run("train.py", [*words[:-2], *given, "train=false", "logger=none"])
    assert (ended.status != 0, line in ended.errors + ended.output) == (True, True)


def test_files_of_another_number_of_bands_are_named(
    commands: Commands, tmp_path: Path, bands: Path
) -> None:
    given = ["data=folder", f"data.root={bands}", "data.image_size=48", "logger=none"]
    ended = commands.run("train.py", [*given, f"paths.log_dir={tmp_path}", "data.max_bad=2"])
    line = ".tif: has 4 channels, and data.channels=3 is wanted"
    assert (ended.status != 0, line in ended.errors + ended.output) == (True, True)
