"""Activations other than ReLU have no deconvnet: refused by name, unless the gradient is taken."""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

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

OTHERS: dict[str, Callable[[], nn.Module]] = {
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
    "Sigmoid": nn.Sigmoid,
    "Tanh": nn.Tanh,
    "LeakyReLU": nn.LeakyReLU,
    "PReLU": nn.PReLU,
    "ELU": nn.ELU,
    "SELU": nn.SELU,
    "ReLU6": nn.ReLU6,
    "Hardtanh": nn.Hardtanh,
    "Hardswish": nn.Hardswish,
    "Hardsigmoid": nn.Hardsigmoid,
    "Mish": nn.Mish,
    "Softplus": nn.Softplus,
    "Softmax2d": nn.Softmax2d,
}


@pytest.mark.parametrize("in_a_chain", [True, False])
@pytest.mark.parametrize("name", OTHERS)
def test_other_activations_are_refused_by_path(name: str, in_a_chain: bool) -> None:
    """They have no deconvnet, unless the caller takes their gradient."""
    images = noise(2, 15)
    if in_a_chain:
        net = seeded(
            lambda: nn.Sequential(
                OrderedDict(
                    stem=nn.Conv2d(3, 6, 3),
                    odd=OTHERS[name](),
                    head=nn.Conv2d(6, 4, 3),
                    relu=nn.ReLU(),
                )
            )
        )
        layer, path = "head", "odd"
    else:
        net, layer, path = two_layers(OTHERS[name](), nn.ReLU()), "second", "f"
    units = lively(net, images, layer)
    with pytest.raises(InputError, match=rf"\b{path}\b") as caught:
        Deconvnet(net).project(images, layer, units)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=rf"\b{path}\b"):
        Deconvnet(net).project_channel(images, layer, 0)
    with pytest.raises(InputError, match=rf"\b{path}\b"):
        Deconvnet(net).patches(images, layer, units)
    expected = gradients(net, images, layer, units)  # no ReLU lies below
    same(both(Deconvnet(net, others="gradient"), images, layer, units), expected)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "sigmoid": torch.sigmoid,
    "tanh": Tensor.tanh,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "softplus": F.softplus,
    "hardtanh": F.hardtanh,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_refused_by_name(name: str) -> None:
    images, net = noise(2, 15), two_layers(FUNCTIONS[name], F.relu)
    with pytest.raises(InputError, match=name):
        Deconvnet(net).project(images, "second", [Unit(0, 0)])
    units = lively(net, images, "second")
    expected = gradients(net, images, "second", units)
    same(both(Deconvnet(net, others="gradient"), images, "second", units), expected)


@pytest.mark.parametrize(
    "clamp",
    [
        lambda x: x.clamp(min=0),
        lambda x: x.clamp_min(0),
        lambda x: torch.maximum(x, torch.zeros_like(x)),
        lambda x: F.threshold(x, 0.0, 0.0),
        lambda x: torch.where(x > 0, x, 0),
    ],
)
def test_a_relu_in_disguise_is_not_missed(clamp: Callable[[Tensor], Tensor]) -> None:
    """Recognised as a ReLU or refused; its gradient would be another projection, without a word."""
    images, plain = noise(2, 15), two_layers(F.relu)
    net = two_layers(clamp, F.relu)
    units = lively(plain, images, "second")
    with suppress(InputError):
        projections = Deconvnet(net).project(images, "second", units)
        same(projections, Deconvnet(plain).project(images, "second", units))


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
def test_known_networks_without_a_deconvnet(build: Callable[[], nn.Module], layer: str) -> None:
    net, images = seeded(build), noise(1, 64)
    units = lively(net, images, layer)[:2]
    with pytest.raises(InputError, match="others"):
        Deconvnet(net).project(images, layer, units)
    deconv = Deconvnet(net, others="gradient", relu="gradient")
    same(both(deconv, images, layer, units), gradients(net, images, layer, units))
