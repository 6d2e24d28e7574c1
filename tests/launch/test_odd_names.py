"""A run on photos whose names are no UTF-8, or markup, or formulas, with the default callbacks."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.commands import Ended


def test_a_run_on_names_that_are_no_text(command: Callable[..., Ended], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 4)):
        for number in range(count):
            label = (b"caf\xe9", b"$\\frac{<b>")[number % 2]
            name = b"%s/%s/sub/%02d\xff.png" % (split.encode(), label, number)
            path = tmp_path / "photos" / os.fsdecode(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(path)
    words = (
        f"data.root={tmp_path}/photos",
        f"hydra.run.dir={tmp_path}/out",
        "trainer.max_epochs=2",
    )
    done = command(*words, f"data.store_dir={tmp_path}/stores")
    assert done.status == 0, done.errors
    assert "Traceback" not in done.errors
    assert "Logging error" not in done.errors
    evolution = json.loads((tmp_path / "out/evolution.json").read_text())
    winners = {
        each["image"]
        for story in evolution.values()
        for one in story
        for each in one["maps"].values()
    }
    assert winners
    assert all(os.fsencode(id_).endswith(b"\xff.png") for id_ in winners)
