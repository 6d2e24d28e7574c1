"""The paper's nets from every layer, by both paths; what may change between two calls."""

import pytest
import torch
from torch import nn

from tests.deconv.common import (
    LAYERS,
    SIZE,
    activations,
    both,
    lively,
    narrow,
    noise,
    same,
    values_of,
)
from zfnet.deconv import Deconvnet, Unit
from zfnet.models import ConvNet


@pytest.fixture(scope="module", params=["zfnet", "alexnet"])
def net(request: pytest.FixtureRequest) -> ConvNet:
    return narrow(request.param)


@pytest.mark.parametrize("layer", LAYERS)
def test_both_paths_agree(net: ConvNet, layer: str) -> None:
    """(a) On the paper's nets: strides, overlapping pools, normalization, groups, fully connected
    layers."""
    images = noise()
    units = lively(net, images, layer)
    assert (activations(net, images, layer, units) > 0).all()
    projections = both(Deconvnet(net), images, layer, units)
    assert projections.flatten(1).any(1).all()


@pytest.mark.parametrize("layer", ["conv1", "conv3", "conv5"])
def test_a_convolution_is_its_relu(net: ConvNet, layer: str) -> None:
    images = noise()
    sums = values_of(net, images, f"{layer}.conv")
    units = [*lively(net, images, layer), Unit(0, int(sums[0, :, 1, 2].argmin()), 1, 2)]
    assert (activations(net, images, f"{layer}.conv", units) < 0).any()
    projections = both(Deconvnet(net), images, layer, units)
    same(both(Deconvnet(net), images, f"{layer}.conv", units), projections)
    same(both(Deconvnet(net), images, f"{layer}.relu", units), projections)


def test_stages_are_their_units(net: ConvNet) -> None:
    images, deconv = noise(), Deconvnet(net)
    for stage, module in {"fc6": "fc6.relu", "fc7": "fc7.relu", "fc8": "fc8.linear"}.items():
        units = lively(net, images, stage)
        assert torch.equal(
            deconv.project(images, stage, units), deconv.project(images, module, units)
        )


def test_one_call_is_many(net: ConvNet) -> None:
    """Units of one image and of others, repeated and in any order, are as alone; 40 are more than
    one batch."""
    images = noise(3)
    deconv = Deconvnet(net)
    units = [Unit(n % 3, n % 12, n % 4, n * 7 % 4) for n in range(38)]
    units += units[:2]
    projections = both(deconv, images, "conv2.pool", units)
    for unit, projection in zip(units, projections, strict=True):
        alone = Unit(0, unit.channel, unit.y, unit.x)
        same(deconv.project(images[unit.image, None], "conv2.pool", [alone]), projection[None])


def test_no_units_no_projections(net: ConvNet) -> None:
    images = noise()
    assert Deconvnet(net).project(images, "conv3", []).shape == (0, 3, SIZE, SIZE)


def test_a_map_of_layer_1_is_the_sum_of_its_units() -> None:
    """Where no ReLU lies below, all is linear in the seed."""
    net, image = narrow(), noise(1)
    deconv = Deconvnet(net)
    units = [Unit(0, 3, y, x) for y in range(38) for x in range(38)]
    same(
        deconv.project_channel(image, "conv1", 3),
        deconv.project(image, "conv1", units).sum(0, keepdim=True),
    )


def test_a_map_of_one_unit_is_that_unit(net: ConvNet) -> None:
    images = noise()
    maps = Deconvnet(net).project_channel(images, "fc8", 2)
    same(maps, Deconvnet(net).project(images, "fc8", [Unit(0, 2), Unit(1, 2)]))


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate"])
@pytest.mark.parametrize("padding", ["same", "valid", (1, 2)])
def test_paddings_by_name(padding: str | tuple[int, int], padding_mode: str) -> None:
    """The adjoint of the padding belongs to the filter's: linear all the way, so it is the gradient
    times a."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, (3, 5), padding=padding, padding_mode=padding_mode, dtype=torch.float64)
    net, images = nn.Sequential(conv, nn.ReLU()), noise(1, 9).requires_grad_()
    values = net(images)
    (_, map, y, x) = (values == values.max()).nonzero()[0].tolist()
    units = [Unit(0, map, y, x), Unit(0, int(values[0, :, 0, 0].argmax()))]
    expected = [
        torch.autograd.grad(values[0, u.channel, u.y, u.x] ** 2 / 2, images, retain_graph=True)[0]
        for u in units
    ]
    same(both(Deconvnet(net), images, "1", units), torch.cat(expected))


def test_the_picture_follows_the_weights() -> None:
    """Weights that change between two calls, by each way that training and loading change them."""
    net, images = narrow(), noise()
    deconv, units = Deconvnet(net), lively(net, images, "conv3")
    deconv.project(images, "conv3", units)
    with torch.no_grad():
        net.conv2.conv.weight.mul_(-1.5)
    same(deconv.project(images, "conv3", units), Deconvnet(net).project(images, "conv3", units))
    net.conv1.conv.weight.data.mul_(-2)
    same(deconv.project(images, "conv3", units), Deconvnet(net).project(images, "conv3", units))
    net.load_state_dict(narrow().state_dict(), assign=True)
    same(deconv.project(images, "conv3", units), Deconvnet(net).project(images, "conv3", units))
    net.conv3.conv = nn.Conv2d(12, 10, 3, padding=1, dtype=torch.float64)
    same(deconv.project(images, "conv3", units), Deconvnet(net).project(images, "conv3", units))


def test_images_of_any_size_and_layout() -> None:
    """One Deconvnet, several sizes in turn, not square; channels last and views give the same
    projection."""
    net = narrow("alexnet")[:4]
    deconv = Deconvnet(net)
    for height, width in [(79, 79), (63, 91), (71, 64), (79, 79)]:
        images = noise(1, 91)[:, :, :height, :width]
        units = lively(net, images, "conv3.relu")
        projections = both(deconv, images, "conv3.relu", units)
        same(both(Deconvnet(net), images.contiguous(), "conv3.relu", units), projections)
        channels_last = images.contiguous(memory_format=torch.channels_last)
        same(both(deconv, channels_last, "conv3.relu", units), projections)
