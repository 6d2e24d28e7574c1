"""An atlas whose making is killed again and again has the bytes of one that was never killed."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.commands import Commands, Ended

KILLS = 20


@pytest.fixture
def make(
    commands: Commands, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path, float], Ended]:
    """Makes or continues an atlas in a folder, for so many seconds at most."""
    stores = tmp_path_factory.getbasetemp() / "stores"
    words = [
        *("analysis=atlas", f"ckpt={checkpoint}", "data.source.val=40", "k=3", "contrast=2"),
        *(f"data.store_dir={stores}", "name=a", "resume=true"),
    ]

    def run(folder: Path, patience: float) -> Ended:
        return commands.run("analyze.py", [*words, f"paths.log_dir={folder}"], patience)

    return run


def contents(folder: Path) -> dict[str, bytes]:
    site = folder / "analysis" / "a"
    return {
        path.relative_to(site).as_posix(): path.read_bytes()
        for path in sorted(site.rglob("*"))
        if path.is_file() and ".hydra" not in path.parts and path.suffix not in (".log", "")
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_twenty_times(make: Callable[[Path, float], Ended], tmp_path: Path) -> None:
    ended = make(tmp_path / "first", 240)  # builds the store of images
    assert ended.status == 0, ended.errors
    start = time.monotonic()
    ended = make(tmp_path / "whole", 240)
    seconds, whole = time.monotonic() - start, contents(tmp_path / "whole")
    assert whole == contents(tmp_path / "first")
    dice, kills, number = random.Random(0), 0, 0
    while kills < KILLS:
        folder = tmp_path / f"killed {number}"
        while (ended := make(folder, dice.uniform(0.1, 0.9) * seconds)).status is None:
            kills += 1
        assert ended.status == 0, ended.errors
        assert contents(folder) == whole
        number += 1
