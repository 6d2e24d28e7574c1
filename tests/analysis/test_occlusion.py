"""The occlusion sweep: by hand, against the plain way and captum's; its places, its errors, no trace left."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from captum.attr import Occlusion
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.deconv.common import googlenet, narrow, noise, values_of
from tests.reference.nets import Chain, chains, seeded
from zfnet.analysis.occlusion import Sweep, occlusion_sweep
from zfnet.errors import InputError
from zfnet.models import ALEXNET, ZFNET, ContrastNormalization, ConvNet, edited
from zfnet.models.reading import evaluating

PLACES = 6  # along one axis, at most
SIDE = 47  # the smallest that both nets take


def close(found: Tensor, expected: Tensor, clean: Tensor) -> None:
    """Equal to 1e-12 of the largest magnitude, of the clean picture's values too: they may all sink to 0."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    largest = max(expected.abs().max().item(), clean.abs().max().item())
    difference = (found - expected).abs().max().item()
    assert difference <= 1e-12 * largest, f"{difference} of {largest}"


def agree(model: nn.Module, images: Tensor, size: int, stride: int, **more: Any) -> Sweep:
    """The sweep, once the plain one has given the same."""
    before = images.clone()
    fast = occlusion_sweep(model, images, None, size, stride, **more)
    slow = occlusion_sweep(model, images, None, size, stride, plainly=True, **more)
    assert torch.equal(images, before)
    assert torch.equal(fast.clean_logits, slow.clean_logits)
    assert torch.equal(fast.target, slow.target)
    close(fast.logits, slow.logits, slow.clean_logits)
    assert torch.equal(fast.best, slow.best)
    assert (fast.activity is None) == (slow.activity is None) == (more.get("layer") is None)
    if fast.activity is not None and slow.activity is not None:
        assert fast.clean_activity is not None
        assert slow.clean_activity is not None
        close(fast.activity, slow.activity, slow.clean_activity)
        close(fast.clean_activity, slow.clean_activity, slow.clean_activity)
        assert torch.equal(fast.strongest, slow.strongest)
    return fast


@st.composite
def squares(draw: Callable[..., Any], sides: Sequence[int]) -> dict[str, Any]:
    """A size up to the whole image, a stride that gives few places, mostly cut at the end, and a colour."""
    small, large = min(sides), max(sides)
    size = draw(st.one_of(st.sampled_from([1, 1, small, small - 1]), st.integers(1, small)))
    least = max(1, math.ceil((large - size) / (PLACES - 1)))
    stride = draw(st.one_of(st.just(least), st.integers(least, max(large, least + 1))))
    value = st.floats(-2, 2)
    return {
        "size": size,
        "stride": stride,
        "fill": draw(st.one_of(st.just(0.0), value, st.tuples(*[value] * 3))),
    }


MIDDLE, DENSE = ("conv3", "conv4"), ("fc6", "fc7")
REMOVED = st.sampled_from([(), ("conv3",), ("conv4",), MIDDLE, ("fc6",), ("fc7",), DENSE, MIDDLE + DENSE])


@st.composite
def convnets(draw: Callable[..., Any]) -> tuple[ConvNet, Tensor]:
    """ZFNet or AlexNet, narrow, edited as in Table 3, for small images of an odd side."""
    table = draw(st.sampled_from([ZFNET, ALEXNET]))
    edit: dict[str, Any] = {f"conv{i}": {"maps": draw(st.sampled_from([4, 6, 8]))} for i in range(1, 6)}
    normalise = draw(st.booleans())
    edit |= {name: {**edit[name], "normalise": normalise} for name in ("conv1", "conv2")}
    edit |= {name: {"units": draw(st.integers(8, 16))} for name in ("fc6", "fc7")}
    edit |= dict.fromkeys(draw(REMOVED), None)
    side, seed = 2 * draw(st.integers(23, 43)) + 1, draw(st.integers(0, 99))
    net = seeded(lambda: ConvNet(edited(table, edit), num_classes=5, image_size=side), seed)
    assert isinstance(net, ConvNet)
    return net, noise(1, side, seed)


