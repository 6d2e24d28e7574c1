"""The curves and the evolution of a run, up to the epoch of the checkpoint."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.atlas.conftest import SETTINGS
from zfnet.analysis.evolution import Winners
from zfnet.atlas.build import make_atlas
from zfnet.atlas.overview import Origin
from zfnet.atlas.run_files import RunFiles
from zfnet.atlas.tiles import projection_tiles
from zfnet.model_on_data import ModelOnData

GENERATOR = torch.Generator().manual_seed(0)
WINNERS = {1: "aaaaaaaa", 2: "aabaaaaa", 3: "abbaaaaa", 4: "abbbaaaa"}  # of 8 channels, by epoch


def winners(ids: str) -> Winners:
    """Of eight channels, of which 2 and 5 are drawn."""
    zeros = torch.zeros(8, dtype=torch.int64)
    projections = torch.randn(2, 1, 3, 7, 7, generator=GENERATOR).half()
    patches = torch.randint(256, (2, 1, 3, 7, 7), generator=GENERATOR, dtype=torch.uint8)
    channels = torch.tensor([2, 5])
    return Winners(list(ids), torch.arange(8.0), zeros, zeros, 9, channels, projections, patches)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run of four epochs."""
    folder = tmp_path / "run"
    (folder / "evolution").mkdir(parents=True)
    for epoch, ids in WINNERS.items():
        content = {
            "settings": {"layers": ["conv1"], "channels": 2, "share": 1.0},
            "winners": {"conv1": dict(vars(winners(ids)))},
        }
        torch.save(content, folder / "evolution" / f"epoch_{epoch:03d}.pt")
    history = [{"epoch": epoch, "train/loss": 1 / epoch} for epoch in WINNERS]
    (folder / "history.json").write_text(json.dumps(history))
    return folder


def test_what_the_run_did_later_is_left_out(run: Path) -> None:
    assert list(RunFiles(run).evolution()) == [1, 2, 3, 4]
    early = RunFiles(run, epochs=2)
    assert list(early.evolution()) == [1, 2]
    assert early.curves() == {"epochs": [1, 2], "curves": {"train/loss": [1, 0.5]}}


def test_without_a_run_nothing_is_known(tmp_path: Path) -> None:
    for files in (RunFiles(None), RunFiles(tmp_path)):
        assert (files.history(), files.curves(), files.evolution()) == ([], None, {})


def test_an_atlas_shows_the_evolution(run: Path, small_model: ModelOnData, tmp_path: Path) -> None:
    origin = Origin("a", checkpoint=run / "checkpoints" / "last.ckpt", epochs=3)
    folder = tmp_path / "net_1"
    overview = make_atlas(small_model, folder, origin, replace(SETTINGS, contrast=0), ["conv1"])
    assert overview["training"]["epochs"] == [1, 2, 3]
    units = json.loads((folder / "layer_0" / "layer.json").read_text())["units"]
    assert [unit["evolution"]["drawn"] for unit in units] == [n in (2, 5) for n in range(8)]
    assert units[2]["evolution"]["images"] == ["a", "b", "b"]
    text = (folder / "layer_0" / "summary.js").read_text()
    assert '"last_jump":[0,3,2,0,0,0,0,0]' in text
    stored = RunFiles(run).evolution()[3]["conv1"].projections[1]  # of channel 5
    sheet = np.asarray(Image.open(folder / "layer_0" / "evolution_5.webp"))
    assert sheet.shape == (14, 21, 3)
    assert np.array_equal(sheet[:7, 14:], projection_tiles(stored)[0])
