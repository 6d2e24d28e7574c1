"""A net of a table: named stages that slice, the stated spread, dropout only in training."""

import pytest
import torch
from torch import nn

from zfnet.models import ZFNET, Conv, ConvNet, Linear, Pool

SMALL = {
    "conv1": Conv(96, kernel=7, stride=2, padding=1, pool=Pool(3, 2), normalize=True),
    "conv2": Conv(64, kernel=5, groups=2),
    "fc3": Linear(256, dropout=0.5),
    "fc4": Linear(activation=False),
}


@pytest.fixture(scope="module")
def net() -> ConvNet:
    torch.manual_seed(0)
    return ConvNet(SMALL, num_classes=50, image_size=31)


def test_stages_have_the_papers_names_and_order() -> None:
    with torch.device("meta"):
        net = ConvNet(ZFNET)
    stages = {
        name: [part for part, _ in stage.named_children()] for name, stage in net.named_children()
    }
    assert stages == {
        "conv1": ["conv", "relu", "pool", "norm"],
        "conv2": ["conv", "relu", "pool", "norm"],
        "conv3": ["conv", "relu"],
        "conv4": ["conv", "relu"],
        "conv5": ["conv", "relu", "pool"],
        "fc6": ["flatten", "linear", "relu", "dropout"],
        "fc7": ["linear", "relu", "dropout"],
        "fc8": ["linear"],
    }
    assert net.conv3.conv.weight.shape == (384, 256, 3, 3)


def test_slices_share_weights_and_compose(net: ConvNet) -> None:
    net.eval()
    x = torch.randn(2, 3, 31, 31)
    assert net[0] is net.conv1
    assert net[-1] is net.fc4
    assert net[1:][0].conv.weight is net.conv2.conv.weight
    assert torch.equal(net[2:](net[:2](x)), net(x))
    assert [name for name, _ in net[1:3].named_children()] == ["conv2", "fc3"]


def test_what_runs_is_what_the_table_says(net: ConvNet) -> None:
    net.eval()
    x = torch.randn(2, 3, 31, 31)
    h = net.conv1.conv(x.clone()).relu()
    h = nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)(nn.functional.max_pool2d(h, 3, 2, ceil_mode=True))
    h = net.conv2.conv(h).relu().flatten(1)
    h = net.fc3.linear(h).relu()
    torch.testing.assert_close(net(x), net.fc4.linear(h), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("init", ["he", "paper"])
def test_initial_weights(init: str) -> None:
    """n weights of spread σ: the mean is within 5 σ/√n of 0 and the deviation within 5 σ/√(2n) of
    σ."""
    torch.manual_seed(1)
    fans = {"conv1": 3 * 49, "conv2": 48 * 25, "fc3": 64 * 3 * 3, "fc4": 256}
    net = ConvNet(SMALL, 50, 31, init=init)
    for name, fan in fans.items():
        layer = getattr(
            net[list(fans).index(name)], "conv" if name.startswith("conv") else "linear"
        )
        sigma, n = (2 / fan) ** 0.5 if init == "he" else 0.01, layer.weight.numel()
        assert layer.weight[0].numel() == fan
        assert abs(layer.weight.mean().item()) < 5 * sigma / n**0.5
        assert abs(layer.weight.std().item() - sigma) < 5 * sigma / (2 * n) ** 0.5
        assert not layer.bias.any()


def test_dropout_only_in_training(net: ConvNet) -> None:
    x = torch.randn(1, 3, 31, 31)
    assert torch.equal(net.eval()(x), net(x))
    assert not torch.equal(net.train()(x), net(x))
    stage = net.fc3
    h = net[:2](x)
    torch.manual_seed(2)
    dropped, kept = stage(h.clone()), stage.eval()(h.clone())
    alive = kept > 0
    share = (dropped[alive] == 0).float().mean().item()
    assert abs(share - 0.5) < 5 * 0.5 / alive.sum().item() ** 0.5
    assert torch.equal(dropped[dropped > 0], 2 * kept[dropped > 0])
    stage.train()


def test_classes_and_channels() -> None:
    net = ConvNet(
        {"conv1": Conv(2, kernel=3), "fc2": Linear(activation=False)}, 5, image_size=4, channels=1
    )
    assert net(torch.zeros(3, 1, 4, 4)).shape == (3, 5)
    assert net.fc2.linear.in_features == 2 * 2 * 2