@settings(max_examples=50, report_multiple_bugs=False)
@given(convnets(), st.data())
def test_convnets(drawn: tuple[ConvNet, Tensor], data: st.DataObject) -> None:
    """(1) Any table, layer, square and picture."""
    net, images = drawn
    parts = [name for name, module in net.named_modules() if name and not list(module.children())]
    layer = data.draw(st.sampled_from([None, *net.table, *net.table, *parts]))
    agree(net, images, layer=layer, **data.draw(squares(images.shape[2:])))


LAYERS = [
    "conv1",
    "conv1.conv",
    "conv1.pool",
    "conv2.norm",
    "conv3",
    "conv5",
    "conv5.pool",
    "fc6",
    "fc7",
    "fc8",
    None,
]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", ["zfnet", "alexnet"])
def test_every_layer(name: str, layer: str | None) -> None:
    """(1) Two pictures; the last squares are cut; the layer's sums on the clean picture are the module's."""
    net, images = narrow(name), noise(2)
    sweep = agree(net, images, 21, 13, fill=(0.5, -1.0, 0.0), layer=layer)
    assert sweep.tops.tolist() == sweep.lefts.tolist() == [0, 13, 26, 39, 52, 65]
    if layer is not None and sweep.clean_activity is not None:
        values = values_of(net, images, layer)
        torch.testing.assert_close(
            sweep.clean_activity, values.flatten(2).sum(2) if values.ndim > 2 else values
        )


def test_more_occluders_than_go_through_together() -> None:
    agree(narrow("alexnet", SIDE), noise(1, SIDE), 9, 1, layer="conv5")


def classifier(chain: Chain) -> nn.Sequential:
    """The chain with a linear layer on top, where it has none."""
    if any(isinstance(module, nn.Linear) for module in chain.net):
        return chain.net
    with torch.no_grad():
        shape = chain.net(chain.images).shape
    return nn.Sequential(
        *chain.net, nn.Flatten(), seeded(lambda: nn.Linear(shape[1:].numel(), 3), chain.seed)
    )


def gapless(draw: Callable[..., Any], reaches: list[int], largest: int) -> tuple[int, int]:
    """A stride along each axis that leaves no cell out, sometimes the same for both."""
    strides = [draw(st.integers(1, min(reach, largest))) for reach in reaches]
    return (strides[0], strides[1])


