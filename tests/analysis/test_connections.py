"""Contributions of the channels below, against sums of weights times activations."""

import pytest
import torch
from torch import Tensor, nn

from zfnet.analysis import connections
from zfnet.deconv import Unit
from zfnet.errors import InputError


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


def test_contributions_are_weights_times_activations(chain: nn.Sequential) -> None:
    images = torch.randn(3, 3, 12, 12, dtype=torch.float64)
    maps, pooled = chain(images), chain[:3](images)
    units = [Unit(i, c, 1, 2) for i, c in ((0, 0), (2, 3), (0, 4), (1, 1), (0, 2))]
    found = connections(chain, images, ["1", "4"], {"4": units})["4"]
    assert found.shape == (5, 4)
    for each, unit in zip(found, units, strict=True):
        window = pooled[unit.image, :, 1:4, 2:5]
        expected = (window * chain[3].weight[unit.channel]).sum((1, 2))
        active = maps[unit.image, unit.channel, 1, 2] > 0
        torch.testing.assert_close(each, expected * active)
        if active:
            total = each.sum() + chain[3].bias[unit.channel]
            torch.testing.assert_close(total, maps[unit.image, unit.channel, 1, 2])


def test_more_than_two_layers(chain: nn.Sequential) -> None:
    """Each layer is compared with the one before it."""
    images = torch.randn(1, 3, 12, 12, dtype=torch.float64)
    layers = ["0", "1", "4"]
    found = connections(chain, images, layers, {"1": [Unit(0, 2, 4, 4)], "4": [Unit(0, 1, 0, 0)]})
    below = chain[0](images)[0, :, 4, 4].clamp(min=0) * torch.eye(4)[2]
    torch.testing.assert_close(found["1"][0], below)
    assert found["4"].shape == (1, 4)


def test_layers_in_parallel_do_not_feed_each_other() -> None:
    net, images = Branches(), torch.randn(2, 3, 6, 6)
    found = connections(net, images, ["a", "b", "top"], {"b": [Unit(0, 0)], "top": [Unit(1, 2)]})
    assert not found["b"].any()
    assert found["top"].any()


def test_nothing_stays(chain: nn.Sequential) -> None:
    chain.train()
    images = torch.randn(1, 3, 12, 12, dtype=torch.float64)
    connections(chain, images, ["1", "4"], {"4": [Unit(0, 0)]})
    assert chain.training
    assert images.grad is None
    assert all(parameter.grad is None for parameter in chain.parameters())
    assert not any(module._forward_hooks for module in chain.modules())


def test_layers_in_another_order(chain: nn.Sequential) -> None:
    images = torch.randn(1, 3, 12, 12, dtype=torch.float64)
    with pytest.raises(InputError, match="'1' runs after '0'"):
        connections(chain, images, ["1", "0"], {"0": [Unit(0, 0)]})
