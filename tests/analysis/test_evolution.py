"""Winners of an epoch, where they jump, and what a damaged file is."""

from typing import Any

import pytest
import torch

from zfnet.analysis.evolution import Winners, find_jumps, find_winners, read_evaluation, tell_story
from zfnet.deconv import Top


def winners(*images: int, channels: tuple[int, ...] = (0, 2), scale: float = 1.0) -> Winners:
    """Of a layer whose channels respond most to these images, at (y, x) = (channel, 1)."""
    count = len(images)
    ys = torch.arange(count)[:, None]
    values = scale * torch.arange(1.0, count + 1)[:, None]
    top = Top(values, torch.tensor(images)[:, None], ys, torch.ones_like(ys))
    projections = scale * torch.linspace(-1, 0.5, len(channels) * 12).view(len(channels), 3, 2, 2)
    patches = torch.linspace(0, 1, len(channels) * 12).view(len(channels), 3, 2, 2)
    ids = [f"{number}.jpg" for number in range(9)]
    return find_winners(top, ids, 9, torch.tensor(channels), projections, patches)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_winners_keep_their_projections_on_their_own_scale(scale: float) -> None:
    found = winners(4, 7, 4, scale=scale)
    assert found.ids == ["4.jpg", "7.jpg", "4.jpg"]
    assert (found.y.tolist(), found.x.tolist(), found.searched) == ([0, 1, 2], [1, 1, 1], 9)
    assert found.values.tolist() == pytest.approx([scale, 2 * scale, 3 * scale])
    assert found.projections.shape == found.patches.shape == (2, 1, 3, 2, 2)
    assert found.projections.abs().amax((1, 2, 3, 4)).tolist() == [1, 1]
    own = torch.linspace(-1, 0.5, 24).view(2, 1, 3, 2, 2)
    own /= own.abs().amax((1, 2, 3, 4), keepdim=True)
    torch.testing.assert_close(found.projections.float(), own, rtol=0, atol=2**-11)
    assert (found.patches.min(), found.patches.max()) == (0, 255)


def test_a_projection_of_zeros_stays_zero() -> None:
    assert not winners(1, 1, 1, scale=0.0).projections.any()


def test_a_channel_jumps_where_another_image_wins() -> None:
    before, now = winners(4, 7, 4), winners(4, 5, 1)
    assert find_jumps(now, before).tolist() == [False, True, True]
    assert find_jumps(now, None).tolist() == [False] * 3
    story = tell_story({1: before, 5: now})
    assert [entry["epoch"] for entry in story] == [1, 5]
    assert [entry["changed"] for entry in story] == [None, pytest.approx(2 / 3)]
    assert story[1]["maps"] == {
        0: {"image": "4.jpg", "y": 0, "x": 1, "value": 1.0},
        2: {"image": "1.jpg", "y": 2, "x": 1, "value": 3.0},
    }


@pytest.mark.parametrize(
    "damage",
    [
        {"ids": ["4.jpg"]},
        {"ids": [1, 2, 3]},
        {"values": torch.tensor([1.0, float("nan"), 2.0])},
        {"y": torch.zeros(2)},
        {"channels": torch.tensor([0, 3])},
        {"channels": torch.tensor([-1, 0])},
        {"projections": torch.zeros(2, 1, 3, 2, 3)},
        {"patches": torch.zeros(1, 1, 3, 2, 2)},
        {"searched": "9"},
    ],
)
def test_a_damaged_evaluation_is_refused(damage: dict[str, Any]) -> None:
    found: dict[str, Any] = dict(vars(winners(4, 7, 4)))
    settings = {"layers": ["conv1"], "channels": 2}
    assert read_evaluation({"settings": settings, "winners": {"conv1": found}})[0] == settings
    with pytest.raises(ValueError, match="are"):
        read_evaluation({"settings": settings, "winners": {"conv1": found | damage}})
