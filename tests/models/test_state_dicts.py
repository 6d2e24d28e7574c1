"""Weights as other software writes them are found and unwrapped, or a message says why not."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from zfnet.errors import InputError
from zfnet.models import torchvision_model
from zfnet.models.state_dicts import strip_prefixes

NAME = "squeezenet1_1"


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return models.get_model(NAME, weights=None, num_classes=7).eval()


def saved(content: Any, path: Path) -> str:
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize(
    "keys", [[], ["state_dict"], ["model"], ["model_state_dict"], ["net"], ["state_dict", "model"]]
)
@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "_orig_mod.", "model.", "net.", "module._orig_mod.", "model.net.module."],
)
def test_what_is_wrapped_is_loaded(
    net: nn.Module, tmp_path: Path, keys: list[str], prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    content: Any = {f"{prefix}{name}": value for name, value in net.state_dict().items()}
    for key in reversed(keys):
        content = {"epoch": 3, key: content, "optimizer": {"lr": 0.1}}
    path = saved(content, tmp_path / "w.pt")
    with caplog.at_level(logging.INFO):
        loaded = torchvision_model(NAME, path, 7).eval()
    for name, value in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert (
        f"the state dict is under {'.'.join(keys)}, beside epoch, optimizer" in caplog.text
    ) == bool(keys)
    assert (f"the prefix {prefix} of its names is removed" in caplog.text) == bool(prefix)
    assert all(record.levelno == logging.INFO for record in caplog.records)


def test_the_exponential_average_is_named(
    net: nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = net.state_dict()
    path = saved({"model": state, "model_ema": state}, tmp_path / "w.pt")
    with caplog.at_level(logging.INFO):
        torchvision_model(NAME, path, 7)
    assert "under model, beside model_ema" in caplog.text
    with pytest.raises(InputError, match=r"w\.pt: not a state dict .*it has model_ema, epoch"):
        torchvision_model(NAME, saved({"model_ema": state, "epoch": 3}, tmp_path / "w.pt"), 7)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"state_dict": {"epoch": 3}}, "below state_dict it has epoch"),
        ({"state_dict": {}}, "not a state dict"),
        ({"state_dict": 5, "a": 1}, "it has state_dict, a"),
        ({}, "not a state dict"),
        ([1, 2], "not a state dict"),
        ({str(i): i for i in range(20)}, "and 12 more"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_no_state_dict_is_one_line(tmp_path: Path, content: Any, says: str) -> None:
    with pytest.raises(InputError) as error:
        torchvision_model(NAME, saved(content, tmp_path / "w.pt"), 7)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_prefix_is_named(net: nn.Module, tmp_path: Path) -> None:
    state = {f"backbone.{name}": value for name, value in net.state_dict().items()}
    with pytest.raises(
        InputError,
        match=r"holds backbone\.classifier\.1\.bias .*its own are called features\.0\.weight",
    ):
        torchvision_model(NAME, saved(state, tmp_path / "w.pt"), 7)
    mixed = {
        f"{'model.' if 'features' in name else 'head.'}{name}": v
        for name, v in net.state_dict().items()
    }
    with pytest.raises(InputError, match=r"holds head\.classifier"):
        torchvision_model(NAME, saved(mixed, tmp_path / "w.pt"), 7)


def test_a_nets_own_names_stay() -> None:
    """A net whose own names begin with a known prefix."""
    state = {"model.weight": torch.zeros(1), "model.bias": torch.zeros(1)}
    assert strip_prefixes(state, ["model.weight", "model.bias"], "w.pt") == state
    wrapped = {f"model.{name}": value for name, value in state.items()}
    assert strip_prefixes(wrapped, ["model.weight", "model.bias"], "w.pt") == state
