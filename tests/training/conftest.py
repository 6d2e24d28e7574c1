"""`python train.py` as real processes, on a few pictures with a narrow net."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from zfnet.data import Creatures

ROOT = Path(__file__).parents[2]
EDITS = [*(f"conv{i}:{{maps:8}}" for i in range(1, 6)), "fc6:{units:16}", "fc7:{units:16}"]
NARROW = f"{{{','.join(EDITS)}}}"
Start = Callable[..., subprocess.Popen[str]]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in the layout of data=folder: 32 for training, 13 for validation, four classes."""
    root = tmp_path_factory.mktemp("photos")
    for split, count in (("train", 32), ("val", 13)):
        source = Creatures(count, split=split, size=56)
        for i in range(count):
            path = root / split / source.classes[i % 4] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(source.read(i).permute(1, 2, 0).numpy()).save(path)
    return root


@pytest.fixture(scope="session")
def start(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts train.py on `photos` with a narrow net, in a working directory that stays empty."""
    elsewhere, stores = tmp_path_factory.mktemp("elsewhere"), tmp_path_factory.mktemp("stores")

    def begin(
        *overrides: str, narrow: bool = True, threads: int | None = 1, own_group: bool = False
    ) -> subprocess.Popen[str]:
        data = [f"data.root={photos}", f"data.store_dir={stores}", "data.image_size=48", "data.batch_size=8"]
        small = ["data=folder", *data, "trainer.max_epochs=3", "trainer.precision=32-true"]
        if narrow:
            small.append(f"model.edit={NARROW}")
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "CUDA_VISIBLE_DEVICES": ""}
        environment.pop("OMP_NUM_THREADS", None)
        if threads:
            environment["OMP_NUM_THREADS"] = str(threads)
        return subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *small, *overrides],
            cwd=elsewhere, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=own_group,
        )  # fmt: skip

    yield begin
    assert not list(elsewhere.iterdir())


@pytest.fixture(scope="session")
def command(start: Start) -> Run:
    """Runs train.py as `start` does, to its end."""

    def run(*overrides: str, **options: bool | int | None) -> subprocess.CompletedProcess[str]:
        with start(*overrides, **options) as process:
            try:
                output, errors = process.communicate(timeout=240)
            finally:
                process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    return run
