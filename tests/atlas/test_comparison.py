"""Two atlases of the same images: channels are found again where they were moved to."""

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.atlas.conftest import SETTINGS
from zfnet.analysis import match_channels
from zfnet.atlas.build import make_atlas
from zfnet.atlas.comparison import compare_networks
from zfnet.atlas.overview import Origin
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData

LAYERS = ["conv2", "conv3"]


@pytest.fixture(scope="module")
def order() -> torch.Tensor:
    return torch.tensor([3, 0, 7, 1, 2, 6, 4, 5])


@pytest.fixture(scope="module")
def site(
    small_model: ModelOnData, order: torch.Tensor, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    """A net, and the same net with the channels of conv3 in another order."""
    folder, moved = tmp_path_factory.mktemp("two"), deepcopy(small_model.net)
    modules = dict(moved.named_modules())
    with torch.no_grad():
        for parameter in modules["conv3.conv"].parameters():
            parameter.copy_(parameter[order])
        modules["conv4.conv"].weight.copy_(modules["conv4.conv"].weight[:, order])
    nets = [small_model, replace(small_model, net=moved)]
    overviews = [
        make_atlas(net, folder / f"net_{number}", Origin(f"{number}"), SETTINGS, LAYERS)
        for number, net in enumerate(nets, start=1)
    ]
    compare_networks(folder, overviews)
    return folder, overviews


def activations(folder: Path, net: int, layer: int) -> torch.Tensor:
    return torch.from_numpy(np.load(folder / f"net_{net}" / f"layer_{layer}" / "activations.npy"))


def test_a_moved_channel_is_found_again(site: tuple[Path, Any], order: torch.Tensor) -> None:
    folder, _ = site
    found = json.loads((folder / "compare.json").read_text())
    assert found["images"] == 14
    same, moved = found["pairs"]
    assert (same["layers"], moved["layers"]) == ([0, 0], [1, 1])
    alive = [bool(each) for each in activations(folder, 1, 1).std(0) > 0]
    places = torch.argsort(order).tolist()
    for channel, (partner, score) in enumerate(zip(moved["partner"], moved["score"], strict=True)):
        if alive[channel]:
            assert partner == places[channel]
            assert score == pytest.approx(1, abs=1e-5)
        else:
            assert (partner, score) == (-1, None)
    assert moved["cka"] == pytest.approx(1)
    assert found["cka"][0][0] == pytest.approx(1)


def test_the_partners_are_those_of_the_matching(site: tuple[Path, Any]) -> None:
    folder, _ = site
    pair = json.loads((folder / "compare.json").read_text())["pairs"][0]
    matching = match_channels(activations(folder, 1, 0), activations(folder, 2, 0))
    assert pair["partner"] == matching.partners.tolist()
    assert pair["status"] == matching.status_a
    assert pair["counts"]["new"] == matching.status_b.count("new") == len(pair["new"])
    text = (folder / "compare.js").read_text()
    assert text.startswith('atlas.receive("compare.js",{"images":14,')


def test_other_images_are_not_compared(site: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, (one, other) = site
    fewer = other | {"data": other["data"] | {"images": 13}}
    with pytest.raises(InputError, match="were shown different images"):
        compare_networks(folder, [one, fewer])
