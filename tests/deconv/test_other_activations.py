"""Activations other than ReLU: by an extended rule, or refused by name, or by their gradient."""

from collections import OrderedDict
from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from tests.deconv.common import both, gradients, lively, noise, same, two_layers
from tests.reference.nets import seeded
from zfnet.deconv import Deconvnet, Unit
from zfnet.errors import InputError

EXTENDED: dict[str, Callable[[], nn.Module]] = {  # refused by the paper's rules alone
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
    "LeakyReLU": nn.LeakyReLU,
    "PReLU": nn.PReLU,
    "ELU": nn.ELU,
    "SELU": nn.SELU,
    "CELU": nn.CELU,
    "ReLU6": nn.ReLU6,
    "Hardswish": nn.Hardswish,
    "Mish": nn.Mish,
    "Softplus": nn.Softplus,
    "RReLU": nn.RReLU,
    "Threshold": lambda: nn.Threshold(0.1, 0.0),
}
OTHERS: dict[str, Callable[[], nn.Module]] = {  # always refused
    "Sigmoid": nn.Sigmoid,
    "Tanh": nn.Tanh,
    "Hardtanh": nn.Hardtanh,
    "Hardsigmoid": nn.Hardsigmoid,
    "Softmax2d": nn.Softmax2d,
    "LogSigmoid": nn.LogSigmoid,
    "Softsign": nn.Softsign,
    "Softshrink": nn.Softshrink,
    "Hardshrink": nn.Hardshrink,
    "negative Threshold": lambda: nn.Threshold(-1.0, 0.0),
}


def in_a_net(activation: nn.Module, in_a_chain: bool) -> tuple[nn.Module, str, str]:
    """A net with a ReLU and another activation; the layer above that one, and its path."""
    if not in_a_chain:
        return two_layers(activation, nn.ReLU()), "second", "f"
    parts = OrderedDict(
        stem=nn.Conv2d(3, 6, 3), odd=activation, head=nn.Conv2d(6, 4, 3), relu=nn.ReLU()
    )
    return seeded(lambda: nn.Sequential(parts)), "head", "odd"


@pytest.mark.parametrize("in_a_chain", [True, False])
@pytest.mark.parametrize("name", [*EXTENDED, *OTHERS])
def test_other_activations_are_refused_by_path(name: str, in_a_chain: bool) -> None:
    """They have no deconvnet, unless the caller takes their gradient."""
    images, strict = noise(2, 15), name in EXTENDED
    net, layer, path = in_a_net((EXTENDED | OTHERS)[name](), in_a_chain)
    units = lively(net, images, layer)
    for call in (
        lambda: Deconvnet(net, strict=strict).project(images, layer, units),
        lambda: Deconvnet(net, strict=strict).project_channel(images, layer, 0),
        lambda: Deconvnet(net, strict=strict).patches(images, layer, units),
    ):
        with pytest.raises(InputError, match=rf"\b{path}\b") as caught:
            call()
        assert "\n" not in str(caught.value)
    expected = gradients(net, images, layer, units)  # no ReLU lies below
    deconv = Deconvnet(net, others="gradient", strict=strict)
    same(both(deconv, images, layer, units), expected)


