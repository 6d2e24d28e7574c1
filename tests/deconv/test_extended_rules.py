"""The extended rules equal a slow deconvnet in numpy and a walk down autograd's own graph."""

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
import timm
import torch
from timm.layers import Attention as TimmAttention
from timm.layers import DropPath, GluMlp, LayerScale, SqueezeExcite, SwiGLU
from torch import Tensor, nn
from torch.nn import functional as F

from tests.deconv.common import both, general, lively, noise, same, two_layers
from tests.reference import extended as slow
from tests.reference.deconvnet import Array, Conv, Layer, Variant, array, layer
from tests.reference.graph_walk import Walk, walk
from tests.reference.nets import seeded
from zfnet.deconv import Deconvnet, Unit
from zfnet.deconv.attention import attention_weights
from zfnet.errors import InputError
from zfnet.models.unit_axes import UnitAxes

RELUS = ("deconv", "guided", "gradient")
MAPS = UnitAxes("BCHW")
Call = Callable[[Tensor], Tensor]


class Lambda(nn.Module):
    def __init__(self, f: Call) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)


def strongest(walked: Walk) -> list[Unit]:
    """The most active channel at two corners of each image."""
    maps = walked.axes.maps(walked.values)
    bottom, right = maps.shape[2] - 1, maps.shape[3] - 1
    return [
        Unit(image, int(maps[image, :, y, x].argmax()), y, x)
        for image in range(len(maps))
        for y, x in ((0, 0), (bottom, right))
    ]


def equals_walk(
    net: nn.Module, images: Tensor, name: str, axes: UnitAxes = MAPS, relus: tuple[str, ...] = RELUS
) -> None:
    """The deconvnet of a layer's strongest units is that of the walk."""
    walked = Walk(net, images, name, axes)
    units = strongest(walked)
    for relu in relus:
        expected = torch.stack([walked.unit(unit, relu) for unit in units])
        assert expected.any()
        same(both(Deconvnet(net, relu=relu), images, name, units), expected, 1e-9)


def equals_slow(
    net: nn.Module, layers: list[Layer], images: Tensor, name: str, axes: UnitAxes = MAPS
) -> None:
    """The deconvnet of a layer's strongest units is that of numpy."""
    units = strongest(Walk(net, images, name, axes))
    for relu in RELUS:
        expected = [slow_unit(layers, images, unit, axes, relu) for unit in units]
        assert np.any(expected)
        same(
            both(Deconvnet(net, relu=relu), images, name, units),
            torch.from_numpy(np.stack(expected)),
            1e-9,
        )


def slow_unit(layers: list[Layer], images: Tensor, unit: Unit, axes: UnitAxes, relu: str) -> Array:
    values = slow.up(layers, array(images[unit.image]))
    place: tuple[int, ...] = (unit.channel, unit.y, unit.x)
    if axes.order == "BTC":
        place = (unit.y * axes.grid[1] + unit.x, unit.channel)
    seed = np.zeros(values.shape)
    seed[place] = max(values[place], 0)
    return slow.down(layers, seed, Variant(relu=relu))


# Activations

ACTIVATIONS: dict[str, tuple[Call, slow.Curve]] = {
    "ReLU6": (F.relu6, slow.RELU6),
    "LeakyReLU": (partial(F.leaky_relu, negative_slope=0.2), slow.leaky(0.2)),
    "PReLU": (
        lambda x: torch.prelu(x, torch.tensor([0.3]).to(x)),
        slow.leaky(float(np.float32(0.3))),
    ),
    "falling PReLU": (lambda x: F.prelu(x, torch.full((6,), -0.25).to(x)), slow.leaky(-0.25)),
    "RReLU": (F.rrelu, slow.leaky((1 / 8 + 1 / 3) / 2)),
    "ELU": (partial(F.elu, alpha=0.7), slow.elu(0.7)),
    "SELU": (F.selu, slow.elu(1.6732632423543772, 1.0507009873554805)),
    "CELU": (partial(F.celu, alpha=1.5), slow.elu(1.5, width=1.5)),
    "GELU": (F.gelu, slow.GELU),
    "SiLU": (F.silu, slow.SILU),
    "Mish": (F.mish, slow.MISH),
    "Softplus": (F.softplus, slow.SOFTPLUS),
    "Hardswish": (F.hardswish, slow.HARDSWISH),
    "clamp(0, 6)": (lambda x: x.clamp(0, 6), slow.RELU6),
    "Hardtanh(0, 6)": (lambda x: F.hardtanh(x, 0.0, 6.0), slow.RELU6),
    "Threshold": (lambda x: F.threshold(x, 0.4, 0.0), slow.threshold(0.4)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    f, curve = ACTIVATIONS[name]
    net = seeded(
        lambda: (
            nn.Sequential(nn.Conv2d(3, 6, 3), Lambda(f), nn.Conv2d(6, 4, 2, 2), Lambda(f))
            if "falling" not in name
            else nn.Sequential(nn.Conv2d(3, 6, 3), Lambda(f), nn.Conv2d(6, 4, 2, 2))
        )
    )
    layers = [slow.Activation(*curve) if isinstance(each, Lambda) else layer(each) for each in net]
    images = 2 * noise(2, 8)
    last = str(len(net) - 1)
    equals_slow(net, layers, images, last)
    equals_walk(net, images, last)


SPELLED: dict[str, tuple[Call, Call]] = {  # to the last bit as the function itself
    "silu": (F.silu, lambda x: x * x.sigmoid()),
    "silu, the other way around": (F.silu, lambda x: torch.sigmoid(x) * x),
    "silu in place": (F.silu, lambda x: x.mul_(x.sigmoid())),
    "erf": (F.gelu, lambda x: x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))),
    "erf, 0.5 first": (F.gelu, lambda x: 0.5 * x * (1.0 + torch.erf(x / math.sqrt(2.0)))),
    "erf, 0.5 inside": (F.gelu, lambda x: x * (0.5 * (1.0 + torch.erf(x / math.sqrt(2.0))))),
    "tanh": (
        partial(F.gelu, approximate="tanh"),
        lambda x: (
            0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3))))
        ),
    ),
    "tanh without a power": (
        partial(F.gelu, approximate="tanh"),
        lambda x: 0.5 * x * (1 + torch.tanh(x * math.sqrt(2 / math.pi) * (1 + 0.044715 * x * x))),
    ),
    "mish": (F.mish, lambda x: x * torch.tanh(F.softplus(x))),
    "hardswish": (F.hardswish, lambda x: x * (F.relu6(x + 3) / 6)),
    "hardswish by a clamp": (F.hardswish, lambda x: x * ((x + 3).clamp(0, 6) / 6)),
    "hardswish by a module": (F.hardswish, lambda x: x * F.hardsigmoid(x)),
}


