"""The projection is the slow reference's, on chains of every kind, every layer and both paths."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from tests.deconv.common import SIZE, both, lively, module_of, narrow, noise, same
from tests.reference.deconvnet import (
    channel_projection,
    described,
    doubtful,
    down,
    outputs,
    unit_projection,
)
from tests.reference.nets import Chain, chains, layers_of, seeded, units_of
from zfnet.deconv import Deconvnet, Unit
from zfnet.models import ContrastNormalization


@settings(max_examples=50, report_multiple_bugs=False)
@given(chains(), st.data())
def test_random_chains(chain: Chain, data: st.DataObject) -> None:
    """(a) Units of any layer, at borders and corners, of both images in one call; and a whole
    map."""
    net, images, exact = chain.net, chain.images, chain.exact
    layers = described(net)
    layer = data.draw(layers_of(chain))
    units = [Unit(*data.draw(units_of(chain, layer))) for _ in range(3)]
    projections, maps = [], []
    for unit in units:
        projections.append(
            unit_projection(layers, images[unit.image], layer, unit.channel, unit.y, unit.x)
        )
        assume(exact or not doubtful(layers))
    for image in images:
        maps.append(channel_projection(layers, image, layer, units[0].channel))
        assume(exact or not doubtful(layers))
    deconv = Deconvnet(net)
    same(
        both(deconv, images, layer, units), torch.stack([torch.from_numpy(p) for p in projections])
    )
    same(
        deconv.project_channel(images, layer, units[0].channel),
        torch.stack([torch.from_numpy(p) for p in maps]),
    )


CHAINS: dict[str, Callable[[], list[nn.Module]]] = {
    "a batch norm under padding": lambda: [
        *(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()),
        *(nn.Conv2d(3, 2, 3, stride=2, padding=1), nn.BatchNorm2d(2), nn.ReLU()),
    ],
    "a batch norm at either end": lambda: [
        *(
            nn.BatchNorm2d(3),
            nn.Conv2d(3, 3, 3, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(3),
        ),
    ],
    "units that see padding only": lambda: [
        *(
            nn.Conv2d(3, 2, 1, padding=2),
            nn.ReLU(),
            nn.Conv2d(2, 2, 2, stride=2, padding=1),
            nn.ReLU(),
        ),
    ],
    "pools that hang over": lambda: [
        *(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1, ceil_mode=True)),
        *(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2, ceil_mode=True)),
    ],
    "a pool of negative values, in front of the ReLU": lambda: [
        *(
            nn.Conv2d(3, 3, 3, padding=1),
            nn.MaxPool2d(3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(3, 2, 2, padding=1),
        ),
    ],
    "a pool on a pool": lambda: [
        *(
            nn.Conv2d(3, 3, 2),
            nn.ReLU(),
            nn.MaxPool2d(3, 1, 1),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(3, 2, 2),
        ),
    ],
    "groups, dilation and sides that differ": lambda: [
        *(nn.Conv2d(3, 6, (3, 2), (1, 2), (2, 0), dilation=(2, 1), groups=3), nn.ReLU()),
        *(
            nn.MaxPool2d((1, 2), (1, 1), (0, 1), dilation=(1, 2)),
            nn.Conv2d(6, 2, (2, 1), groups=2),
            nn.ReLU(),
        ),
    ],
    "normalization": lambda: [
        *(
            nn.Conv2d(3, 4, 3),
            nn.ReLU(),
            ContrastNormalization(3, 0.1),
            nn.MaxPool2d(3, 2, ceil_mode=True),
        ),
        *(nn.Conv2d(4, 2, 3, padding=1), nn.ReLU()),
    ],
    "normalization at the end": lambda: [
        *(
            nn.Conv2d(3, 3, 3),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            ContrastNormalization(3, 0.1),
        ),
    ],
    "no ReLU between convolutions": lambda: [nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 2, 3, 2)],
}


@pytest.mark.parametrize("chain", CHAINS)
def test_every_unit_of_the_last_layer(chain: str) -> None:
    """(a) Corners, borders and the middle of hand-made chains."""
    net, image = seeded(lambda: nn.Sequential(*CHAINS[chain]())), noise(1, 15)[:, :, :, :13]
    assert isinstance(net, nn.Sequential)
    layers = described(net)
    last = list(layers)[-1]
    values = outputs(layers, image[0])[last]
    units, expected = [], []
    for map, y, x in np.ndindex(values.shape):
        units.append(Unit(0, map, y, x))
        seed = np.zeros(values.shape)
        seed[map, y, x] = values[map, y, x]
        expected.append(torch.from_numpy(down(layers, last, seed)))
    same(both(Deconvnet(net), image, last, units), torch.stack(expected))


def test_zfnet_against_the_reference() -> None:
    """(a) The whole of ZFNet, as narrow as it goes."""
    net, image = narrow(size=SIZE), noise(1)
    layers = described(net)
    for layer in ("conv2.pool", "conv3", "fc6"):
        (unit, *_) = lively(net, image, layer)
        expected = unit_projection(
            layers, image[0], module_of(net, layer), unit.channel, unit.y, unit.x
        )
        same(Deconvnet(net).project(image, layer, [unit]), torch.from_numpy(expected)[None])


def test_a_shared_relu_of_a_chain() -> None:
    """One ReLU object at two places, as in many networks written by hand."""
    torch.manual_seed(0)
    relu = nn.ReLU(inplace=True)
    first, second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 3, 3)
    shared = nn.Sequential(first, relu, nn.MaxPool2d(2), second, relu).double()
    plain = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU())
    images = noise(2, 12)
    units = lively(plain, images, "4")
    same(both(Deconvnet(shared), images, "3", units), both(Deconvnet(plain), images, "4", units))


@pytest.mark.parametrize("options", [{}, {"relu": "guided", "normalization": "gradient"}])
def test_units_at_one_position(options: dict[str, str]) -> None:
    """They share what is computed below the last convolution: also padding, scales and switches."""

    def build() -> nn.Module:
        first, second = (nn.Conv2d(c, 4, 3, padding=1) for c in (3, 4))
        below = nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1), ContrastNormalization()
        return nn.Sequential(first, *below, second, nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))

    net, images = seeded(build), noise(2, 25)
    deconv = Deconvnet(net, seed="forced", **options)
    places = [(1, 0, 0), (0, 5, 5), (0, 2, 3), (1, 0, 0)]
    units = [Unit(image, c, y, x) for c in (2, 0, 3) for image, y, x in places]
    both(deconv, images, "8", units)
    same(deconv.project(images, "8", units[1:2]), deconv.project(images, "8", units)[1:2])
