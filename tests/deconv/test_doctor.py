"""The doctor's findings on nets where they are known by construction."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

from zfnet.deconv import doctor
from zfnet.errors import InputError
from zfnet.models import convnet


def plain(pool: nn.Module) -> nn.Sequential:
    """A convolution that copies its input into map 0 and is dead in map 1, then `pool`."""
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), pool)
    net[0].weight.data = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)
    net[0].bias.data = torch.tensor([0.0, -1.0])
    return net


def test_dead_windows_and_dead_maps_by_hand() -> None:
    """Of map 0's four 2x2 windows one has an active unit, of map 1's none."""
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 1, 2] = 5
    (found,) = doctor(plain(nn.MaxPool2d(2)), ["2"], image)
    assert (found.channels, found.dead_channels, found.field) == (2, [1], (2, 2))
    (pooling,) = found.poolings
    assert (pooling.name, pooling.dead, pooling.shared) == ("2", 7 / 8, 0)


def test_shared_maxima_by_hand() -> None:
    """The peak of a 5x5 map at its centre is the maximum of all four 3x3/2 windows; one at (0, 2)
    of two."""
    image = torch.ones(1, 1, 5, 5)
    image[0, 0, 2, 2] = 2
    (found,) = doctor(plain(nn.MaxPool2d(3, 2)), ["2"], image)
    assert found.poolings[0].dead == 0.5  # map 1
    assert found.poolings[0].shared == 1
    image[0, 0, 2, 2], image[0, 0, 0, 2], image[0, 0, 4, 0] = 1, 2, 3
    image[0, 0, 4, 4] = 4
    assert doctor(plain(nn.MaxPool2d(3, 2)), ["2"], image)[0].poolings[0].shared == 0.5


def test_normalization_fields_and_poolings_of_zfnet() -> None:
    net = convnet("zfnet", 5, 80, init="he")
    third, sixth = doctor(net, ["conv3", "fc6"])
    assert third.field == (75, 75)
    assert third.normalizations == ["conv2.norm", "conv1.norm"]
    assert [pooling.name for pooling in third.poolings] == ["conv2.pool", "conv1.pool"]
    assert sixth.field is None
    assert [pooling.name for pooling in sixth.poolings] == [
        "conv5.pool",
        "conv2.pool",
        "conv1.pool",
    ]
    assert third.unsupported == sixth.unsupported == []


class Gated(nn.Module):
    """Two activations and a product that have no deconvnet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 4, 3), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(self.act(self.conv(x)))
        return x * x


def test_everything_without_a_deconvnet_is_named() -> None:
    net = nn.Sequential(Gated(), nn.Conv2d(4, 2, 1))
    (found,) = doctor(net, ["1"], torch.randn(2, 3, 9, 9))
    assert found.unsupported == [
        "0 (Gated): mul of two values that both depend on the pixels",
        "1: sigmoid",
        "0.act (Tanh): tanh",
    ]
    text = str(found)
    assert text.startswith("1: 2 channels, units see ")
    assert "no deconvnet: 0.act (Tanh): tanh" in text


class Extended(nn.Module):
    """What has an extended rule: GELU, a gate, a gated linear unit, attention, a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.LayerNorm(4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.gelu(self.conv(x))
        x = x * x.mean((2, 3), keepdim=True).sigmoid()
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        tokens = nn.functional.glu(torch.cat(self.attention(tokens, tokens, tokens)[:1] * 2, -1))
        return tokens.transpose(1, 2).view_as(x)


def test_what_has_an_extended_rule_is_not_named() -> None:
    net = nn.Sequential(Extended(), nn.Conv2d(4, 2, 1))
    (found,) = doctor(net, ["1"], torch.randn(2, 3, 9, 9))
    assert found.unsupported == []


def test_the_text_says_what_was_found() -> None:
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 1, 2] = 5
    assert str(doctor(plain(nn.MaxPool2d(2)), ["2"], image)[0]).splitlines() == [
        "2: 2 channels, units see 2 x 2 pixels",
        "    1 channels are never active: 1",
        "    2: 88% of the windows are dead (their switches are arbitrary), 0% of the others share "
        "their maximum",
    ]


def test_any_net_and_no_trace() -> None:
    net = torchvision.models.resnet18(weights=None).train()
    (found,) = doctor(net, ["layer2"], torch.randn(2, 3, 64, 64))
    assert [pooling.name for pooling in found.poolings] == ["maxpool"]
    assert net.training
    assert all(parameter.grad is None for parameter in net.parameters())
    with pytest.raises(InputError, match="'layer9' is not in ResNet"):
        doctor(net, ["layer9"])
    with pytest.raises(InputError, match="runs 2 times"):
        doctor(net, ["layer1.0.relu"], torch.randn(1, 3, 64, 64))
