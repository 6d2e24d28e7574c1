"""A narrow, untrained net, saved as train.py saves, for the studies to look at."""

from pathlib import Path

import pytest
import torch

from zfnet.data import Creatures
from zfnet.training.checkpoint import build

EDIT = {**{f"conv{i}": {"maps": 8} for i in range(1, 6)}, "fc6": {"units": 16}, "fc7": {"units": 16}}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ZFNet for creatures of 48 pixels, cut from 55."""
    torch.manual_seed(3)
    words = {"architecture": "zfnet", "edit": EDIT, "init": "he", "pixels": "unit"}
    model = {"_target_": "zfnet.models.convnet", **words}
    card = {"model": model, "classes": list(Creatures.classes), "image_size": 48, "store_size": 55}
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    torch.save({"card": card, "state_dict": build(card).state_dict()}, path)
    return path
