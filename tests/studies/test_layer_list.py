"""`analysis=layers` lists all layers, marks the default ones, and says how they project."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from zfnet.studies.inputs import load_model
from zfnet.studies.layer_list import LayerList

Compose = Callable[..., DictConfig]
NET = ("model=timm", "model.name=test_vit", "data.image_size=160", "data.source.val=2")


def test_layers_of_a_transformer(
    composed: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stores = f"data.store_dir={tmp_path / 'stores'}"
    with caplog.at_level("INFO"):
        LayerList().run(load_model(composed(*NET, stores, root="analyze")), tmp_path)
    result = json.loads((tmp_path / "layers.json").read_text())
    layers = {each["name"]: each for each in result["layers"]}
    assert result["defaults"] == [name for name, each in layers.items() if each["default"]]
    block = layers["blocks.5"]
    units = {"axes": "BTC", "prefix_tokens": 1, "channels": 64, "rows": 10, "columns": 10}
    assert block | units == block
    assert block["shape"] == [1, 101, 64]
    assert block["field"] == [160, 160]
    assert block["extended_rules"] == {"GELU": 6, "LayerNorm": 12, "attention": 6}
    assert any("* blocks.5" in line and "attention x 6" in line for line in caplog.messages)