@pytest.mark.parametrize("name", SPELLED)
def test_activations_spelled_out(name: str) -> None:
    """They are rectifiers, on all paths and with every rule."""
    named, spelled = SPELLED[name]
    images = noise(2, 15)
    net = two_layers(spelled, F.relu)
    equals_walk(net, images, "second")
    units = lively(net, images, "second")
    for relu in RELUS:
        for first in (two_layers, lambda f, _: chain_of(f)):
            found, expected = (
                both(Deconvnet(first(f, F.relu), relu=relu), images, name_of(first), units)
                for f in (spelled, named)
            )
            same(found, expected, 1e-6)  # torch's hardsigmoid multiplies by the float32 of 1/6


def chain_of(f: Call) -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), Lambda(f), nn.Conv2d(6, 4, 3)))


def name_of(build: object) -> str:
    return "second" if build is two_layers else "2"


def test_a_quick_gelu() -> None:
    equals_walk(chain_of(lambda x: x * torch.sigmoid(1.702 * x)), noise(2, 9), "2")


def test_a_squared_relu() -> None:
    equals_walk(chain_of(lambda x: F.relu(x) ** 2), noise(2, 9), "2")
    equals_walk(chain_of(lambda x: F.relu(x).square()), noise(2, 9), "2")


IN_PLACE: dict[str, list[Call]] = {
    "leaky_relu": [F.leaky_relu, nn.LeakyReLU(), nn.LeakyReLU(inplace=True), F.leaky_relu_],
    "elu": [F.elu, nn.ELU(), nn.ELU(inplace=True), F.elu_, lambda x: F.elu(x, 1.0, True)],
    "selu": [F.selu, nn.SELU(), nn.SELU(inplace=True), torch.selu, torch.selu_],
    "celu": [F.celu, nn.CELU(), nn.CELU(inplace=True), torch.celu, torch.celu_],
    "silu": [F.silu, nn.SiLU(), nn.SiLU(inplace=True), lambda x: F.silu(input=x)],
    "mish": [F.mish, nn.Mish(), nn.Mish(inplace=True), lambda x: F.mish(x, True)],
    "gelu": [F.gelu, nn.GELU(), lambda x: F.gelu(input=x, approximate="none")],
    "hardswish": [F.hardswish, nn.Hardswish(), nn.Hardswish(inplace=True)],
    "softplus": [F.softplus, nn.Softplus(), lambda x: F.softplus(x, 1, 20)],
    "relu6": [
        *(F.relu6, nn.ReLU6(), nn.ReLU6(inplace=True), nn.Hardtanh(0, 6), nn.Hardtanh(0, 6, True)),
        *(lambda x: x.clamp(0, 6), lambda x: x.clamp_(0, 6), lambda x: torch.clip(x, 0.0, 6.0)),
        lambda x: torch.clamp(x, max=6, min=0),
    ],
    "threshold": [
        *(lambda x: F.threshold(x, 0.1, 0.0), nn.Threshold(0.1, 0.0), nn.Threshold(0.1, 0.0, True)),
        lambda x: F.threshold_(x, 0.1, 0.0),
    ],
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_modules_functions_and_calls_in_place_are_the_same(name: str) -> None:
    """To the last bit."""
    images = noise(2, 15)
    nets = [two_layers(f) for f in IN_PLACE[name]]
    units = lively(nets[0], images, "second")
    for relu in RELUS:
        first, *others = (both(Deconvnet(net, relu=relu), images, "second", units) for net in nets)
        assert first.any()
        assert all(torch.equal(each, first) for each in others)


# Blocks of maps: normalizations, gates


class ConvNeXt(nn.Module):
    """A block of ConvNeXt: depthwise, LayerNorm, two linear layers, a LayerScale and a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 4, 2, 2), nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.norm, self.one, self.two = nn.LayerNorm(4), nn.Linear(4, 8), nn.Linear(8, 4)
        self.gamma, self.drop = nn.Parameter(torch.zeros(4)), DropPath(0.5)
        self.out = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.deep(x).permute(0, 2, 3, 1))
        y = self.gamma * self.two(F.gelu(self.one(y)))
        return self.out(x + self.drop(y.permute(0, 3, 1, 2)))

    def layers(self) -> list[Layer]:
        branch = [
            layer(self.deep),
            slow.Norm(array(self.norm.weight), array(self.norm.bias), 1e-5, 0),
            pointwise(self.one),
            slow.Activation(*slow.GELU),
            pointwise(self.two),
            slow.Scaled(array(self.gamma), last=False),
        ]
        return [layer(self.stem), slow.Residual(branch)]


def pointwise(linear: nn.Linear) -> Conv:
    weight = array(linear.weight)[:, :, None, None]
    return Conv(weight, array(linear.bias), (1, 1), (0, 0), (1, 1), 1)


def test_a_block_of_convnext() -> None:
    net, images = seeded(ConvNeXt), noise(2, 8)
    net.gamma.data += 1
    equals_slow(net, net.layers(), images, "out")
    equals_walk(net, images, "out")


def gamma_and_beta(module: nn.Module) -> tuple[Array, Array]:
    return array(module.weight), array(module.bias)


class RMSNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(6, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


NORMS: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], Layer]]] = {
    "GroupNorm": (
        lambda: nn.GroupNorm(3, 6),
        lambda norm: slow.GroupNorm(*gamma_and_beta(norm), 1e-5, 0, count=3),
    ),
    "plain GroupNorm": (
        lambda: nn.GroupNorm(2, 6, affine=False),
        lambda _: slow.GroupNorm(np.ones(6), np.zeros(6), 1e-5, 0, count=2),
    ),
    "InstanceNorm": (
        lambda: nn.InstanceNorm2d(6, affine=True),
        lambda norm: slow.GroupNorm(*gamma_and_beta(norm), 1e-5, 0, count=6),
    ),
    "plain InstanceNorm": (
        lambda: nn.InstanceNorm2d(6),
        lambda _: slow.GroupNorm(np.ones(6), np.zeros(6), 1e-5, 0, count=6),
    ),
    "LayerNorm of maps": (
        lambda: nn.GroupNorm(1, 6),
        lambda norm: slow.GroupNorm(*gamma_and_beta(norm), 1e-5, 0, count=1),
    ),
    "LayerNorm of positions": (
        lambda: timm.layers.LayerNorm2d(6),
        lambda norm: slow.Norm(*gamma_and_beta(norm), 1e-6, 0),
    ),
    "normalize": (
        lambda: Lambda(F.normalize),
        lambda _: slow.Norm(np.full(6, 6**-0.5), np.zeros(6), 0.0, 0, centered=False),
    ),
    "RMSNorm": (
        RMSNorm,
        lambda each: slow.Norm(array(each.norm.weight), np.zeros(6), 1e-3, 0, centered=False),
    ),
}


@pytest.mark.parametrize("name", NORMS)
def test_normalizations_by_statistics_of_the_image(name: str) -> None:
    build, describe = NORMS[name]
    net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), build(), nn.ReLU(), nn.Conv2d(6, 3, 2)))
    layers = [layer(net[0]), describe(net[1]), layer(net[2]), layer(net[3])]
    images = noise(2, 7)
    equals_slow(net, layers, images, "3")
    equals_walk(net, images, "3")


def test_instance_norm_by_running_statistics_is_a_constant_scale() -> None:
    """In evaluation it is batch norm, which needs no extended rule."""
    nets = [
        seeded(lambda norm=norm: nn.Sequential(nn.Conv2d(3, 6, 3), norm, nn.Conv2d(6, 3, 2)))
        for norm in (
            nn.InstanceNorm2d(6, affine=True, track_running_stats=True),
            nn.BatchNorm2d(6),
        )
    ]
    nets[1].load_state_dict(nets[0].state_dict())
    images = noise(2, 7)
    units = lively(nets[1], images, "2")
    found, expected = (general(Deconvnet(net, strict=True), images, "2", units) for net in nets)
    same(found, expected)


class Gated(nn.Module):
    """A convolution, a gate and another convolution."""

    def __init__(self, gate: Callable[[], nn.Module], channels: int = 8, out: int = 8) -> None:
        super().__init__()
        self.first, self.gate, self.last = (
            nn.Conv2d(3, channels, 3),
            gate(),
            nn.Conv2d(out, 4, 2, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.gate(self.first(x)))


def test_squeeze_and_excitation() -> None:
    net, images = seeded(lambda: Gated(lambda: SqueezeExcite(8, rd_channels=4))), noise(2, 8)
    one, two = pointwise_weights(net.gate.fc1), pointwise_weights(net.gate.fc2)

    def excite(x: Array) -> Array:
        x = np.maximum(one[0] @ x + one[1], 0)
        return slow.each(slow.sigmoid, two[0] @ x + two[1])

    layers = [layer(net.first), slow.SqueezeExcitation(excite), layer(net.last)]
    equals_slow(net, layers, images, "last")
    equals_walk(net, images, "last")


def pointwise_weights(conv: nn.Conv2d) -> tuple[Array, Array]:
    return array(conv.weight)[:, :, 0, 0], array(conv.bias)


GLUS: dict[str, tuple[Call, slow.Scalar, bool]] = {
    "glu": (lambda x: F.glu(x, 1), slow.sigmoid, True),
    "glu module": (nn.GLU(1), slow.sigmoid, True),
    "glu by hand": (lambda x: x[:, :4] * x[:, 4:].sigmoid(), slow.sigmoid, True),
    "SwiGLU": (lambda x: F.silu(x[:, :4]) * x[:, 4:], slow.SILU[0], False),
    "GeGLU": (lambda x: x[:, :4] * F.gelu(x[:, 4:]), slow.GELU[0], True),
    "ReGLU": (lambda x: x.chunk(2, 1)[0] * x.chunk(2, 1)[1].relu(), lambda x: max(x, 0), True),
}


@pytest.mark.parametrize("name", GLUS)
def test_gated_linear_units(name: str) -> None:
    f, curve, first = GLUS[name]
    net, images = seeded(lambda: Gated(lambda: Lambda(f), out=4)), noise(2, 8)
    layers = [layer(net.first), slow.GatedLinearUnit(curve, 0, first), layer(net.last)]
    equals_slow(net, layers, images, "last")
    equals_walk(net, images, "last")


OTHER_GATES: dict[str, Call] = {
    "divided by its norm": lambda x: x / x.norm(dim=1, keepdim=True),
    "divided by its mean": lambda x: x / (1 + x.square().mean((1, 2, 3), keepdim=True)),
    "root mean square by hand": lambda x: x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-6),
    "global response": lambda x: (
        x + x * (spread(x) / (spread(x).mean(1, keepdim=True) + 1e-6)) * 0.7
    ),
    "a map as a gate": lambda x: x * x.mean(1, keepdim=True).sigmoid(),
    "a softmax of channels": lambda x: x * x.mean((2, 3), keepdim=True).softmax(1),
    "two gates": lambda x: (
        x * x.mean(1, keepdim=True).sigmoid() * x.mean((2, 3), keepdim=True).sigmoid()
    ),
    "hard gate": lambda x: x * F.hardsigmoid(x.mean((2, 3), keepdim=True)),
    "bounded gate": lambda x: x * F.relu6(x.mean((2, 3), keepdim=True) + 3) / 6,
    "gate in place": lambda x: x.mul_(x.mean((2, 3), keepdim=True).sigmoid()),
}


def spread(x: Tensor) -> Tensor:
    return x.norm(p=2, dim=(2, 3), keepdim=True)


@pytest.mark.parametrize("name", OTHER_GATES)
def test_other_gates(name: str) -> None:
    equals_walk(seeded(lambda: Gated(lambda: Lambda(OTHER_GATES[name]))), noise(2, 8), "last")


MAXIMA: dict[str, tuple[Call, tuple[int, ...]]] = {  # the axes without that of the images
    "amax": (lambda x: x.amax((2, 3), keepdim=True), (1, 2)),
    "amax of a channel": (lambda x: x.amax((-1, -2))[:, :, None, None], (1, 2)),
    "adaptive": (nn.AdaptiveMaxPool2d(1), (1, 2)),
    "adaptive, with indices": (lambda x: F.adaptive_max_pool2d(x, 1, True)[0], (1, 2)),
    "columns": (lambda x: x.max(dim=3, keepdim=True)[0], (2,)),
    "rows": (lambda x: torch.max(x, 2, True).values, (1,)),
    "rows, dropped": (lambda x: x.max(2).values[:, :, None], (1,)),
    "adaptive rows": (lambda x: F.adaptive_max_pool2d(x, (1, 6)), (1,)),
}


@pytest.mark.parametrize("name", MAXIMA)
def test_the_place_of_a_maximum_is_a_switch(name: str) -> None:
    f, axes = MAXIMA[name]
    net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), Lambda(f), nn.Conv2d(6, 3, 1)))
    layers = [layer(net[0]), slow.Largest(axes), layer(net[2])]
    equals_slow(net, layers, noise(2, 8), "2")


LIKE_THE_PAPERS: dict[str, tuple[Call, Call]] = {  # a max pooling of maps, and another function
    "adaptive": (nn.MaxPool2d(2), nn.AdaptiveMaxPool2d(3)),
    "of rows": (
        nn.MaxPool2d((1, 2)),
        lambda x: F.max_pool1d(x.flatten(1, 2), 2).unflatten(1, (6, 6)),
    ),
    "of volumes": (nn.MaxPool2d(2), lambda x: F.max_pool3d(x, (1, 2, 2))),
}


@pytest.mark.parametrize("name", LIKE_THE_PAPERS)
def test_other_poolings_are_like_those_of_maps(name: str) -> None:
    images, found = noise(2, 8), []
    for f in LIKE_THE_PAPERS[name]:
        net = seeded(lambda f=f: nn.Sequential(nn.Conv2d(3, 6, 3), Lambda(f), nn.Conv2d(6, 3, 1)))
        deconv = Deconvnet(net, seed="forced")
        found.append(general(deconv, images, "2", [Unit(1, 1, 1, 2), Unit(0, 2)]))
    same(found[1], found[0])
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveMaxPool2d(3)).double()
    with pytest.raises(InputError, match="adaptive_max_pool2d has no deconvnet"):
        Deconvnet(net, unpool="center").project(images, "1", [Unit(0, 0)])


Hold = Callable[[Tensor], Tensor]


def pooled(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def gate(x: Tensor) -> Tensor:
    return pooled(x).sigmoid()[:, :, None, None]


def sampled(x: Tensor, hold: Hold) -> Tensor:
    theta = torch.eye(2, 3).to(x) + 0.3 * pooled(x)[:, :6].view(-1, 2, 3).tanh()
    return F.grid_sample(x, hold(F.affine_grid(theta, x.shape, False)), align_corners=False)


def query_again(x: Tensor, hold: Hold) -> Tensor:
    """Linear attention, and its queries times a linear function of its values, as in CoaT."""
    queries, keys = hold(x.flatten(2) * 2), hold(x.flip(1).flatten(2).softmax(2))
    values = x.flip(3).flatten(2)
    attended = (queries.mT @ (keys @ values.mT)).mT
    return (attended + queries * values.flip(2)).view_as(x)


HELD: dict[str, Callable[[Tensor, Hold], Tensor]] = {  # `hold` marks what is a switch
    "addcmul": lambda x, hold: torch.addcmul(x, x.flip(1), hold(gate(x)), value=0.5),
    "addcmul as a method": lambda x, hold: x.addcmul(hold(gate(x)), x.flip(1)),
    "lerp": lambda x, hold: torch.lerp(x, x.flip(1), hold(gate(x))),
    "sampling grid": sampled,
    "a query again": query_again,
}


@pytest.mark.parametrize("name", HELD)
def test_switches_are_constant(name: str) -> None:
    """A net in which they are constants of this image has the same projection, and is linear."""
    images, kept = noise(1, 8), list[Tensor]()

    def record(switch: Tensor) -> Tensor:
        kept.append(switch.detach())
        return switch

    net, constant = (
        seeded(lambda hold=hold: Gated(lambda: Lambda(lambda x: HELD[name](x, hold))))
        for hold in (record, lambda given: kept[next(numbers)].expand_as(given))
    )
    net(images)
    numbers = itertools.cycle(range(len(kept)))
    units = lively(net, images, "last")
    expected = general(Deconvnet(constant, strict=True), images, "last", units)
    same(general(Deconvnet(net), images, "last", units), expected)


def test_the_larger_of_two_values() -> None:
    """R goes to the larger one, as through a maximum over both."""
    nets = [
        seeded(lambda f=f: Gated(lambda: Lambda(f), out=4))
        for f in (
            lambda x: torch.maximum(*x.chunk(2, 1)),
            lambda x: torch.max(*x.chunk(2, 1)),
            lambda x: torch.stack(x.chunk(2, 1)).amax(0),
        )
    ]
    images = noise(2, 8)
    units = lively(nets[0], images, "last")
    first, second, third = (general(Deconvnet(net), images, "last", units) for net in nets)
    same(first, third)
    same(second, third)
    seen = Deconvnet(nets[0]).window("last", Unit(0, 0), 8)
    assert seen == (0, 0, 4, 4)
    assert Deconvnet(nets[0]).extended_rules("last", 8) == {"max": 1}


# Tokens: attention

TOKENS = UnitAxes("BTC", (3, 3))


class Transformer(nn.Module):
    """Patches of 3 x 3 pixels as tokens, a block, and a linear layer."""

    def __init__(self, block: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.patch, self.block, self.out = nn.Conv2d(3, 8, 3, 3), block(), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.block(self.patch(x).flatten(2).transpose(1, 2)))

    def layers(self, *block: Layer) -> list[Layer]:
        return [layer(self.patch), slow.Tokens(), *block, token_linear(self.out)]


def token_linear(linear: nn.Linear) -> Layer:
    return slow.TokenLinear(array(linear.weight), array(linear.bias))


Heads = Callable[[Tensor, Tensor, Tensor], Tensor]


class Attention(nn.Module):
    """`attend` gets (B, heads, T, C / heads) of queries, keys and values."""

    def __init__(self, attend: Heads, heads: int = 2, key_heads: int = 2) -> None:
        super().__init__()
        self.attend, self.heads, self.key_heads = attend, heads, key_heads
        shared = 8 // heads * key_heads
        self.query, self.key, self.value = (
            nn.Linear(8, 8),
            nn.Linear(8, shared),
            nn.Linear(8, shared),
        )

    def forward(self, x: Tensor) -> Tensor:
        q = self.query(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = (
            f(x).unflatten(2, (self.key_heads, -1)).transpose(1, 2) for f in (self.key, self.value)
        )
        return self.attend(q, k, v).transpose(1, 2).flatten(2)

    def layer(self, mask: Tensor | None) -> Layer:
        weights = [(array(f.weight), array(f.bias)) for f in (self.query, self.key, self.value)]
        given = None if mask is None else array(mask)
        return slow.Attention(*weights, self.heads, self.key_heads, given)


GENERATOR = torch.Generator().manual_seed(0)
SEEN = torch.rand(9, 9, generator=GENERATOR) > 0.5
SEEN[0] = False  # a token that sees none
SEEN[1:, 1] = True
ADDED = torch.randn(9, 9, generator=GENERATOR, dtype=torch.float64)
HIDDEN = torch.zeros(9, 9, dtype=torch.float64).masked_fill(~SEEN, -math.inf)
LATER = torch.full((9, 9), -math.inf, dtype=torch.float64).triu(1)
sdpa = F.scaled_dot_product_attention


def scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])


def by_einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = torch.einsum("bhid,bhjd->bhij", q * q.shape[-1] ** -0.5, k).softmax(-1)
    return torch.einsum("bhij,bhjd->bhid", weights, v)


def by_bmm(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = torch.softmax(scores(q.flatten(0, 1), k.flatten(0, 1)), dim=-1)
    return torch.bmm(weights, v.flatten(0, 1)).view_as(v)


ATTENTION: dict[str, tuple[Heads, Tensor | None]] = {
    "function": (sdpa, None),
    "function by keywords": (lambda q, k, v: sdpa(query=q, key=k, value=v), None),
    "bool mask": (lambda q, k, v: sdpa(q, k, v, SEEN), HIDDEN),
    "float mask": (lambda q, k, v: sdpa(q, k, v, attn_mask=ADDED), ADDED),
    "causal": (lambda q, k, v: sdpa(q, k, v, is_causal=True), LATER),
    "scale": (lambda q, k, v: sdpa(q * 0.25, k, v, scale=2.0), None),
    "spelled out": (lambda q, k, v: scores(q, k).softmax(-1) @ v, None),
    "with a mask": (lambda q, k, v: (scores(q, k) + ADDED).softmax(-1) @ v, ADDED),
    "causal, spelled out": (
        lambda q, k, v: scores(q, k).masked_fill(LATER < 0, -math.inf).softmax(-1) @ v,
        LATER,
    ),
    "einsum": (by_einsum, None),
    "bmm": (by_bmm, None),
    "transposed": (lambda q, k, v: (v.mT @ scores(k, q).softmax(-2)).mT, None),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name: str) -> None:
    attend, mask = ATTENTION[name]
    net, images = seeded(lambda: Transformer(lambda: Attention(attend))), noise(1, 9)
    equals_slow(net, net.layers(net.block.layer(mask)), images, "out", TOKENS)
    equals_walk(net, images, "out", TOKENS)


def test_queries_that_share_their_keys() -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return sdpa(q, k, v, enable_gqa=True)

    net, images = seeded(lambda: Transformer(lambda: Attention(attend, 4, 2))), noise(1, 9)
    equals_slow(net, net.layers(net.block.layer(None)), images, "out", TOKENS)
    equals_walk(net, images, "out", TOKENS)


class SelfAttention(nn.Module):
    """torch's own module."""

    def __init__(self, **words: bool) -> None:
        super().__init__()
        self.attention, self.words = nn.MultiheadAttention(8, 2, batch_first=True), words

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, **self.words)[0]


