"""The projection is captum's NeuronDeconvolution times the activation, also with branches.

captum seeds 1 even for a unit that is not active, takes contrast normalization by its gradient, and
sees only ReLUs that are modules and not in place: it gets a copy of the net whose ReLUs are such.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import timm
import torch
import torchvision
from captum.attr import NeuronDeconvolution, NeuronGuidedBackprop
from torch import Tensor, nn
from torchvision.models.googlenet import BasicConv2d

from tests.deconv.common import activations, both, googlenet, lively, module_of, narrow, noise, same
from tests.reference.nets import seeded
from zfnet.deconv import Deconvnet, Unit

pytestmark = pytest.mark.filterwarnings(
    "ignore:Setting backward hooks on ReLU activations:UserWarning"
)


def with_relu_modules(net: nn.Module) -> nn.Module:
    """A copy with ReLUs as captum needs them; GoogLeNet's functional ones become modules."""
    net = deepcopy(net)
    for path, module in list(net.named_modules()):
        if isinstance(module, nn.ReLU):
            module.inplace = False
        if isinstance(module, BasicConv2d):
            net.set_submodule(path, nn.Sequential(module.conv, module.bn, nn.ReLU()))
    return net


def captums(net: nn.Module, images: Tensor, layer: str, units: list[Unit], method: Any) -> Tensor:
    """captum's attribution of each unit of a copy of the net times its activation (0 for one that
    is not active)."""
    attribution = method(net, net.get_submodule(module_of(net, layer)))
    flat = activations(net, images, layer, units).clamp(min=0).to(images)
    projections = []
    for unit in units:
        image = images[unit.image, None].clone().requires_grad_()
        index = (
            (unit.channel,)
            if layer.startswith(("fc", "classifier.3"))
            else (unit.channel, unit.y, unit.x)
        )
        projections.append(attribution.attribute(image, index))
    return torch.cat(projections).detach() * flat[:, None, None, None]


def small_head(build: Callable[..., nn.Module], inputs: int) -> Callable[[], nn.Module]:
    """torchvision's net with 16 instead of 4096 units in its head."""

    def built() -> nn.Module:
        net = build(weights=None)
        net.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(inputs, 16), nn.ReLU(inplace=True), nn.Linear(16, 5)
        )
        return net

    return built


def timms_resnet() -> nn.Module:
    return timm.create_model("resnet10t", pretrained=False, num_classes=5)


def timms_vgg() -> nn.Module:
    """Without its head of 120 million weights."""
    net = timm.create_model("vgg11", pretrained=False)
    net.pre_logits = net.head = nn.Identity()
    return net


NETS: dict[str, tuple[Callable[[], nn.Module], int, list[str]]] = {
    "alexnet": (
        small_head(torchvision.models.alexnet, 9216),
        96,
        ["features.0", "features.2", "features.4", "features.8", "features.12", "classifier.3"],
    ),
    "vgg11": (
        small_head(torchvision.models.vgg11, 25088),
        32,
        ["features.1", "features.7", "features.20", "classifier.3"],
    ),
    "resnet18": (
        torchvision.models.resnet18,
        64,
        [
            "bn1",
            "maxpool",
            "layer1.0.bn1",
            "layer1",
            "layer2.0",
            "layer2.0.downsample",
            "layer4.1.conv2",
            "fc",
        ],
    ),
    "squeezenet1_1": (
        torchvision.models.squeezenet1_1,
        64,
        [
            "features.3.expand3x3_activation",
            "features.4",
            "features.9.squeeze",
            "features.12",
            "classifier.1",
        ],
    ),
    "googlenet": (
        googlenet,
        64,
        ["conv1", "maxpool2", "inception3a", "inception4b.branch2.0", "fc"],
    ),
    "timm vgg11": (timms_vgg, 32, ["features.2", "features.10", "features.20"]),
    "timm resnet10t": (timms_resnet, 64, ["conv1", "layer1", "layer2.0.bn2", "layer3", "fc"]),
}


def same_in_float32(net: nn.Module, theirs: nn.Module, image: Tensor, layer: str) -> None:
    """One image per call: a batch rounds otherwise, and a switch between nearly equal maxima
    moves."""
    for unit in lively(net, image, layer)[::4]:
        expected = captums(theirs, image, layer, [unit], NeuronDeconvolution)
        same(Deconvnet(net).project(image, layer, [unit]), expected, 1e-5)


@pytest.mark.parametrize("name", NETS)
def test_known_networks(name: str) -> None:
    """(a) Random weights, float64 to 1e-12 and float32 to its rounding, by both paths."""
    build, size, layers = NETS[name]
    net, images = seeded(build), noise(2, size)
    theirs = with_relu_modules(net)
    for layer in layers:
        units = lively(net, images, layer)[1:3]
        assert (activations(net, images, layer, units) > 0).any()
        expected = captums(theirs, images, layer, units, NeuronDeconvolution)
        same(both(Deconvnet(net), images, layer, units), expected)
    net.float()
    theirs.float()
    for layer in layers[1::2]:
        same_in_float32(net, theirs, images[1:].float(), layer)


@pytest.mark.parametrize(
    "layer", ["conv1", "conv2", "conv2.pool", "conv4", "conv5.pool", "fc6", "fc8"]
)
@pytest.mark.parametrize("name", ["zfnet", "alexnet"])
def test_the_papers_nets(name: str, layer: str) -> None:
    """(a) ConvNet without contrast normalization; with it, under the option that takes its
    gradient."""
    images, plain, whole = noise(), narrow(name, normalize=False), narrow(name)
    units = lively(plain, images, layer)
    expected = captums(with_relu_modules(plain), images, layer, units, NeuronDeconvolution)
    same(both(Deconvnet(plain), images, layer, units), expected)
    units = lively(whole, images, layer)
    expected = captums(with_relu_modules(whole), images, layer, units, NeuronDeconvolution)
    same(both(Deconvnet(whole, normalization="gradient"), images, layer, units), expected)
    same_in_float32(plain.float(), with_relu_modules(plain), images[1:].float(), layer)


@pytest.mark.parametrize("layer", ["conv1", "conv2.pool", "conv3.conv", "conv5", "fc8"])
def test_guided(layer: str) -> None:
    """Guided backpropagation (Springenberg et al. 2015), on a chain."""
    images, net = noise(), narrow(normalize=False)
    units = lively(net, images, layer)
    expected = captums(with_relu_modules(net), images, layer, units, NeuronGuidedBackprop)
    same(both(Deconvnet(net, relu="guided"), images, layer, units), expected)


def test_guided_in_a_residual_net() -> None:
    images, net = noise(2, 48), seeded(torchvision.models.resnet18)
    theirs = with_relu_modules(net)
    for layer in ("layer1", "layer3"):
        units = lively(net, images, layer)[1:3]
        expected = captums(theirs, images, layer, units, NeuronGuidedBackprop)
        same(both(Deconvnet(net, relu="guided"), images, layer, units), expected)
