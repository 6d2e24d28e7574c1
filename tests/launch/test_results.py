"""A finished run says what it has written."""

import logging
from pathlib import Path

import pytest

from zfnet.launch.results import finish


def test_of_a_site_only_the_first_page_is_listed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (
        "checkpoints/last.ckpt",
        "evolution/conv1.png",
        "atlas/epoch_005/index.html",
        "atlas/epoch_005/net_1/overview.json",
        "atlas/epoch_005/net_1/layer_0/layer.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with caplog.at_level(logging.INFO):
        finish({"val/top1_error": 0.1}, tmp_path)
    assert caplog.messages[0].endswith(
        "atlas/epoch_005/index.html, checkpoints/last.ckpt, evolution/conv1.png, result.json"
    )