@st.composite
def trunks(draw: Callable[..., Any]) -> tuple[nn.Sequential, Tensor]:
    """Convolutions, batch norms, rectifiers, poolings and normalisations that can be swept, and a picture."""
    seed, small = draw(st.integers(0, 999)), st.integers(1, 3)
    x = noise(1, 24, seed)[:, :, : draw(st.integers(12, 24)), : draw(st.integers(12, 24))]
    net, image = nn.Sequential(), x
    for _ in range(draw(st.sampled_from([1, 2, 2, 3, 4]))):
        maps, groups = x.shape[1], draw(st.sampled_from([1, 1, x.shape[1]]))
        kernel, dilation, padding = (
            [draw(small), draw(small)],
            draw(st.sampled_from([1, 1, 2])),
            draw(small) - 1,
        )
        reaches = [(k - 1) * dilation + 1 for k in kernel]
        stride = gapless(draw, reaches, draw(st.sampled_from([1, 1, 1, 2, 3])))
        bias, bottom, above = (
            draw(st.booleans()),
            maps,
            groups * draw(small) if groups > 1 else draw(small) + 1,
        )
        modules: list[Callable[[], nn.Module]] = [
            partial(nn.Conv2d, bottom, above, kernel, stride, padding, dilation, groups, bias)
        ]
        modules += [partial(nn.BatchNorm2d, above)] if draw(st.booleans()) else []
        modules += [nn.ReLU] if draw(st.booleans()) else []
        if draw(st.sampled_from([True, True, False])):
            window = [draw(small), draw(small)]
            hangs, pads = draw(st.booleans()), tuple(draw(st.integers(0, k // 2)) for k in window)
            modules.append(partial(nn.MaxPool2d, window, gapless(draw, window, 2), pads, ceil_mode=hangs))
        modules += [partial(ContrastNormalization, 3, 0.1, 1.0)] if draw(st.booleans()) else []
        added = seeded(lambda modules=modules: nn.Sequential(*(build() for build in modules)), seed)
        try:
            with torch.no_grad():
                x = added(x)
        except RuntimeError:  # nothing is left
            break
        net.extend(added)
    assume(len(net))
    return net.append(nn.Flatten()).append(seeded(lambda: nn.Linear(x.numel(), 3), seed)), image


@settings(max_examples=60, report_multiple_bugs=False)
@given(trunks(), st.data())
def test_random_trunks(drawn: tuple[nn.Sequential, Tensor], data: st.DataObject) -> None:
    """(1) Padding, dilation, groups, strides, poolings that hang over or leave cells out, batch norm."""
    net, images = drawn
    square = data.draw(squares(images.shape[2:]))
    for layer in (None, *(name for name, _ in net.named_children())):
        agree(net, images, layer=layer, **square)


@settings(max_examples=40, report_multiple_bugs=False)
@given(chains(), st.data())
def test_random_chains(chain: Chain, data: st.DataObject) -> None:
    """(1) Averages within and windows that stride over cells, too: many go the plain way."""
    net, images = classifier(chain), chain.images
    layer = data.draw(st.sampled_from([None, *(name for name, _ in net.named_children())]))
    agree(net, images, layer=layer, **data.draw(squares(chain.sides)))


CHAINS: dict[str, Callable[[], list[nn.Module]]] = {
    "a pool that leaves the last cells unread": lambda: [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2)],
    "two pools, the last leaves cells unread": lambda: [
        *(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Conv2d(4, 3, 2), nn.ReLU(), nn.MaxPool2d(2)),
    ],
    "pools that hang over and pad": lambda: [
        *(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1, ceil_mode=True)),
        *(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2, ceil_mode=True)),
    ],
    "a pool of negative values, in front of a batch norm": lambda: [
        *(nn.Conv2d(3, 3, 3, padding=1), nn.MaxPool2d(3, 2, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 2)),
    ],
    "a pool on a pool": lambda: [
        *(nn.Conv2d(3, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 1, 1), nn.MaxPool2d(3, 2), nn.Conv2d(3, 2, 2)),
    ],
    "groups, dilation and sides that differ": lambda: [
        *(nn.Conv2d(3, 6, (3, 2), (1, 2), (2, 0), dilation=(2, 1), groups=3), nn.ReLU()),
        *(nn.MaxPool2d((1, 2), (1, 1), (0, 1), dilation=(1, 2)), nn.Conv2d(6, 2, (2, 1), groups=2), nn.ReLU()),
    ],
    "a stride behind a stride of one": lambda: [
        *(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3)),
    ],
    "more padding than kernel": lambda: [
        *(nn.Conv2d(3, 3, 2, padding=4), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(3, 2, 1)),
    ],
    "same padding": lambda: [
        *(nn.Conv2d(3, 3, 3, padding="same"), nn.ReLU(), nn.Conv2d(3, 2, 3, padding="same", dilation=2)),
    ],
    "mirrored padding": lambda: [nn.Conv2d(3, 3, 3), nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect")],
    "cells that nothing reads": lambda: [nn.Conv2d(3, 4, 3, 3), nn.ReLU(), nn.Conv2d(4, 3, 3, 3)],
    "a stride over cells": lambda: [nn.Conv2d(3, 4, 1, 2), nn.ReLU(), nn.MaxPool2d(2)],
    "dropout and identity within": lambda: [
        *(nn.Dropout(0.5), nn.Conv2d(3, 4, 3), nn.Identity(), nn.ReLU(True), nn.Dropout2d(0.5), nn.Conv2d(4, 2, 3)),
    ],
    "no convolution first": lambda: [nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU()],
    "a batch norm first": lambda: [nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU()],
    "an average first": lambda: [nn.AvgPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU()],
    "no convolution": lambda: [nn.Identity()],
}  # fmt: skip


