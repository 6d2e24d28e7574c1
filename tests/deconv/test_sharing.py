"""Units of one image share its forward pass, and each has the projection that it has alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.deconv.common import noise, same
from tests.reference.nets import seeded
from zfnet.deconv import Deconvnet, Unit
from zfnet.deconv.crops import Crop
from zfnet.deconv.sharing import share_crops, share_passes


@settings(max_examples=30)
@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 8), st.integers(8, 16))
def test_every_unit_starts_once(images: list[int], at_least: int, at_most: int) -> None:
    """Every backward pass of a pass starts at the same images."""
    passes = list(share_passes(images, at_least, at_most))
    started = [unit for turns in passes for turn in turns for unit in turn]
    assert sorted(started) == list(range(len(images)))
    for turns in passes:
        assert len({tuple(images[unit] for unit in turn) for turn in turns}) == 1
        assert len(turns[0]) <= at_most
        assert len(turns) <= max(1, -(-len(images) // at_least))


class Attending(nn.Module):
    """Units that see everything: a gate, a pooling and a normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6)
        self.last, self.out = nn.Conv2d(6, 4, 3), nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = nn.functional.max_pool2d(x, 2) * x.mean((1, 2, 3), True).sigmoid()
        return self.out(self.last(x))


class Branching(nn.Module):
    """Units that see 6 x 6 pixels, at a distance of 2."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 2, 2), nn.Conv2d(6, 6, 3, padding=1)
        self.out = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        return self.out(x + self.last(x))


@pytest.mark.parametrize(("build", "size"), [(Attending, 10), (Branching, 20)])
def test_together_as_alone(build: type[nn.Module], size: int) -> None:
    """Ten units of two images, several at one place, and one image without any."""
    deconv, images = Deconvnet(seeded(build), seed="forced"), noise(3, size)
    channels, height, _ = deconv.units("out", size)
    units = [Unit(2 * (i % 3 == 0), i % channels, i // 5 % height, i // 5) for i in range(10)]
    alone = [deconv.patches(images, "out", [unit]) for unit in units]
    together = deconv.patches(images, "out", units)
    assert together.projections.any()
    same(together.projections, torch.cat([each.projections for each in alone]))
    same(together.values, torch.cat([each.values for each in alone]))
    same(
        deconv.project(images, "out", units),
        torch.cat([deconv.project(images, "out", [unit]) for unit in units]),
    )


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_every_unit_has_a_crop_that_holds_its_own(places: list[tuple[int, int, int]]) -> None:
    images, crops = [place[0] for place in places], [Crop(y, x, y + 8, x + 8) for _, y, x in places]
    shared = share_crops(images, crops)
    assert sorted(place for each in shared for place in each.places) == list(range(len(places)))
    for each in shared:
        for place in each.places:
            own = crops[place]
            assert images[place] == each.image
            assert each.crop.top <= own.top < own.bottom <= each.crop.bottom
            assert each.crop.left <= own.left < own.right <= each.crop.right


@pytest.mark.parametrize("relu", ["deconv", "guided"])
def test_neighbors_share_a_crop(relu: str) -> None:
    """Units around one place of one image, as from the whole image."""
    deconv, images = Deconvnet(seeded(Branching), relu=relu, seed="forced"), noise(2, 40)
    units = [Unit(0, i % 6, 5 + i % 3, 12 + i // 3) for i in range(9)] + [Unit(1, 0, 0, 19)]
    whole, values = deconv.project_general(images, "out", units)
    same(deconv.project(images, "out", units), whole)
    same(deconv.patches(images, "out", units).values, values.clamp(min=0))
