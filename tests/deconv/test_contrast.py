"""Contrastive projections are p − ⟨p, m⟩ m / ⟨m, m⟩, in every way of computing."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from tests.deconv.common import lively, narrow, noise, same
from tests.reference import deconvnet as slow
from tests.reference.nets import seeded
from zfnet.deconv import Deconvnet, Unit
from zfnet.deconv.contrast import Contrast, subtract_shared
from zfnet.errors import InputError

CHANNELS = 5
SIDE = 15


def chain() -> nn.Sequential:
    first, last = nn.Conv2d(3, 6, 3), nn.Conv2d(6, CHANNELS, 3)
    return nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(3, 2), last, nn.ReLU())


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    """Units see 9 of 15 pixels. Channel 3 is never active, and channel 4 projects to 0."""
    net = seeded(chain)
    assert isinstance(net, nn.Sequential)
    with torch.no_grad():
        net[3].bias.fill_(10)
        net[3].bias[3] = -1e3
        net[3].weight[4] = -1
    return net


def defined(p: slow.Array, others: Sequence[slow.Array]) -> slow.Array:
    """The definition, for a projection and others that started with 1."""
    normed = [each / np.sqrt((each**2).sum()) for each in others if each.any()]
    if not normed:
        return p
    m = sum(normed) / len(normed)
    return p - (p * m).sum() / (m * m).sum() * m


def started(layers: dict[str, slow.Layer], unit: Unit, values: slow.Array) -> slow.Array:
    """The signal 1 at a unit."""
    start = np.zeros(values.shape)
    start[unit.channel, unit.y, unit.x] = 1
    return slow.down(layers, "4", start)


@pytest.mark.parametrize("k", [1, 3, 4, 99])
def test_the_definition(net: nn.Sequential, k: int) -> None:
    """K may be one, some, all others or more; in windows, and by autograd."""
    images, layers, expected = noise(2, SIDE), slow.described(net), []
    units = [Unit(1, 0, 0, 0), Unit(0, 1, 2, 1), Unit(0, 3, 2, 1), Unit(1, 2, 3, 3), Unit(0, 4)]
    deconv = Deconvnet(net, contrast=k, contrast_seed=7)
    for unit in units:
        values = slow.outputs(layers, images[unit.image])["4"]
        channels = deconv.contrast.others(unit.channel, CHANNELS)
        others = [started(layers, Unit(0, c, unit.y, unit.x), values) for c in channels]
        activation = max(values[unit.channel, unit.y, unit.x], 0)
        expected.append(defined(activation * started(layers, unit, values), others))
    projections = deconv.project(images, "4", units)
    same(projections, torch.from_numpy(np.stack(expected)))
    same(deconv.project_general(images, "4", units)[0], projections)
    assert not projections[2].any()
    assert projections[[0, 1, 3]].any(3).any(2).any(1).all()


def test_a_whole_channel(net: nn.Sequential) -> None:
    """The others start with the same values at the same positions."""
    images, layers, expected = noise(2, SIDE), slow.described(net), []
    deconv = Deconvnet(net, contrast=3)
    for image in images:
        values = slow.outputs(layers, image)["4"]
        projections = []
        for channel in [1, *deconv.contrast.others(1, CHANNELS)]:
            start = np.zeros(values.shape)
            start[channel] = values[1]
            projections.append(slow.down(layers, "4", start))
        expected.append(defined(projections[0], projections[1:]))
    same(deconv.project_channel(images, "4", 1), torch.from_numpy(np.stack(expected)))
    assert not deconv.project_channel(images, "4", 3).any()


class Residual(nn.Module):
    """Has a branch, so that units are projected from crops."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.pool, self.relu, self.last = nn.MaxPool2d(2), nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.first(x)))
        return self.last(x + self.second(x))


OTHER_NETS: dict[str, tuple[Callable[[], nn.Module], str, int, str]] = {
    "residual": (Residual, "last", 24, "deconv"),
    "residual, signed": (Residual, "last", 24, "gradient"),
    "tokens": (lambda: timm.create_model("test_vit"), "blocks.1", 160, "deconv"),
    "vectors": (narrow, "fc6", 79, "guided"),
}