def parts_of(attention: nn.MultiheadAttention) -> list[Layer]:
    weights, biases = (
        np.split(array(each), 3) for each in (attention.in_proj_weight, attention.in_proj_bias)
    )
    heads = attention.num_heads
    return [
        slow.Attention(*zip(weights, biases, strict=True), heads, heads),
        token_linear(attention.out_proj),
    ]


@pytest.mark.parametrize(
    "words",
    [
        {"need_weights": True},
        {"need_weights": False},
        {"need_weights": True, "average_attn_weights": False},
    ],
    ids=lambda words: str(list(words.values())),
)
def test_attention_as_torchs_module(words: dict[str, bool]) -> None:
    net, images = seeded(lambda: Transformer(lambda: SelfAttention(**words))), noise(1, 9)
    equals_slow(net, net.layers(*parts_of(net.block.attention)), images, "out", TOKENS)
    equals_walk(net, images, "out", TOKENS)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_an_encoder_layer(norm_first: bool, activation: str) -> None:
    net = seeded(
        lambda: Transformer(
            lambda: nn.TransformerEncoderLayer(
                8, 2, 12, activation=activation, batch_first=True, norm_first=norm_first
            )
        )
    )
    block = net.block
    for norm in (block.norm1, block.norm2):
        norm.weight.data += 1
    norms = [slow.Norm(*gamma_and_beta(norm), norm.eps, 1) for norm in (block.norm1, block.norm2)]
    curve = slow.GELU if activation == "gelu" else (lambda x: max(x, 0), lambda x: float(x > 0))
    branches = [
        parts_of(block.self_attn),
        [token_linear(block.linear1), slow.Activation(*curve), token_linear(block.linear2)],
    ]
    layers: list[Layer] = []
    for norm, branch in zip(norms, branches, strict=True):
        layers += [slow.Residual([norm, *branch])] if norm_first else [slow.Residual(branch), norm]
    images = noise(1, 9)
    equals_slow(net, net.layers(*layers), images, "out", TOKENS)
    equals_walk(net, images, "out", TOKENS)


