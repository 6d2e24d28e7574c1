"""What the definition implies: linear in the seed, W₁ at layer 1, pools as their switches."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.deconv.common import (
    LAYERS,
    activations,
    both,
    general,
    lively,
    narrow,
    noise,
    same,
    values_of,
)
from tests.reference.nets import seeded
from zfnet.deconv import Deconvnet, Unit
from zfnet.models import ConvNet


@pytest.fixture(scope="module", params=["zfnet", "alexnet"])
def net(request: pytest.FixtureRequest) -> ConvNet:
    return narrow(request.param)


@settings(max_examples=15)
@given(
    k=st.floats(0.01, 100),
    layer=st.sampled_from(["conv1", "conv2", "conv3", "conv5", "fc6"]),
    relu=st.sampled_from(["deconv", "guided", "gradient"]),
)
def test_k_times_the_unit_is_k_times_the_projection(k: float, layer: str, relu: str) -> None:
    """(b) The unit's bias moves its activation a to k a, and nothing else on the way down."""
    net, images = narrow(), noise(1)
    (unit, *_) = lively(net, images, layer)
    projection = both(Deconvnet(net, relu=relu), images, layer, [unit])
    a = activations(net, images, layer, [unit]).item()
    stage = net.get_submodule(layer)
    with torch.no_grad():
        (stage.linear if hasattr(stage, "linear") else stage.conv).bias[unit.channel] += (k - 1) * a
    same(both(Deconvnet(net, relu=relu), images, layer, [unit]), k * projection)


@pytest.mark.parametrize(
    "layer", ["conv1", "conv3.conv", "conv2.pool", "conv2.norm", "conv5", "fc6", "fc8"]
)
@pytest.mark.parametrize(
    "options", [{}, {"relu": "guided"}, {"unpool": "overwrite"}, {"unpool": "center"}]
)
def test_nothing_projects_to_nothing(net: ConvNet, layer: str, options: dict[str, str]) -> None:
    """(c) Exactly 0 for a unit that is not active, beside some that are."""
    images = noise()
    stage = net.get_submodule(layer.split(".")[0])
    bias = (stage.linear if hasattr(stage, "linear") else stage.conv).bias
    kept = bias.detach().clone()
    try:
        bias.data[3] = -1e3
        units = [*lively(net, images, layer), Unit(1, 3), Unit(0, 3)]
        projections = both(Deconvnet(net, **options), images, layer, units)
        maps = Deconvnet(net, **options).project_channel(images, layer, 3)
    finally:
        bias.data.copy_(kept)
    assert projections[:-2].any()
    assert not projections[-2:].any()
    assert not maps.any()


@pytest.mark.parametrize("name", ["zfnet", "alexnet"])
def test_layer_1_shows_its_filter(name: str) -> None:
    """(e) a W₁[c] where the window lies, cut at the border; 0 elsewhere."""
    net, images = narrow(name), noise()
    conv, units = net.conv1.conv, lively(net, images, "conv1")
    (side, _), (stride, _), (padding, _) = conv.kernel_size, conv.stride, conv.padding
    projections = both(Deconvnet(net), images, "conv1", units)
    values = activations(net, images, "conv1", units)
    for unit, projection, a in zip(units, projections, values, strict=True):
        canvas = torch.zeros(3, 200, 200, dtype=torch.float64)
        canvas[:, unit.y * stride :, unit.x * stride :][:, :side, :side] = (
            a * conv.weight[unit.channel].detach()
        )
        height, width = images.shape[2:]
        same(projection, canvas[:, padding : padding + height, padding : padding + width])


@pytest.mark.parametrize("layer", ["conv1", "conv2", "conv5"])
def test_a_pool_unit_is_the_unit_its_switch_names(net: ConvNet, layer: str) -> None:
    """(f) Same activation, same projection."""
    images = noise()
    pool = net.get_submodule(layer).pool
    rectified = values_of(net, images, layer)
    pooled, switches = F.max_pool2d(
        rectified, pool.kernel_size, pool.stride, ceil_mode=True, return_indices=True
    )
    units = lively(net, images, f"{layer}.pool")
    named = []
    for unit in units:
        y, x = divmod(int(switches[unit.image, unit.channel, unit.y, unit.x]), rectified.shape[3])
        assert (
            rectified[unit.image, unit.channel, y, x]
            == pooled[unit.image, unit.channel, unit.y, unit.x]
            > 0
        )
        named.append(Unit(unit.image, unit.channel, y, x))
    same(
        both(Deconvnet(net), images, f"{layer}.pool", units),
        both(Deconvnet(net), images, layer, named),
    )


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 3), (2, 3), (1, 2)])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_without_overlap_unpooling_is_torchs(kernel: int, stride: int, ceil_mode: bool) -> None:
    """(g) sum = overwrite = max_unpool2d, for a whole map and unit by unit."""
    pool = nn.MaxPool2d(kernel, stride, ceil_mode=ceil_mode, return_indices=True)
    conv, images = seeded(lambda: nn.Conv2d(3, 4, 3)), noise(2, 13)
    assert isinstance(conv, nn.Conv2d)
    net = nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(kernel, stride, ceil_mode=ceil_mode))
    rectified = conv(images).relu().detach()
    pooled, switches = pool(rectified)

    def by_torch(seed: Tensor) -> Tensor:
        unpooled = F.max_unpool2d(seed, switches, kernel, stride, output_size=rectified.shape)
        return F.conv_transpose2d(unpooled, conv.weight).detach()

    whole = torch.zeros_like(pooled)
    whole[:, 2] = pooled[:, 2]
    single = torch.zeros_like(pooled)
    single[0, 1, 2, 1] = pooled[0, 1, 2, 1]
    for unpool in ("sum", "overwrite"):
        deconv = Deconvnet(net, unpool=unpool)
        same(deconv.project_channel(images, "2", 2), by_torch(whole))
        same(both(deconv, images, "2", [Unit(0, 1, 2, 1)]), by_torch(single)[:1])


@pytest.mark.parametrize("layer", LAYERS)
def test_the_same_bits_again(net: ConvNet, layer: str) -> None:
    """(h) Overlapping windows and many units at once add up in one order."""
    images = noise()
    units = lively(net, images, layer) * 3

    def run() -> list[Tensor]:
        deconv = Deconvnet(net)
        projections = deconv.project(images, layer, units)
        return [
            projections,
            general(deconv, images, layer, units),
            deconv.project_channel(images, layer, 1),
        ]

    for first, second in zip(run(), run(), strict=True):
        assert torch.equal(first, second)
