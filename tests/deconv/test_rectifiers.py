"""ReLUs of every spelling give the same projection, whatever is overwritten on the way."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.deconv.common import activations, both, general, lively, noise, same, two_layers
from tests.reference.nets import seeded
from zfnet.deconv import Deconvnet, Unit


def relu_in_place(x: Tensor) -> Tensor:
    return F.relu(x, inplace=True)


SPELLINGS: dict[str, Callable[[], list[Callable[[Tensor], Tensor]]]] = {
    "modules in place": lambda: [nn.ReLU(inplace=True), nn.ReLU(inplace=True)],
    "one shared module": lambda: [nn.ReLU()],
    "one shared module in place": lambda: [nn.ReLU(inplace=True)],
    "F.relu": lambda: [F.relu],
    "F.relu in place": lambda: [relu_in_place],
    "F.relu_": lambda: [F.relu_],
    "torch.relu": lambda: [torch.relu],
    "torch.relu_": lambda: [torch.relu_],
    "Tensor.relu": lambda: [Tensor.relu],
    "Tensor.relu_": lambda: [Tensor.relu_],
    "one a function, one a module": lambda: [F.relu, nn.ReLU(inplace=True)],
    "a method": lambda: [lambda x: x.relu()],
}


@pytest.mark.parametrize("relu", ["deconv", "guided", "gradient"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_the_same(spelling: str, relu: str) -> None:
    """(i) To the last bit, and to rounding as the chain of modules."""
    images = noise(2, 15)
    modules, net = two_layers(nn.ReLU(), nn.ReLU()), two_layers(*SPELLINGS[spelling]())
    chain = nn.Sequential(modules.first, nn.ReLU(), modules.pool, modules.second)
    for layer, place in {"first": "0", "pool": "2", "second": "3"}.items():
        units = lively(modules, images, layer)
        expected = general(Deconvnet(modules, relu=relu), images, layer, units)
        assert torch.equal(general(Deconvnet(net, relu=relu), images, layer, units), expected)
        same(both(Deconvnet(net, relu=relu), images, layer, units), expected)
        same(both(Deconvnet(chain, relu=relu), images, place, units), expected)


@pytest.mark.parametrize("pool", [F.max_pool2d, torch.max_pool2d])
def test_pooling_as_a_function(pool: Callable[..., Tensor]) -> None:
    images, plain = noise(2, 15), two_layers(F.relu)
    net = two_layers(lambda x: pool(F.relu(x), 3, 2), F.relu)
    net.pool = nn.Identity()
    units = lively(plain, images, "second")
    same(
        both(Deconvnet(net), images, "second", units),
        both(Deconvnet(plain), images, "second", units),
    )


class AddsInPlace(nn.Module):
    """A residual sum, as torchvision's `out += identity`: it overwrites what the block's last
    module returned."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1)
        self.in_place = in_place

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = self.block(x)
        if not self.in_place:
            return F.relu(y + x)
        y += x
        return F.relu(y, inplace=True)


def test_a_unit_is_what_its_module_returned() -> None:
    """Though a sum and a ReLU overwrite it right after."""
    images = noise(2, 9)
    careful, careless = seeded(lambda: AddsInPlace(False)), seeded(lambda: AddsInPlace(True))
    for layer in ("stem", "block"):
        units = [*lively(careful, images, layer), Unit(0, 2, 3, 3)]
        expected = both(Deconvnet(careful), images, layer, units)
        same(both(Deconvnet(careless), images, layer, units), expected)
        values = activations(careful, images, layer, units).clamp(min=0)
        same(Deconvnet(careless).patches(images, layer, units).values, values)


def test_images_survive_a_first_layer_in_place() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, dtype=torch.float64)
    net, images = nn.Sequential(nn.ReLU(inplace=True), conv, nn.ReLU(inplace=True)), noise(2, 9)
    before = images.clone()
    deconv = Deconvnet(net)
    units = lively(nn.Sequential(nn.ReLU(), conv, nn.ReLU()), images, "2")
    projections = both(deconv, images, "2", units)
    deconv.project_channel(images, "2", 1)
    deconv.patches(images, "2", units)
    assert torch.equal(images, before)
    assert (projections >= 0).all()
    assert projections.any()