def test_a_token_has_its_own_position_in_the_image() -> None:
    """It is that of its patch of pixels, although the token sees all of the image."""
    deconv = Deconvnet(seeded(lambda: Transformer(BLOCKS["block"])))
    for y, x in np.ndindex(3, 3):
        unit = Unit(0, 0, y, x)
        assert deconv.window("out", unit, 9) == (0, 0, 9, 9)
        assert deconv.cell("out", unit, 9) == deconv.window("patch", unit, 9)
        assert deconv.cell("patch", unit, 9) == deconv.window("patch", unit, 9)
    vector = Deconvnet(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2)))
    assert vector.cell("2", Unit(0, 0), 3) is None


def timm_attention(fused: bool) -> nn.Module:
    attention = TimmAttention(8, num_heads=2, qkv_bias=True, qk_norm=True, norm_layer=nn.LayerNorm)
    attention.fused_attn = fused
    return attention


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "fused attention": lambda: timm_attention(True),
    "attention": lambda: timm_attention(False),
    "SwiGLU": lambda: SwiGLU(8),
    "GLU": lambda: GluMlp(8),
    "GeGLU": lambda: GluMlp(8, act_layer=nn.GELU),
    "LayerScale in place": lambda: nn.Sequential(nn.Linear(8, 8), LayerScale(8, inplace=True)),
    "block": lambda: timm.models.vision_transformer.Block(8, 2, init_values=1.0, drop_path=0.3),
    "mixer": lambda: timm.models.mlp_mixer.MixerBlock(8, 9),
    "encoder": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=True), 2,
        enable_nested_tensor=False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_tokens(name: str) -> None:
    net, images = seeded(lambda: Transformer(BLOCKS[name])), noise(1, 9)
    equals_walk(net, images, "out", TOKENS)


