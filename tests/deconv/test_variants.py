"""The options by their definitions: guided, gradient, overwrite, normalization, seeds."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
import torchvision
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.deconv.common import (
    LAYERS,
    activations,
    both,
    googlenet,
    gradients,
    lively,
    narrow,
    noise,
    same,
)
from tests.reference.deconvnet import (
    Variant,
    channel_projection,
    described,
    doubtful,
    unit_projection,
)
from tests.reference.nets import Chain, chains, layers_of, seeded, units_of
from zfnet.deconv import Deconvnet, Unit
from zfnet.models import ContrastNormalization

VARIANTS = list(product(["deconv", "guided", "gradient"], ["sum", "overwrite", "center"]))


@settings(max_examples=50, report_multiple_bugs=False)
@given(chains(), st.sampled_from(VARIANTS[1:]), st.data())
def test_random_chains(chain: Chain, variant: tuple[str, str], data: st.DataObject) -> None:
    """(a) Units and a whole map under every pair of options."""
    images, layers = chain.images, described(chain.net)
    layer = data.draw(layers_of(chain))
    unit = Unit(*data.draw(units_of(chain, layer)))
    image = images[unit.image]
    projection = unit_projection(
        layers, image, layer, unit.channel, unit.y, unit.x, Variant(*variant)
    )
    whole = channel_projection(layers, image, layer, unit.channel, Variant(*variant))
    assume(chain.exact or not doubtful(layers))
    deconv = Deconvnet(chain.net, relu=variant[0], unpool=variant[1])
    same(both(deconv, images, layer, [unit]), torch.from_numpy(projection)[None])
    same(deconv.project_channel(image[None], layer, unit.channel), torch.from_numpy(whole)[None])


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", ["zfnet", "alexnet"])
def test_all_gradients_together_are_autograds(name: str, layer: str) -> None:
    """relu="gradient", normalization="gradient": what `backward` gives, times the activation."""
    net, images = narrow(name), noise()
    units = lively(net, images, layer)
    deconv = Deconvnet(net, relu="gradient", normalization="gradient")
    same(both(deconv, images, layer, units), gradients(net, images, layer, units))


@pytest.mark.parametrize(
    ("build", "layers"),
    [
        (torchvision.models.resnet18, ["conv1", "layer2.0", "fc"]),
        (googlenet, ["maxpool1", "inception4a", "fc"]),
    ],
)
def test_the_gradient_of_general_nets(build: Callable[[], nn.Module], layers: list[str]) -> None:
    net, images = seeded(build), noise(2, 48)
    deconv = Deconvnet(net, relu="gradient", normalization="gradient")
    for layer in layers:
        units = lively(net, images, layer)[:2]
        same(both(deconv, images, layer, units), gradients(net, images, layer, units))


@pytest.mark.parametrize(
    "options", [{"relu": "guided"}, {"unpool": "overwrite"}, {"unpool": "center"}, {}]
)
@pytest.mark.parametrize("layer", LAYERS)
def test_both_paths_agree(layer: str, options: dict[str, str]) -> None:
    net, images = narrow(), noise()
    units = lively(net, images, layer)
    both(Deconvnet(net, **options), images, layer, units)
    both(Deconvnet(net, **options, normalization="gradient"), images, layer, units)


class Functional(nn.Module):
    """conv, ReLU, normalization as a function, conv."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.local_response_norm(F.relu(self.first(x)), 5, 5e-2, 0.75, 2.0)
        return F.relu(self.second(x))


@pytest.mark.parametrize("normalization", ["identity", "gradient"])
def test_torchs_normalization_is_ours(normalization: str) -> None:
    """nn.LocalResponseNorm and its function; identity, if chosen, from a unit of the normalization
    itself too."""
    functional, images = seeded(Functional), noise(2, 11)
    first, second = functional.first, functional.second
    ours = nn.Sequential(first, nn.ReLU(), ContrastNormalization(5, 1e-2), second, nn.ReLU())
    torchs = nn.Sequential(
        first, nn.ReLU(), nn.LocalResponseNorm(5, 5e-2, 0.75, 2.0), second, nn.ReLU()
    )
    units = lively(ours, images, "3")
    projections = both(Deconvnet(ours, normalization=normalization), images, "4", units)
    same(both(Deconvnet(torchs, normalization=normalization), images, "4", units), projections)
    same(
        both(Deconvnet(functional, normalization=normalization), images, "second", units),
        projections,
    )
    with_gradient = both(Deconvnet(ours, normalization="gradient"), images, "4", units)
    assert torch.equal(projections, with_gradient) == (normalization == "gradient")
    if normalization == "identity":
        units = lively(ours, images, "2")
        values = activations(ours, images, "2", units) / activations(ours, images, "1", units)
        below = both(Deconvnet(ours), images, "1", units)
        same(both(Deconvnet(ours), images, "2", units), values[:, None, None, None] * below)


@pytest.mark.parametrize("layer", LAYERS)
def test_seed_one(layer: str) -> None:
    """The projection of an active unit without its activation."""
    net, images = narrow(), noise()
    units = lively(net, images, layer)
    values = activations(net, images, layer, units)
    assert (values > 0).all()
    ones = both(Deconvnet(net, seed="one"), images, layer, units)
    same(values[:, None, None, None] * ones, both(Deconvnet(net), images, layer, units))
    same(both(Deconvnet(net, seed="forced"), images, layer, units), ones)


def test_a_forced_unit_starts_with_one_active_or_not() -> None:
    """As the whole map does."""
    net, images = narrow(), noise(1)
    units = [Unit(0, 2, y, x) for y, x in product(range(38), repeat=2)]
    assert activations(net, images, "conv1", units).min() <= 0
    deconv = Deconvnet(net, seed="forced")
    forced = both(deconv, images, "conv1", units)
    assert forced.abs().amax((1, 2, 3)).min() > 0
    same(deconv.project_channel(images, "conv1", 2)[0], forced.sum(0))


def test_a_map_of_ones() -> None:
    """Each active unit of the map counts 1."""
    net, images = narrow(), noise()
    units = [Unit(1, 2, y, x) for y, x in product(range(38), repeat=2)]
    active = [
        unit
        for unit, a in zip(units, activations(net, images, "conv1", units), strict=True)
        if a > 0
    ]
    deconv = Deconvnet(net, seed="one")
    ones = deconv.project(images, "conv1", active).sum(0)
    same(deconv.project_channel(images, "conv1", 2)[1], ones)


def test_options_differ() -> None:
    """On overlapping windows and rectifiers below, every variant is a projection of its own."""
    net, images = narrow(), noise(1)
    units = lively(net, images, "conv3")
    projections = [
        Deconvnet(net, relu=relu, unpool=unpool, normalization=normalization).project(
            images, "conv3", units
        )
        for (relu, unpool), normalization in product(VARIANTS, ["identity", "gradient"])
    ]
    for number, projection in enumerate(projections):
        for other in projections[:number]:
            assert not torch.allclose(projection, other)
