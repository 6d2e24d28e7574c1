"""Fixtures: `python train.py` on a few images, as a fork (`command`) or a process (`start`)."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.commands import ROOT, Commands, Ended, environment
from tests.helpers.made_data import write_photos

EDITS = [*(f"conv{i}:{{channels:8}}" for i in range(1, 6)), "fc6:{units:16}", "fc7:{units:16}"]
NARROW = f"{{{','.join(EDITS)}}}"
Start = Callable[..., subprocess.Popen[str]]
Run = Callable[..., Ended]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in the layout of data=folder: 32 for training, 13 for validation, four classes."""
    return write_photos(tmp_path_factory.mktemp("photos"), train=32, val=13)


@pytest.fixture(scope="session")
def common_words(
    photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., list[str]]:
    """What every run of train.py has here: `photos`, three epochs, and a narrow net or not."""
    stores = tmp_path_factory.mktemp("stores")
    data = [
        f"data.root={photos}",
        f"data.store_dir={stores}",
        "data.image_size=48",
        "data.batch_size=8",
    ]
    small = ["data=folder", *data, "trainer.max_epochs=3", "trainer.precision=32-true"]
    return lambda narrow=True: [*small, *([f"model.edit={NARROW}"] if narrow else [])]


@pytest.fixture(scope="session")
def start(common_words: Callable[..., list[str]], elsewhere: Path) -> Start:
    """Starts train.py as a process that can be watched and killed, with so many threads an
    operation."""

    def begin(
        *overrides: str, narrow: bool = True, threads: int | None = 1, own_group: bool = False
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *common_words(narrow), *overrides],
            cwd=elsewhere, env=environment(threads), start_new_session=own_group,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return begin


@pytest.fixture(scope="session")
def command(common_words: Callable[..., list[str]], commands: Commands) -> Run:
    """Runs train.py to its end."""
    return lambda *overrides, narrow=True: commands.run(
        "train.py", [*common_words(narrow), *overrides]
    )