@pytest.mark.parametrize("sides", [(14, 17), (15, 12)])
@pytest.mark.parametrize("chain", CHAINS)
def test_hand_made_chains(chain: str, sides: tuple[int, int]) -> None:
    """(1) Read at every layer, by squares of 1 pixel, of 5 and of the whole picture."""
    body = seeded(lambda: nn.Sequential(*CHAINS[chain]()))
    images = noise(2, 17)[:, :, : sides[0], : sides[1]]
    flat = body(images.clone()).flatten(1).shape[1]
    net = nn.Sequential(*body, nn.Flatten(), seeded(lambda: nn.Linear(flat, 3)))
    for size, stride in ((1, 4), (5, 3), (min(sides), 2)):
        for layer in (None, *(name for name, _ in net.named_children())):
            agree(net, images, size, stride, fill=0.3, layer=layer)


class Written(nn.Module):
    """conv, rectify, classify: `forward` is what is tested."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.fc = nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.written = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.written(self, x).mean((2, 3)))


def in_place(net: Any, x: Tensor) -> Tensor:
    x = net.first(x)
    torch.relu_(x)
    return x


def standardised(net: Any, x: Tensor) -> Tensor:
    weight = F.batch_norm(net.first.weight.reshape(1, 4, -1), None, None, training=True)
    return net.second(F.relu(F.conv2d(x, weight.view_as(net.first.weight))))


def with_indices(net: Any, x: Tensor) -> Tensor:
    pooled, _ = F.max_pool2d(net.first(x), 2, return_indices=True)
    return pooled


def particular(net: Any, x: Tensor) -> Tensor:
    """As a vision transformer looks at its input."""
    assert x.shape[2] > 4, "the input's height"
    return net.first(x)


FORWARDS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "a residual branch at once": lambda net, x: net.first(x) + x[:, :1, 1:-1, 1:-1],
    "a residual branch": lambda net, x: (y := net.first(x).relu()) + net.second(y),
    "two branches of the pixels": lambda net, x: torch.cat([net.first(x), net.first(-x)], 1)[:, 2:6],
    "a gate": lambda net, x: (y := net.first(x).relu()) * net.second(y).sigmoid(),
    "a shared convolution": lambda net, x: net.second(F.relu(net.second(net.first(x)))),
    "another activation": lambda net, x: net.second(F.gelu(net.first(x))),
    "arguments by name": lambda net, x: F.relu(input=F.conv2d(input=x, weight=net.first.weight)),
    "a rectifier in place whose result is dropped": in_place,
    "weights that are standardised": standardised,
    "a pool that gives its switches": with_indices,
    "a check of the input's size": particular,
}


@pytest.mark.parametrize("forward", FORWARDS)
def test_forward_passes_by_hand(forward: str) -> None:
    """(1) Whatever a forward method does, the sweep is the plain one."""
    net = seeded(lambda: Written(FORWARDS[forward]))
    for size, stride in ((1, 4), (5, 3)):
        agree(net, noise(2, 16), size, stride, fill=0.3)


def vgg() -> nn.Module:
    net = torchvision.models.vgg11_bn(weights=None)
    net.classifier = nn.Sequential(nn.Linear(25088, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 5))
    return net


NETS: dict[str, tuple[Callable[[], nn.Module], int, list[str | None]]] = {
    "vgg11_bn": (vgg, 65, ["features.12", "classifier.1"]),
    "vgg11_bn, whose last pool leaves cells out": (vgg, 80, ["features.28"]),
    "resnet18": (torchvision.models.resnet18, 81, [None, "bn1", "layer2.0.conv1"]),
    "squeezenet1_1": (torchvision.models.squeezenet1_1, 71, ["features.1", "features.4", "classifier.1"]),
    "googlenet": (googlenet, 64, ["conv1", "conv3.bn", "inception3a"]),
}


@pytest.mark.parametrize("name", NETS)
def test_torchvisions_nets(name: str) -> None:
    build, side, layers = NETS[name]
    net, images = seeded(build), noise(1, side)
    for i, layer in enumerate(layers):
        agree(net, images, 15 + 6 * i, 29, layer=layer)


# By the definition


def test_the_logits_are_those_of_the_covered_pictures() -> None:
    """(2) Every place of two pictures that are not square, one at a time."""
    body = [partial(nn.Conv2d, 3, 4, 3, 2), nn.ReLU, partial(nn.AdaptiveAvgPool2d, 2), nn.Flatten]
    net = seeded(lambda: nn.Sequential(*(build() for build in body), nn.Linear(16, 4)))
    images, fill = noise(2, 17)[:, :, :13], (1.0, -2.0, 0.5)
    sweep = occlusion_sweep(net, images, [3, 1], 5, 3, fill, layer="1")
    assert (sweep.tops.tolist(), sweep.lefts.tolist()) == ([0, 3, 6, 9], [0, 3, 6, 9, 12])
    assert sweep.logits.shape == (2, 4, 5, 4)
    assert sweep.probability.shape == sweep.best.shape == (2, 4, 5)
    assert sweep.activity is not None
    for i, label in enumerate([3, 1]):
        for a, top in enumerate([0, 3, 6, 9]):
            for b, left in enumerate([0, 3, 6, 9, 12]):
                covered = images[i].clone()
                for channel, value in enumerate(fill):
                    covered[channel, top : top + 5, left : left + 5] = value
                with torch.no_grad():
                    (logits,) = net(covered[None])
                torch.testing.assert_close(sweep.logits[i, a, b], logits)
                torch.testing.assert_close(sweep.probability[i, a, b], logits.softmax(0)[label])
                assert sweep.best[i, a, b] == logits.argmax()
                torch.testing.assert_close(
                    sweep.activity[i, a, b], values_of(net, covered[None], "1").sum((2, 3))[0]
                )
    torch.testing.assert_close(sweep.clean_logits, net(images).detach())


def linear(height: int, width: int) -> nn.Module:
    """The cheapest classifier."""
    return seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * height * width, 2)))


@given(height=st.integers(2, 20), width=st.integers(2, 20), data=st.data())
def test_places(height: int, width: int, data: st.DataObject) -> None:
    """(2) 0, stride, ... up to the first square that reaches the border, none beyond it, and the squares' centres."""
    side = min(height, width)
    size = data.draw(st.integers(1, side))
    stride = data.draw(st.integers(max(1, size // 2), side))
    sweep = occlusion_sweep(linear(height, width), noise(1, 20)[:, :, :height, :width], 0, size, stride)
    for length, starts, centres in (
        (height, sweep.tops, sweep.centres[0]),
        (width, sweep.lefts, sweep.centres[1]),
    ):
        expected = [0]
        while expected[-1] + size < length and expected[-1] + stride < length:
            expected.append(expected[-1] + stride)
        assert starts.tolist() == expected
        assert centres.tolist() == [(2 * start + size - 1) / 2 for start in expected]


def test_a_channel_has_its_own_colour() -> None:
    """(2) A net that sums each channel sees each colour; one number is the colour of all."""

    class Sums(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum((2, 3))

    images = torch.ones(1, 3, 6, 6, dtype=torch.float64)
    colours = torch.tensor([0.0, -1.0, 2.0], dtype=torch.float64)
    assert occlusion_sweep(Sums(), images, 0, 2, 2, colours).logits[0, 1, 2].tolist() == [32, 28, 40]
    assert occlusion_sweep(Sums(), images, 0, 2, 2, -1).logits[0, 0, 0].tolist() == [28, 28, 28]
    assert occlusion_sweep(Sums(), images, 0, 6, 4, 3.0).logits.tolist() == [[[[108.0] * 3]]]


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("name", ["zfnet", "alexnet"])
def test_captums_occlusion(name: str, size: int) -> None:
    """(4) Squares side by side: captum's pixels hold the drop of the class's logit."""
    net, images = narrow(name, 65), noise(2, 65)
    sweep = occlusion_sweep(net, images, [1, 4], size, size, 0.25)
    window = (3, size, size)
    with torch.no_grad():
        theirs = Occlusion(net).attribute(images, window, window, baselines=0.25, target=torch.tensor([1, 4]))
    for i, label in enumerate([1, 4]):
        drop = sweep.clean_logits[i, label] - sweep.logits[i, :, :, label]
        pixels = drop.repeat_interleave(size, 0).repeat_interleave(size, 1)[:65, :65]
        torch.testing.assert_close(theirs[i], pixels.float().expand(3, -1, -1))


# Maps over pixels


def places(tops: list[int], lefts: list[int], size: int, image_size: tuple[int, int]) -> Sweep:
    logits, target = torch.zeros(1, len(tops), len(lefts), 2), torch.zeros(1, dtype=torch.long)
    return Sweep(
        logits,
        torch.zeros(1, 2),
        target,
        None,
        None,
        torch.tensor(tops),
        torch.tensor(lefts),
        size,
        image_size,
    )


@pytest.mark.parametrize(
    ("lefts", "size", "width", "values", "expected"),
    [
        ([0, 2], 1, 4, [1.0, 3.0], [1, 2, 3, 3]),
        ([0, 2, 4], 3, 7, [0.0, 4.0, 2.0], [0, 0, 2, 4, 3, 2, 2]),
        ([0, 2], 2, 4, [0.0, 4.0], [0, 1, 3, 4]),  # centres at 0.5 and 2.5
        ([0, 4], 4, 6, [2.0, 6.0], [2, 2, 2.5, 3.5, 4.5, 5.5]),  # the last centre, 5.5, is beyond all pixels
        ([0], 3, 3, [7.0], [7, 7, 7]),
    ],
)
def test_over_pixels_by_hand(
    lefts: list[int], size: int, width: int, values: list[float], expected: list[float]
) -> None:
    """(3) One row of places, and the same as a column."""
    maps = torch.tensor(values, dtype=torch.float64).view(1, 1, -1)
    row = places([0], lefts, size, (size, width)).over_pixels(maps)
    assert row.tolist() == [[expected] * size]
    column = places(lefts, [0], size, (width, size)).over_pixels(maps.mT)
    torch.testing.assert_close(column, row.mT)


@given(size=st.integers(1, 6), stride=st.integers(1, 6), height=st.integers(7, 25), width=st.integers(7, 25))
def test_over_pixels_keeps_what_is_linear(size: int, stride: int, height: int, width: int) -> None:
    """(3) Constant maps stay constant; linear ones are linear between the outer centres, constant beyond."""
    sweep = occlusion_sweep(linear(height, width), noise(2, 25)[:, :, :height, :width], 0, size, stride)
    rows, columns = (centres.double() for centres in sweep.centres)
    constant = torch.full((2, len(rows), len(columns)), 0.7)
    torch.testing.assert_close(sweep.over_pixels(constant), torch.full((2, height, width), 0.7))
    plane = (2 * rows[:, None] - 3 * columns + 1).expand(2, -1, -1)
    y = torch.arange(height).double().clamp(rows[0], rows[-1])
    x = torch.arange(width).double().clamp(columns[0], columns[-1])
    expected = (2 * y[:, None] - 3 * x + 1).expand(2, -1, -1)
    torch.testing.assert_close(sweep.over_pixels(plane), expected, atol=1e-4, rtol=1e-5)


# The model is left as it was


def state_of(net: nn.Module) -> list[Any]:
    """Modes, hooks, attributes' names, versions of all tensors, and gradients."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    state: list[Any] = [torch.get_rng_state().tolist(), torch.is_grad_enabled()]
    state.append(len(torch.nn.modules.module._global_forward_hooks))
    for name, module in net.named_modules():
        state.append(
            (name, module.training, sorted(vars(module)), [len(getattr(module, hook)) for hook in hooks])
        )
    for tensor in (*net.parameters(), *net.buffers()):
        state.append((id(tensor), tensor._version, tensor.requires_grad, tensor.grad))
    return state


@pytest.mark.parametrize("plainly", [False, True])
@pytest.mark.parametrize("layer", [None, "layer2.0.conv1", "bn1"])
def test_the_model_is_untouched(layer: str | None, plainly: bool) -> None:
    """(5) A net half in training mode, with a hook of its own and a gradient."""
    net = seeded(torchvision.models.resnet18).train()
    net.layer1.eval()
    net.fc.register_forward_hook(lambda *_: None)
    net.conv1.weight.requires_grad_(False)
    net.fc.bias.grad = torch.ones(1000, dtype=torch.float64)
    before, images = state_of(net), noise(1, 33).requires_grad_()
    sweep = occlusion_sweep(net, images, 3, 17, 9, layer=layer, plainly=plainly)
    assert state_of(net) == before
    assert images.grad is None
    assert not sweep.logits.requires_grad
    assert torch.equal(sweep.target, torch.tensor([3]))


class Fragile(nn.Module):
    """Breaks after some calls."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.conv, self.fc, self.left = nn.Conv2d(3, 4, 3, 2), nn.Linear(4, 3), [calls]

    def forward(self, x: Tensor) -> Tensor:
        self.left[0] -= 1
        if self.left[0] < 0:
            raise KeyboardInterrupt
        return self.fc(self.conv(x).relu().mean((2, 3)))


@pytest.mark.parametrize("plainly", [False, True])
@pytest.mark.parametrize("calls", [0, 1, 2, 3])
def test_the_model_is_untouched_after_an_exception(calls: int, plainly: bool) -> None:
    net = Fragile(calls).double()
    before = state_of(net)
    with pytest.raises(KeyboardInterrupt):
        occlusion_sweep(net, noise(2, 15), 0, 5, 4, layer="conv", plainly=plainly)
    assert state_of(net) == before


@pytest.mark.parametrize("plainly", [False, True])
def test_the_images_are_untouched(plainly: bool) -> None:
    """(5) By a net that begins in place, too."""
    net = seeded(
        lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(400, 3))
    )
    images = noise(2, 12)
    before = images.clone()
    occlusion_sweep(net, images, 0, 5, 4, plainly=plainly)
    assert torch.equal(images, before)


def test_a_picture_does_not_depend_on_its_companions() -> None:
    net, images = narrow("zfnet", SIDE), noise(3, SIDE)
    together = occlusion_sweep(net, images, None, 11, 10, layer="conv3")
    for i in range(3):
        alone = occlusion_sweep(net, images[i, None], None, 11, 10, layer="conv3")
        torch.testing.assert_close(alone.logits[0], together.logits[i])
        assert alone.target[0] == together.target[i]
        assert alone.strongest[0] == together.strongest[i]


# Targets and errors


def test_targets() -> None:
    """(7) One for all, one for each, a tensor, or the most probable of each clean picture."""
    net, images = narrow("zfnet", SIDE), noise(2, SIDE)
    best = net(images).argmax(1)
    expected: list[tuple[Any, Tensor]] = [(2, torch.tensor([2, 2])), ([4, 0], torch.tensor([4, 0]))]
    expected += [(torch.tensor([1, 3]), torch.tensor([1, 3])), ((0, 4), torch.tensor([0, 4])), (None, best)]
    for target, meant in expected:
        sweep = occlusion_sweep(net, images, target, 11, 30)
        assert torch.equal(sweep.target, meant)
        for i, label in enumerate(meant.tolist()):
            torch.testing.assert_close(sweep.probability[i], sweep.logits[i].softmax(2)[:, :, label])


def test_without_a_layer_no_map_is_strongest() -> None:
    sweep = occlusion_sweep(narrow("zfnet", SIDE), noise(1, SIDE), 0, SIDE, 8)
    with pytest.raises(InputError, match="no layer was read"):
        _ = sweep.strongest


NOT_A_NUMBER = noise(1, SIDE).index_fill(3, torch.tensor([7]), math.nan)


@pytest.mark.parametrize("plainly", [False, True])
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"size": 48}, "size=48"),
        ({"size": 0}, "size=0"),
        ({"size": -3}, "size=-3"),
        ({"images": noise(1, SIDE)[:, :, :, :9]}, "size=11.*9 pixels"),
        ({"stride": 0}, "stride=0"),
        ({"stride": -1}, "stride=-1"),
        ({"target": 5}, "target=.*classes 0 to 4"),
        ({"target": [-1]}, "target="),
        ({"target": [1, 2, 3]}, "target="),
        ({"target": 1.5}, "by number"),
        ({"target": torch.tensor([[1]])}, "by number"),
        ({"layer": "conv9"}, "conv9"),
        ({"images": NOT_A_NUMBER}, "no numbers"),
        ({"images": NOT_A_NUMBER.nan_to_num(math.inf)}, "no numbers"),
        ({"images": noise(1, SIDE)[0]}, "images"),
        ({"images": noise(1, SIDE)[:0]}, "images"),
        ({"images": noise(1, SIDE).long()}, "images"),
        ({"fill": (0.0, 1.0)}, "fill="),
    ],
)
def test_errors(words: dict[str, Any], says: str, plainly: bool) -> None:
    """(6) One line each."""
    given = {"images": noise(1, SIDE), "target": 0, "size": 11, "stride": 9, "plainly": plainly} | words
    with pytest.raises(InputError, match=says) as raised:
        occlusion_sweep(narrow("zfnet", SIDE), **given)
    assert "\n" not in str(raised.value)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.mean((2, 3)), x


