"""Contributions of the channels below, against sums of weights times activations."""

import pytest
import torch
from torch import Tensor, nn

from zfnet.analysis import Connections
from zfnet.deconv import Deconvnet, Unit
from zfnet.errors import InputError
from zfnet.models import ZFNET, ConvNet


class Branches(nn.Module):
    """Two layers in parallel, and one that adds them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.top = nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.top(self.relu(self.a(x) + self.b(x)))


@pytest.fixture
def chain() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)).double()


@pytest.mark.parametrize("windows", [True, False])
def test_contributions_are_weights_times_activations(chain: nn.Sequential, windows: bool) -> None:
    images = torch.randn(3, 3, 12, 12, dtype=torch.float64)
    maps, pooled = chain(images), chain[:3](images)
    units = [Unit(i, c, 1, 2) for i, c in ((0, 0), (2, 3), (0, 4), (1, 1), (0, 2))]
    found = Connections(chain, ["1", "4"], images).contributions(images, {"4": units}, windows)["4"]
    assert found.shape == (5, 4)
    for each, unit in zip(found, units, strict=True):
        window = pooled[unit.image, :, 1:4, 2:5]
        expected = (window * chain[3].weight[unit.channel]).sum((1, 2))
        active = maps[unit.image, unit.channel, 1, 2] > 0
        torch.testing.assert_close(each, expected * active)
        if active:
            total = each.sum() + chain[3].bias[unit.channel]
            torch.testing.assert_close(total, maps[unit.image, unit.channel, 1, 2])


@pytest.mark.parametrize(("count", "each", "runs"), [(2, 20, 1), (9, 3, 0)])
def test_windows_are_what_autograd_gives(count: int, each: int, runs: int) -> None:
    """With contrast normalization, overlapping pooling, strides and borders.

    Whole images run through the network only if there are many units of each."""
    torch.manual_seed(0)
    net = ConvNet(ZFNET, num_classes=4, image_size=80, init="he").double().eval()
    images, layers = torch.randn(count, 3, 80, 80).double(), ["conv1", "conv2", "conv3", "conv5"]
    connections, deconv = Connections(net, layers, images), Deconvnet(net)
    units = {}
    for layer in layers[1:]:
        channels, rows, columns = deconv.units(layer)
        units[layer] = [
            Unit(number % count, 7 * number % channels, 5 * number % rows, 3 * number % columns)
            for number in range(each)
        ]
    ran = list[nn.Module]()
    net.register_forward_pre_hook(lambda module, _: ran.append(module))
    one = connections.contributions(images, units)
    assert len(ran) == runs
    other = connections.contributions(images, units, windows=False)
    for layer in layers[1:]:
        assert one[layer].any()
        torch.testing.assert_close(one[layer], other[layer])


def test_more_than_two_layers(chain: nn.Sequential) -> None:
    """Each layer is compared with the one before it."""
    images = torch.randn(1, 3, 12, 12, dtype=torch.float64)
    layers = ["0", "1", "4"]
    units = {"1": [Unit(0, 2, 4, 4)], "4": [Unit(0, 1, 0, 0)]}
    found = Connections(chain, layers, images).contributions(images, units)
    below = chain[0](images)[0, :, 4, 4].clamp(min=0) * torch.eye(4)[2]
    torch.testing.assert_close(found["1"][0], below)
    assert found["4"].shape == (1, 4)


def test_layers_in_parallel_do_not_feed_each_other() -> None:
    torch.manual_seed(0)
    net, images = Branches(), torch.randn(2, 3, 6, 6)
    nn.init.constant_(net.top.bias, 5)  # every unit is active
    units = {"b": [Unit(0, 0)], "top": [Unit(1, 2)]}
    found = Connections(net, ["a", "b", "top"], images).contributions(images, units)
    assert not found["b"].any()
    assert found["top"].any()


def test_nothing_stays(chain: nn.Sequential) -> None:
    chain.train()
    images = torch.randn(1, 3, 12, 12, dtype=torch.float64)
    Connections(chain, ["1", "4"], images).contributions(images, {"4": [Unit(0, 0)]})
    assert chain.training
    assert images.grad is None
    assert all(parameter.grad is None for parameter in chain.parameters())
    assert not any(module._forward_hooks for module in chain.modules())


def test_layers_in_another_order(chain: nn.Sequential) -> None:
    images = torch.randn(1, 3, 12, 12, dtype=torch.float64)
    with pytest.raises(InputError, match="in the order in which they run"):
        Connections(chain, ["1", "0"], images)