def test_fused_and_spelled_attention_agree() -> None:
    images, unit = noise(1, 9), Unit(0, 2, 1, 1)
    nets = [seeded(lambda f=f: Transformer(lambda: timm_attention(f))) for f in (True, False)]
    first, second = (Deconvnet(net, seed="forced").project(images, "out", [unit]) for net in nets)
    same(first, second, 1e-12)


@pytest.mark.parametrize("mask", [None, SEEN, ADDED], ids=["none", "bool", "float"])
def test_attention_weights_are_those_of_the_function(mask: Tensor | None) -> None:
    q, k, v = torch.randn(3, 2, 4, 9, 5, generator=GENERATOR, dtype=torch.float64)
    same(attention_weights(q, k, mask) @ v, sdpa(q, k, v, mask))
    weights = attention_weights(q, k[:, :2], mask, scale=0.3)
    same(weights @ v, sdpa(q, k[:, :2].repeat_interleave(2, 1), v, mask, scale=0.3))


# Known networks


def small_swin() -> nn.Module:
    return timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=28, depths=(1, 1), num_heads=(1, 2), embed_dim=16
    )


KNOWN: dict[str, tuple[Callable[[], nn.Module], int, str, UnitAxes]] = {
    "convnext": (
        lambda: timm.create_model("convnext_atto", depths=(1, 1, 1, 1)),
        *(32, "stages.3.blocks.0.mlp.act", MAPS),
    ),
    "vit": (
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=48, depth=3, embed_dim=24),
        *(48, "blocks.2", UnitAxes("BTC", (3, 3), 1)),
    ),
    "swin": (small_swin, 28, "layers.1", UnitAxes("BHWC")),
    "mobilenet": (
        lambda: timm.create_model("mobilenetv3_small_050"),
        *(48, "blocks.3.0.bn2.act", MAPS),
    ),
    "efficientnet": (lambda: timm.create_model("efficientnet_b0"), 32, "blocks.2.1", MAPS),
    "mixer": (
        lambda: timm.models.mlp_mixer.MlpMixer(
            img_size=64, patch_size=32, num_blocks=2, embed_dim=32
        ),
        *(64, "blocks.1", UnitAxes("BTC", (2, 2))),
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_networks(name: str) -> None:
    build, size, last, axes = KNOWN[name]
    net, images = seeded(build), noise(1, size)
    equals_walk(net, images, last, axes, relus=("deconv", "guided"))


# What the options mean


@pytest.mark.parametrize("seed", ["one", "forced"])
@pytest.mark.parametrize("name", KNOWN)
def test_all_gradients_are_autograds(name: str, seed: str) -> None:
    build, size, last, axes = KNOWN[name]
    net, images = seeded(build), noise(1, size)
    is_gradient(net, images, last, axes, seed)


TAKEN: dict[str, Callable[[], nn.Module]] = {
    "convnext": ConvNeXt,
    **{f"norm {key}": lambda f=f: Gated(f[0], channels=6, out=6) for key, f in NORMS.items()},
    **{f"unit {key}": lambda f=f: Gated(lambda: Lambda(f[0]), out=4) for key, f in GLUS.items()},
    **{f"gate {key}": lambda f=f: Gated(lambda: Lambda(f)) for key, f in OTHER_GATES.items()},
    **{f"spelled {key}": lambda f=f: Gated(lambda: Lambda(f[1])) for key, f in SPELLED.items()},
}


@pytest.mark.parametrize("name", TAKEN)
def test_all_gradients_of_maps_are_autograds(name: str) -> None:
    last = "out" if name == "convnext" else "last"
    is_gradient(seeded(TAKEN[name]), noise(2, 8), last, MAPS, "forced")


@pytest.mark.parametrize("name", [*BLOCKS, *(name for name in ATTENTION if name != "bool mask")])
def test_all_gradients_of_tokens_are_autograds(name: str) -> None:
    build = BLOCKS[name] if name in BLOCKS else lambda: Attention(ATTENTION[name][0])
    is_gradient(seeded(lambda: Transformer(build)), noise(1, 9), "out", TOKENS, "forced")


def is_gradient(net: nn.Module, images: Tensor, name: str, axes: UnitAxes, seed: str) -> None:
    words = {"relu": "gradient", "normalization": "gradient", "others": "gradient", "seed": seed}
    kept: list[Tensor] = []
    handle = net.get_submodule(name).register_forward_hook(lambda *given: kept.append(given[2] * 1))
    pixels = images.clone().requires_grad_()
    net(pixels * 1)
    handle.remove()
    maps = axes.maps(kept[0])
    image, y, x = len(maps) - 1, maps.shape[2] - 1, maps.shape[3] - 1
    unit = Unit(image, int(maps[image, :, y, x].argmax()), y, x)
    value = maps[unit.image, unit.channel, unit.y, unit.x]
    assert value > 0 or seed == "forced"
    (expected,) = torch.autograd.grad(value, pixels)
    found = general(Deconvnet(net, **words), images, name, [unit])
    same(found[0], expected[unit.image], 1e-12)


def test_gates_alone_by_their_gradient() -> None:
    """With others="gradient" R passes through the gate as well."""
    net, images = seeded(lambda: Gated(lambda: Lambda(OTHER_GATES["a map as a gate"]))), noise(2, 8)
    units = lively(net, images, "last")
    constant = general(Deconvnet(net), images, "last", units)
    assert not torch.allclose(
        general(Deconvnet(net, others="gradient"), images, "last", units), constant
    )


# Properties


def everything() -> Iterator[tuple[str, nn.Module, int, str, UnitAxes]]:
    yield "convnext", seeded(ConvNeXt), 8, "out", MAPS
    yield "gated", seeded(lambda: Gated(lambda: SqueezeExcite(8, rd_channels=4))), 8, "last", MAPS
    yield "block", seeded(lambda: Transformer(BLOCKS["block"])), 9, "out", TOKENS
    yield "gelu", two_layers(F.gelu), 15, "second", MAPS


@pytest.mark.parametrize(
    ("net", "size", "name", "axes"),
    [each[1:] for each in everything()],
    ids=[each[0] for each in everything()],
)
@pytest.mark.parametrize("relu", RELUS)
def test_r_scales_and_repeats(
    net: nn.Module, size: int, name: str, axes: UnitAxes, relu: str
) -> None:
    """R(kE) = k R(E) for k > 0, R(0) = 0, and the same bits in every run."""
    images = noise(2, size)
    walked = Walk(net, images, name, axes)
    unit = strongest(walked)[0]
    value = float(axes.maps(walked.values)[unit.image, unit.channel, unit.y, unit.x])
    assert value > 0
    first, again = (Deconvnet(net, relu=relu).project(images, name, [unit]) for _ in range(2))
    assert torch.equal(first, again)
    one = Deconvnet(net, relu=relu, seed="one").project(images, name, [unit])
    same(first, value * one)
    maps = axes.maps(walked.values)
    channel, y, x = (int(each) for each in np.unravel_index(int(maps[0].argmin()), maps[0].shape))
    dead = Unit(0, channel, y, x)
    assert maps[0, channel, y, x] < 0
    assert not Deconvnet(net, relu=relu).project(images, name, [dead]).any()


def paper_nets() -> Iterator[tuple[nn.Module, str]]:
    yield two_layers(F.relu), "second"
    yield seeded(lambda: timm.create_model("resnet10t")), "layer2"


@pytest.mark.parametrize("relu", RELUS)
def test_strict_changes_no_bit_of_a_net_of_the_papers_kind(relu: str) -> None:
    for net, name in paper_nets():
        images = noise(2, 33)
        units = lively(net, images, name)
        found, strict = (Deconvnet(net, relu=relu, strict=strict) for strict in (False, True))
        assert torch.equal(found.project(images, name, units), strict.project(images, name, units))
        assert torch.equal(
            general(found, images, name, units), general(strict, images, name, units)
        )


WINDOWS: dict[str, Callable[[], nn.Module]] = {
    "gelu": lambda: two_layers(F.gelu),
    "spelled": lambda: two_layers(SPELLED["erf"][1]),
    "glu": lambda: Gated(lambda: Lambda(GLUS["SwiGLU"][0]), out=4),
    "local norm": lambda: Gated(lambda: timm.layers.LayerNorm2d(8)),
    "local gate": lambda: Gated(lambda: Lambda(OTHER_GATES["a map as a gate"])),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_nothing_lies_outside_the_window(name: str) -> None:
    """A switch sees more than R passes through, but R itself stays in the receptive field."""
    net, images = seeded(WINDOWS[name]), noise(2, 24)
    last = "second" if isinstance(net.get_submodule(""), type(two_layers(F.relu))) else "last"
    deconv = Deconvnet(net, seed="forced")
    channels, height, width = deconv.units(last, 24)
    unit = Unit(1, channels - 1, height // 2, width // 2)
    seen = deconv.window(last, unit, 24)
    assert seen.bottom - seen.top < 24
    projection = deconv.project(images, last, [unit])[0].clone()
    assert projection.any()
    projection[:, seen.top : seen.bottom, seen.left : seen.right] = 0
    assert not projection.any()


STRICT: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "convnext": (ConvNeXt, "out", "gelu"),
    "gated": (lambda: Gated(lambda: SqueezeExcite(8, rd_channels=4)), "last", "mul"),
    "group norm": (lambda: Gated(NORMS["GroupNorm"][0], 6, 6), "last", "group_norm"),
    "instance norm": (lambda: Gated(NORMS["InstanceNorm"][0], 6, 6), "last", "normalization"),
    "glu": (lambda: Gated(lambda: Lambda(GLUS["glu"][0]), out=4), "last", "glu"),
    "silu": (lambda: chain_of(SPELLED["silu"][1]), "2", "mul"),
    "attention": (lambda: Transformer(lambda: Attention(sdpa)), "out", "attention"),
}


@pytest.mark.parametrize("name", STRICT)
def test_strict_refuses_them_by_name(name: str) -> None:
    build, last, word = STRICT[name]
    with pytest.raises(InputError, match=rf"{word}\b.* has no deconvnet"):
        Deconvnet(seeded(build), strict=True).project(noise(1, 9), last, [Unit(0, 0)])


REFUSED: dict[str, tuple[Call, str]] = {  # what looks like an extended rule, and is not
    "a norm with a bias of the image": (
        lambda x: F.group_norm(x, 2, bias=pooled(x)[0]),
        "group_norm",
    ),
    "a norm with a weight of the image": (
        lambda x: F.layer_norm(x.movedim(1, -1), (8,), pooled(x)[0]).movedim(-1, 1),
        "layer_norm",
    ),
    "a slope of the image": (lambda x: F.prelu(x, pooled(x)[0].sigmoid()), "prelu"),
    "a filter and a bias of the image": (
        lambda x: F.conv2d(x, pooled(x).sigmoid().expand(8, 8)[:, :, None, None], pooled(x)[0]),
        "conv2d",
    ),
    "a rounded quotient": (
        lambda x: torch.div(x, 1 + x.sigmoid().mean(), rounding_mode="floor"),
        "div",
    ),
    "an activation over its own multiple": (
        lambda x: (0.5 * x).mul_(1 + torch.erf(x / math.sqrt(2))),
        "mul_",
    ),
    "a gate of the same shape": (lambda x: x * (x.flip(1) + 1), "mul"),
    "two alike": (lambda x: x.relu() * x.flip(1).relu(), "mul"),
    "two gates without a value": (lambda x: x.tanh() * x.flip(1).sigmoid(), "mul"),
    "a square": (lambda x: x * x, "mul"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_only_resembles_them_is_refused(name: str) -> None:
    f, word = REFUSED[name]
    net, image = seeded(lambda: Gated(lambda: Lambda(f))), noise(1, 8)
    with pytest.raises(InputError, match=rf"\b{word}\b.* has no deconvnet"):
        Deconvnet(net).project(image, "last", [Unit(0, 0)])
    is_gradient(net, image, "last", MAPS, "forced")


def test_walks_of_a_relu_net_are_the_papers() -> None:
    """The reference itself, on a net without any extended rule."""
    net, images = two_layers(F.relu), noise(2, 15)
    units = lively(net, images, "second")
    for relu in RELUS:
        expected = both(Deconvnet(net, relu=relu, strict=True), images, "second", units)
        same(walk(net, images, "second", units, relu=relu), expected)