@pytest.mark.parametrize("plainly", [False, True])
@pytest.mark.parametrize("net", [nn.Conv2d(3, 4, 3), nn.Sequential(nn.Flatten(0), nn.Identity()), Pair()])
def test_a_model_without_classes(net: nn.Module, plainly: bool) -> None:
    """(6) Maps, one number for all, or two tensors are no (B, classes)."""
    with pytest.raises(InputError, match=r"\(B, classes\)"):
        occlusion_sweep(net.double(), noise(1, 12), 0, 5, 4, plainly=plainly)


def test_a_layer_that_runs_twice_or_never() -> None:
    relu = nn.ReLU()
    net = nn.Sequential(
        nn.Conv2d(3, 3, 3), relu, nn.Conv2d(3, 3, 3), relu, nn.Flatten(), nn.Linear(192, 2)
    ).double()
    with pytest.raises(InputError, match="runs 2 times"):
        occlusion_sweep(net, noise(1, 12), 0, 5, 4, layer="1")
    net = seeded(lambda: Written(FORWARDS["another activation"]))
    with pytest.raises(InputError, match="never runs"):
        occlusion_sweep(net, noise(1, 12), 0, 5, 4, layer="norm")


def test_modes_do_not_matter() -> None:
    """Dropout in training mode does not act in a sweep, nor does `evaluating` outlast it."""
    net, images = narrow("zfnet", SIDE).train(), noise(1, SIDE)
    first = occlusion_sweep(net, images, 0, 11, 15)
    assert net.training
    with evaluating(net):
        assert torch.equal(first.logits, occlusion_sweep(net, images, 0, 11, 15).logits)
