"""The chain at the bottom of a net: its steps, where layers stand in it, and the rest above it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from tests.deconv.common import googlenet, narrow, noise
from tests.reference.nets import seeded
from zfnet.analysis.occlusion.incremental import Incremental
from zfnet.analysis.occlusion.prefix import find_prefix
from zfnet.errors import InputError


def alexnet() -> nn.Module:
    net = torchvision.models.alexnet(weights=None)
    net.classifier = nn.Sequential(
        nn.Dropout(), nn.Linear(9216, 16), nn.ReLU(inplace=True), nn.Linear(16, 5)
    )
    return net


def vgg() -> nn.Module:
    net = torchvision.models.vgg11_bn(weights=None)
    net.classifier = nn.Linear(25088, 5)
    return net


def resnets(net: Any) -> Callable[[Tensor], Tensor]:
    return nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)


def googlenets(net: Any) -> Callable[[Tensor], Tensor]:
    return nn.Sequential(net.conv1, net.maxpool1, net.conv2, net.conv3, net.maxpool2)


STAGE = ["conv", "relu", "pool", "norm"]
SCALED = ["conv", "scale", "relu"]
NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[Any], Any], list[str]]] = {
    "zfnet": (narrow, lambda net: net[:5], [*STAGE, *STAGE, *["conv", "relu"] * 3, "pool"]),
    "zfnet without normalization": (
        lambda: narrow(normalize=False),
        lambda net: net[:5],
        [*STAGE[:3], *STAGE[:3], *["conv", "relu"] * 3, "pool"],
    ),
    "our alexnet": (
        lambda: narrow("alexnet"),
        lambda net: net[:5],
        [*STAGE, *STAGE, *["conv", "relu"] * 3, "pool"],
    ),
    "alexnet": (
        alexnet,
        lambda net: net.features,
        [*STAGE[:3], *STAGE[:3], *["conv", "relu"] * 3, "pool"],
    ),
    "vgg11_bn": (
        vgg,
        lambda net: net.features,
        [*[*SCALED, "pool"] * 2, *[*SCALED, *SCALED, "pool"] * 3],
    ),
    "resnet18": (torchvision.models.resnet18, resnets, [*SCALED, "pool"]),
    "squeezenet1_1": (
        torchvision.models.squeezenet1_1,
        lambda net: nn.Sequential(
            *net.features[:3], net.features[3].squeeze, net.features[3].squeeze_activation
        ),
        ["conv", "relu", "pool", "conv", "relu"],
    ),
    "googlenet": (googlenet, googlenets, [*SCALED, "pool", *SCALED, *SCALED, "pool"]),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_steps_and_head(name: str) -> None:
    """The steps up to the first branch; the head makes of their features what the model makes of
    images."""
    build, bottom, kinds = NETS[name]
    net = seeded(build) if not name.startswith(("zfnet", "our")) else build()
    images = noise(2, 79)
    prefix = find_prefix(net.eval(), images[:1])
    assert [step.kind for step in prefix.steps] == kinds
    with torch.no_grad():
        features = bottom(net)(images.clone())
        torch.testing.assert_close(prefix.head(features.clone()), net(images.clone()))
        torch.testing.assert_close(Incremental(prefix.steps, images[:1], {}).features, features[:1])


def test_where_layers_stand() -> None:
    """After how many steps; a layer above the prefix, and one that is not asked for, is not in
    it."""
    layers = [
        "conv1.conv",
        "conv1",
        "conv1.pool",
        "conv1.norm",
        "conv2",
        "conv5",
        "conv5.pool",
        "fc6",
        "fc8",
    ]
    prefix = find_prefix(narrow(), noise(1), layers)
    places = [1, 2, 3, 4, 6, 14, 15]
    assert prefix.after == dict(zip(layers[:7], places, strict=True))
    net = seeded(torchvision.models.resnet18)
    assert find_prefix(net, noise(1), ["maxpool", "layer1.0.conv1", "layer1", "fc"]).after == {
        "maxpool": 4
    }


def test_a_trunk_may_be_empty() -> None:
    """Where the pixels branch at once, or meet what mixes positions or is no step."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return (self.conv(x) + x).mean((2, 3))

    images = noise(1, 12)
    nets = [
        Branches(),
        nn.Sequential(nn.Flatten(), nn.Linear(432, 2)),
        nn.Sequential(nn.Softmax2d(), nn.Flatten()),
    ]
    for net in nets:
        prefix = find_prefix(net.double(), images)
        assert prefix.steps == []
        assert not Incremental.supports(prefix.steps)


@pytest.mark.parametrize(
    ("modules", "taken"),
    [
        ([nn.Conv2d(3, 4, 3)], True),
        ([nn.Conv2d(3, 4, 2, dilation=2, stride=3)], True),
        ([nn.Conv2d(3, 4, 1, stride=2)], False),
        ([nn.Conv2d(3, 4, 3), nn.MaxPool2d(2, 3)], False),
        ([nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)], False),
        ([nn.MaxPool2d(2), nn.Conv2d(3, 4, 3)], False),
    ],
)
def test_what_can_be_swept(modules: list[nn.Module], taken: bool) -> None:
    """A convolution first, and no window that strides over cells."""
    net = seeded(lambda: nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assert Incremental.supports(find_prefix(net, noise(1, 12)).steps) == taken


def test_modes_are_given_back_and_gradients_are_not_made() -> None:
    net = narrow().train()
    with torch.no_grad():
        find_prefix(net, noise(1))
    assert all(module.training for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_no_classifier() -> None:
    with pytest.raises(InputError, match=r"\(B, classes\)"):
        find_prefix(nn.Conv2d(3, 4, 3).double(), noise(1, 12))