@pytest.mark.parametrize("name", OTHER_NETS)
def test_other_networks(name: str) -> None:
    """From their plain projections, which other tests check."""
    build, layer, size, relu = OTHER_NETS[name]
    net, images = seeded(build), noise(2, size)
    forced = Deconvnet(net, relu, seed="forced")
    deconv = Deconvnet(net, relu, seed="forced", contrast=2, contrast_seed=1)
    channels, rows, columns = deconv.units(layer, size)
    units, expected = [Unit(1, 3, rows - 1, columns - 1), Unit(0, 0, rows // 2, 0)], []
    for unit in units:
        others = deconv.contrast.others(unit.channel, channels)
        beside = [Unit(unit.image, c, unit.y, unit.x) for c in [unit.channel, *others]]
        p, *rest = forced.project_general(images, layer, beside)[0].numpy()
        expected.append(defined(p, rest))
    projections = deconv.project(images, layer, units)
    same(projections, torch.from_numpy(np.stack(expected)))
    patches = deconv.patches(images, layer, units)
    energies = (each.square().sum((1, 2, 3)) for each in (patches.projections, projections))
    same(*energies)


def vectors(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, 8, 8, generator=generator, dtype=dtype)


def test_what_is_left_is_orthogonal_to_the_mean() -> None:
    p, *others = vectors(5)
    mean = sum((each / each.norm() for each in others), torch.zeros_like(p))
    left = subtract_shared(p, others)
    assert abs((left * mean).sum().item()) < 1e-12
    same(subtract_shared(left, others), left)


@pytest.mark.parametrize("scale", [1e-200, 3.0, 1e200])
def test_the_scale_of_the_others_does_not_count(scale: float) -> None:
    p, first, second = vectors(3)
    left = subtract_shared(p, [first, second])
    same(subtract_shared(p, [scale * first, second]), left)
    same(subtract_shared(scale * p, [first, second]), scale * left)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_what_is_0_but_for_rounding_is_0(dtype: torch.dtype) -> None:
    p, other = vectors(2, dtype)
    left = subtract_shared(p, [other, p / 3])
    assert left.dtype == dtype
    assert left.norm() > 0.1 * p.norm()
    assert not subtract_shared(0.3 * p, [p / 7]).any()  # p is a multiple of m
    assert not subtract_shared(0 * p, [other]).any()
    assert torch.equal(subtract_shared(p, [other, -(other / 3)]), p)  # m is 0
    assert torch.equal(subtract_shared(p, [0 * other]), p)
    assert torch.equal(subtract_shared(p, [0 * other, p, other]), subtract_shared(p, [p, other]))


def test_a_value_that_is_no_number_is_not_hidden() -> None:
    p, other = vectors(2)
    other[0, 1, 1] = torch.nan
    assert subtract_shared(p, [other]).isnan().all()


def test_the_sample_depends_on_the_seed_only() -> None:
    for channel in range(12):
        samples = [Contrast(k, seed=3).others(channel, 12) for k in (1, 5, 11, 50)]
        assert [len(each) for each in samples] == [1, 5, 11, 11]
        assert sorted([*samples[-1], channel]) == list(range(12))
        assert all(samples[-1][: len(each)] == each for each in samples)
    assert Contrast(5, seed=3).others(0, 12) != Contrast(5, seed=4).others(0, 12)


def test_the_same_bits_again_and_nothing_depends_on_other_units() -> None:
    net, images = narrow(), noise()
    units = lively(net, images, "conv3") * 2
    first, second = (Deconvnet(net, contrast=3).project(images, "conv3", units) for _ in range(2))
    assert torch.equal(first, second)
    same(Deconvnet(net, contrast=3).project(images, "conv3", units[2:3]), first[2:3])
    assert not Deconvnet(net, contrast=3).project(images, "conv3", []).numel()


def test_a_layer_of_one_channel_has_plain_projections() -> None:
    net, images = nn.Sequential(nn.Conv2d(3, 1, 3), nn.ReLU()).double().eval(), noise(1, 9)
    deconv, units = Deconvnet(net, contrast=16), [Unit(0, 0, 2, 3)]
    assert torch.equal(
        deconv.project(images, "1", units), Deconvnet(net).project(images, "1", units)
    )
    assert deconv.describe("1").startswith("contrastive projections, K = 0: ")


def test_figures_and_results_name_it() -> None:
    net = narrow()
    deconv = Deconvnet(net, contrast=16, contrast_seed=2)
    assert deconv.describe("conv2") == "contrastive projections, K = 11: ours, not the paper's"
    assert deconv.contrast.settings(256) == {"channels": 16, "seed": 2}
    assert Deconvnet(net, contrast=None).describe("conv2") == ""
    for count in (-1, 1.5, True, "16"):
        with pytest.raises(InputError, match=r"contrast=.*: the number of channels"):
            Deconvnet(net, contrast=count)  # type: ignore[arg-type]
