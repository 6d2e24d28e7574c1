"""The occlusion sweep that computes only what the square touches is the plain one, on all nets."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.deconv.common import googlenet, narrow, noise, values_of
from tests.reference.nets import Chain, chains, seeded
from zfnet.analysis.occlusion.incremental import Incremental
from zfnet.analysis.occlusion.prefix import find_prefix
from zfnet.analysis.occlusion.sweep import Sweep, occlusion_sweep
from zfnet.models import ALEXNET, ZFNET, ContrastNormalization, ConvNet, apply_edit

PLACES = 6  # along one axis, at most
SIDE = 47  # the smallest that both nets take


def close(found: Tensor, expected: Tensor, clean: Tensor) -> None:
    """Equal to 1e-12 of the largest magnitude, of the clean image's values too: they may all sink
    to 0."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    largest = max(expected.abs().max().item(), clean.abs().max().item())
    difference = (found - expected).abs().max().item()
    assert difference <= 1e-12 * largest, f"{difference} of {largest}"


def agree(model: nn.Module, images: Tensor, size: int, stride: int, **more: Any) -> Sweep:
    """The sweep, once the plain one has given the same."""
    before = images.clone()
    fast = occlusion_sweep(model, images, None, size, stride, exhaustive=False, **more)
    slow = occlusion_sweep(model, images, None, size, stride, exhaustive=True, **more)
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
    """A size up to the whole image, a stride that gives few places, mostly cut at the end, and a
    colour."""
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
REMOVED = st.sampled_from(
    [(), ("conv3",), ("conv4",), MIDDLE, ("fc6",), ("fc7",), DENSE, MIDDLE + DENSE]
)


@st.composite
def convnets(draw: Callable[..., Any]) -> tuple[ConvNet, Tensor]:
    """ZFNet or AlexNet, narrow, edited as in Table 3, for small images of an odd side."""
    table = draw(st.sampled_from([ZFNET, ALEXNET]))
    edit: dict[str, Any] = {
        f"conv{i}": {"maps": draw(st.sampled_from([4, 6, 8]))} for i in range(1, 6)
    }
    normalize = draw(st.booleans())
    edit |= {name: {**edit[name], "normalize": normalize} for name in ("conv1", "conv2")}
    edit |= {name: {"units": draw(st.integers(8, 16))} for name in ("fc6", "fc7")}
    edit |= dict.fromkeys(draw(REMOVED), None)
    side, seed = 2 * draw(st.integers(23, 43)) + 1, draw(st.integers(0, 99))
    net = seeded(lambda: ConvNet(apply_edit(table, edit), num_classes=5, image_size=side), seed)
    assert isinstance(net, ConvNet)
    return net, noise(1, side, seed)


@settings(max_examples=30, report_multiple_bugs=False)
@given(convnets(), st.data())
def test_convnets(drawn: tuple[ConvNet, Tensor], data: st.DataObject) -> None:
    """Any table, layer, square and image."""
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
    """Two images; the last squares are cut; the layer's sums on the clean image are the
    module's."""
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
    """Convolutions, batch norms, rectifiers, poolings and normalizations that can be swept, and a
    image."""
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
            modules.append(
                partial(nn.MaxPool2d, window, gapless(draw, window, 2), pads, ceil_mode=hangs)
            )
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


@settings(max_examples=30, report_multiple_bugs=False)
@given(trunks(), st.data())
def test_random_trunks(drawn: tuple[nn.Sequential, Tensor], data: st.DataObject) -> None:
    """Padding, dilation, groups, strides, poolings that hang over or leave cells out, batch
    norm."""
    net, images = drawn
    square = data.draw(squares(images.shape[2:]))
    layer = st.sampled_from([name for name, _ in net.named_children()])
    for each in (None, *data.draw(st.lists(layer, min_size=2, max_size=3, unique=True))):
        agree(net, images, layer=each, **square)


@settings(max_examples=30, report_multiple_bugs=False)
@given(chains(), st.data())
def test_random_chains(chain: Chain, data: st.DataObject) -> None:
    """Averages within and windows that stride over cells, too: many go the plain way."""
    net, images = classifier(chain), chain.images
    layer = data.draw(st.sampled_from([None, *(name for name, _ in net.named_children())]))
    agree(net, images, layer=layer, **data.draw(squares(chain.sides)))


