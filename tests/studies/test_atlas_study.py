"""`analysis=atlas` from checkpoints to pages, and its errors."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.helpers.commands import Commands, Ended
from zfnet.studies.atlas import epochs_seen

RESUMED = "is complete"


@pytest.fixture
def run(
    commands: Commands, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Ended]:
    """Runs the analysis with one image of each of two channels."""
    stores = tmp_path_factory.getbasetemp() / "stores"
    usual = [
        *("analysis=atlas", "data.source.val=14", f"data.store_dir={stores}", "name=a", "k=1"),
        *("contrast=1", "layers=[conv1,conv3]", f"paths.log_dir={tmp_path}"),
    ]
    return lambda *words: commands.run("analyze.py", [*usual, *words])


@pytest.fixture
def two(checkpoint: Path, tmp_path: Path) -> list[Path]:
    """The same checkpoint in two runs."""
    paths = [tmp_path / name / "checkpoints" / "last.ckpt" for name in ("one", "two")]
    for path in paths:
        path.parent.mkdir(parents=True)
        shutil.copy(checkpoint, path)
    return paths


def test_two_networks_are_compared(
    run: Callable[..., Ended], two: list[Path], tmp_path: Path
) -> None:
    ended = run(f"ckpt=[{two[0]},{two[1]}]")
    assert ended.status == 0, ended.errors
    folder = tmp_path / "analysis" / "a"
    page = (folder / "index.html").read_text()
    assert '"title":"one"' in page
    assert '"title":"two"' in page
    pairs = json.loads((folder / "compare.json").read_text())["pairs"]
    assert [pair["layers"] for pair in pairs] == [[0, 0], [1, 1]]
    again = run(f"ckpt=[{two[0]},{two[1]}]", "resume=true")
    assert again.status == 0
    assert (again.errors + again.output).count(RESUMED) == 2


def test_epochs_of_one_run_have_their_own_titles(
    run: Callable[..., Ended], two: list[Path], tmp_path: Path
) -> None:
    earlier = shutil.copy(two[0], two[0].with_name("epoch_005.ckpt"))
    assert run(f"ckpt=[{earlier},{two[0]}]").status == 0
    page = (tmp_path / "analysis" / "a" / "index.html").read_text()
    assert '"title":"one, epoch_005"' in page
    assert '"title":"one, last"' in page


def test_a_checkpoint_says_its_epoch(checkpoint: Path, tmp_path: Path) -> None:
    assert epochs_seen(checkpoint) is None
    saved = torch.load(checkpoint, weights_only=True) | {"epoch": 4}
    torch.save(saved, tmp_path / "epoch_005.ckpt")
    assert epochs_seen(tmp_path / "epoch_005.ckpt") == 5


def test_three_networks_are_one_line(run: Callable[..., Ended], two: list[Path]) -> None:
    ended = run(f"ckpt=[{two[0]},{two[1]},{two[0]}]")
    assert ended.status != 0
    assert "an atlas shows one network or two, not 3" in ended.errors + ended.output


def test_an_unknown_layer_is_one_line(run: Callable[..., Ended], two: list[Path]) -> None:
    ended = run(f"ckpt={two[0]}", "layers=[conv9]")
    assert ended.status != 0
    assert "conv9" in ended.errors + ended.output