@pytest.mark.parametrize("in_a_chain", [True, False])
@pytest.mark.parametrize("name", EXTENDED)
def test_extended_activations_are_taken_for_a_relu(name: str, in_a_chain: bool) -> None:
    """R is rectified as by the ReLU of the same net; only the unit's activation differs."""
    images = noise(2, 15)
    net, layer, _ = in_a_net(EXTENDED[name](), in_a_chain)
    plain, _, _ = in_a_net(nn.ReLU(), in_a_chain)
    plain.load_state_dict(net.state_dict(), strict=False)
    if not in_a_chain:  # the switches of a pooling depend on the activation
        net.pool = plain.pool = nn.AvgPool2d(3, 2)
    units = lively(net, images, layer)
    expected = both(Deconvnet(plain, seed="forced"), images, layer, units)
    same(both(Deconvnet(net, seed="forced"), images, layer, units), expected)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "softplus": F.softplus,
    "sigmoid": torch.sigmoid,
    "tanh": Tensor.tanh,
    "hardtanh": F.hardtanh,
    "softmax": lambda x: x.softmax(1),
}
ALWAYS = {"sigmoid", "tanh", "hardtanh", "softmax"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_refused_by_name(name: str) -> None:
    images, net = noise(2, 15), two_layers(FUNCTIONS[name], F.relu)
    strict = name not in ALWAYS
    with pytest.raises(InputError, match=name):
        Deconvnet(net, strict=strict).project(images, "second", [Unit(0, 0)])
    units = lively(net, images, "second")
    expected = gradients(net, images, "second", units)
    deconv = Deconvnet(net, others="gradient", strict=strict)
    same(both(deconv, images, "second", units), expected)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "clamp",
    [
        lambda x: x.clamp(min=0),
        lambda x: x.clamp(0.0),
        lambda x: x.clip(0),
        lambda x: x.clone().clamp_(min=0),
        lambda x: x.clamp_min(0),
        lambda x: torch.clamp_min(x, min=0),
        lambda x: torch.maximum(x, torch.zeros_like(x)),
        lambda x: torch.max(torch.zeros_like(x), x),
        lambda x: F.threshold(x, 0.0, 0.0),
        lambda x: torch.where(x > 0, x, 0),
    ],
)
def test_a_relu_in_disguise_is_not_missed(clamp: Callable[[Tensor], Tensor], strict: bool) -> None:
    """Its gradient would be another projection, without a word."""
    images, plain = noise(2, 15), two_layers(F.relu)
    net = two_layers(clamp, F.relu)
    units = lively(plain, images, "second")
    projections = both(Deconvnet(net, strict=strict), images, "second", units)
    same(projections, both(Deconvnet(plain), images, "second", units))


@pytest.mark.parametrize(
    "clamp",
    [
        lambda x: x.clamp(min=torch.zeros(1).to(x)),
        lambda x: torch.maximum(x, torch.tensor(0.0).to(x)),
        lambda x: torch.maximum(x, 0.1 * x),
        lambda x: torch.max(x / 2, x.exp()),
        lambda x: torch.where(x > 0, x, 0.1 * x),
        lambda x: x.clamp(-1, 1),
        lambda x: x.clamp(max=1),
        lambda x: F.threshold(x, 0.0, 5.0),
    ],
)
def test_what_is_not_recognized_is_refused(clamp: Callable[[Tensor], Tensor]) -> None:
    images, net = noise(2, 15), two_layers(clamp, F.relu)
    with pytest.raises(InputError, match="has no deconvnet"):
        Deconvnet(net).project(images, "second", [Unit(0, 0)])


def test_activations_behind_the_unit_do_not_matter() -> None:
    """Only what lies between the unit and the pixels is projected through."""
    images, plain, odd = noise(2, 15), two_layers(F.relu), two_layers(F.relu, F.gelu)
    units = lively(plain, images, "second")
    same(
        both(Deconvnet(odd), images, "second", units),
        both(Deconvnet(plain), images, "second", units),
    )


@pytest.mark.parametrize(
    ("build", "layer"),
    [
        (lambda: timm.create_model("convnext_atto", pretrained=False), "stages.1"),
        (lambda: torchvision.models.efficientnet_b0(weights=None), "features.3"),
        (lambda: torchvision.models.mobilenet_v3_small(weights=None), "features.4"),
    ],
)
def test_known_networks_without_a_strict_deconvnet(
    build: Callable[[], nn.Module], layer: str
) -> None:
    net, images = seeded(build), noise(1, 64)
    units = lively(net, images, layer)[:2]
    with pytest.raises(InputError, match="others"):
        Deconvnet(net, strict=True).project(images, layer, units)
    deconv = Deconvnet(net, others="gradient", relu="gradient", normalization="gradient")
    same(both(deconv, images, layer, units), gradients(net, images, layer, units))