CHAINS: dict[str, Callable[[], list[nn.Module]]] = {
    "a pool that leaves the last cells unread": lambda: [
        *(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2)),
    ],
    "two pools, the last leaves cells unread": lambda: [
        *(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.MaxPool2d(2, 1)),
        *(nn.Conv2d(4, 3, 2), nn.ReLU(), nn.MaxPool2d(2)),
    ],
    "pools that hang over and pad": lambda: [
        *(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1, ceil_mode=True)),
        *(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2, ceil_mode=True)),
    ],
    "a pool of negative values, in front of a batch norm": lambda: [
        *(nn.Conv2d(3, 3, 3, padding=1), nn.MaxPool2d(3, 2, 1)),
        *(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 2)),
    ],
    "a pool on a pool": lambda: [
        *(nn.Conv2d(3, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 1, 1)),
        *(nn.MaxPool2d(3, 2), nn.Conv2d(3, 2, 2)),
    ],
    "groups, dilation and sides that differ": lambda: [
        *(nn.Conv2d(3, 6, (3, 2), (1, 2), (2, 0), dilation=(2, 1), groups=3), nn.ReLU()),
        nn.MaxPool2d((1, 2), (1, 1), (0, 1), dilation=(1, 2)),
        *(nn.Conv2d(6, 2, (2, 1), groups=2), nn.ReLU()),
    ],
    "a stride behind a stride of one": lambda: [
        *(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(4, 4, 3, 2, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3)),
    ],
    "more padding than kernel": lambda: [
        *(nn.Conv2d(3, 3, 2, padding=4), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(3, 2, 1)),
    ],
    "same padding": lambda: [
        *(nn.Conv2d(3, 3, 3, padding="same"), nn.ReLU()),
        nn.Conv2d(3, 2, 3, padding="same", dilation=2),
    ],
    "mirrored padding": lambda: [
        *(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect")),
    ],
    "cells that nothing reads": lambda: [nn.Conv2d(3, 4, 3, 3), nn.ReLU(), nn.Conv2d(4, 3, 3, 3)],
    "a stride over cells": lambda: [nn.Conv2d(3, 4, 1, 2), nn.ReLU(), nn.MaxPool2d(2)],
    "dropout and identity within": lambda: [
        *(nn.Dropout(0.5), nn.Conv2d(3, 4, 3), nn.Identity(), nn.ReLU(True)),
        *(nn.Dropout2d(0.5), nn.Conv2d(4, 2, 3)),
    ],
    "no convolution first": lambda: [nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU()],
    "a batch norm first": lambda: [nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU()],
    "an average first": lambda: [nn.AvgPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU()],
    "no convolution": lambda: [nn.Identity()],
}  # fmt: skip


@pytest.mark.parametrize("chain", CHAINS)
def test_hand_made_chains(chain: str) -> None:
    """Read at every layer, by squares of 1 pixel, of 5 and of the whole image, each on an image
    that is wide or high."""
    body = seeded(lambda: nn.Sequential(*CHAINS[chain]()))
    nets = []
    for height, width in ((14, 17), (15, 12)):
        images = noise(2, 17)[:, :, :height, :width]
        flat = body(images.clone()).flatten(1).shape[1]
        linear = seeded(lambda flat=flat: nn.Linear(flat, 3))
        nets.append((nn.Sequential(*body, nn.Flatten(), linear), images))
    layers = [None, *(name for name, _ in nets[0][0].named_children())]
    for turn, (size, stride) in enumerate(((1, 4), (5, 3), (None, 2))):
        for place, layer in enumerate(layers):
            net, images = nets[(turn + place) % 2]
            agree(net, images, size or min(images.shape[2:]), stride, fill=0.3, layer=layer)


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
    "two branches of the pixels": lambda net, x: torch.cat([net.first(x), net.first(-x)], 1)[
        :, 2:6
    ],
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
    """Whatever a forward method does, the sweep is the plain one."""
    net = seeded(lambda: Written(FORWARDS[forward]))
    for size, stride in ((1, 4), (5, 3)):
        agree(net, noise(2, 16), size, stride, fill=0.3)


def vgg() -> nn.Module:
    net = torchvision.models.vgg11_bn(weights=None)
    net.classifier = nn.Sequential(
        nn.Linear(25088, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 5)
    )
    return net


NETS: dict[str, tuple[Callable[[], nn.Module], int, list[str | None]]] = {
    "vgg11_bn": (vgg, 65, ["features.12", "classifier.1"]),
    "vgg11_bn, whose last pool leaves cells out": (vgg, 80, ["features.28"]),
    "resnet18": (torchvision.models.resnet18, 81, [None, "bn1", "layer2.0.conv1"]),
    "squeezenet1_1": (
        torchvision.models.squeezenet1_1,
        71,
        ["features.1", "features.4", "classifier.1"],
    ),
    "googlenet": (googlenet, 64, ["conv1", "conv3.bn", "inception3a"]),
}


@pytest.mark.parametrize("name", NETS)
def test_torchvisions_nets(name: str) -> None:
    build, side, layers = NETS[name]
    net, images = seeded(build), noise(1, side)
    for i, layer in enumerate(layers):
        agree(net, images, 15 + 6 * i, 29, layer=layer)


def test_whole_pictures_are_faster_on_small_nets_and_images() -> None:
    """For 64 pixels and few maps the calls of many windows take longer; for ZFNet's 224 they are a
    small part."""
    few = {f"conv{i}": {"channels": 24} for i in range(1, 6)} | {
        "fc6": {"units": 8},
        "fc7": {"units": 8},
    }
    for side, edit, stride, faster in (
        (64, few, 2, False),
        (64, few, 5, False),
        (224, {}, 8, True),
    ):
        head = {"fc6": {"units": 8}, "fc7": {"units": 8}}
        net = ConvNet(apply_edit(ZFNET, {**head, **edit}), 5, side, init="he").eval()
        image = torch.zeros(1, 3, side, side)
        prefix = find_prefix(net, image, [])
        assert prefix is not None
        places = range(0, side - side // 4 + stride, stride)
        assert Incremental(prefix.steps, image, {}).is_faster(places, places) == faster
