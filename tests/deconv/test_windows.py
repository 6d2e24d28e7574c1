"""A unit's window is its receptive field: nothing of its projection lies outside."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.deconv.common import (
    LAYERS,
    SIZE,
    TABLES,
    activations,
    both,
    googlenet,
    lively,
    narrow,
    noise,
    same,
)
from tests.reference.deconvnet import Flatten, described, field
from tests.reference.nets import Chain, chains, layers_of, seeded, units_of
from zfnet.deconv import Deconvnet, Unit
from zfnet.deconv.steps import Step, convolve
from zfnet.models import ConvNet
from zfnet.models.geometry import geometry


def corners(window: object) -> tuple[int, int, int, int]:
    return tuple(getattr(window, side) for side in ("top", "left", "bottom", "right"))


def outside(projection: Tensor, window: object) -> Tensor:
    """The projection (3, H, W) with 0 inside the window."""
    top, left, bottom, right = (max(0, side) for side in corners(window))
    rest = projection.clone()
    rest[:, top:bottom, left:right] = 0
    return rest


def cut(projection: Tensor, window: object) -> Tensor:
    """What a window shows of (3, H, W), pixel by pixel, 0 beyond the border."""
    top, left, bottom, right = corners(window)
    result = projection.new_zeros(3, bottom - top, right - left)
    for y in range(max(top, 0), min(bottom, projection.shape[1])):
        for x in range(max(left, 0), min(right, projection.shape[2])):
            result[:, y - top, x - left] = projection[:, y, x]
    return result


def within(window: tuple[int, int, int, int], size: int) -> tuple[int, int, int, int]:
    """A side that is no smaller than the image is the image's."""
    top, left, bottom, right = window
    top, bottom = (top, bottom) if bottom - top < size else (0, size)
    left, right = (left, right) if right - left < size else (0, size)
    return top, left, bottom, right


@settings(max_examples=40, report_multiple_bugs=False)
@given(chains(), st.data())
def test_windows_of_random_chains(chain: Chain, data: st.DataObject) -> None:
    """(d) The arithmetic of kernels, strides, paddings and dilations, in front of a Flatten; 0
    outside."""
    images, layers = chain.images, described(chain.net)
    layer = data.draw(layers_of(chain))
    unit = Unit(*data.draw(units_of(chain, layer)))
    deconv = Deconvnet(chain.net)
    (projection,) = both(deconv, images, layer, [unit])
    window = deconv.window(layer, unit, size=images.shape[2:])
    assert not outside(projection, window).any()
    before = list(layers.values())[: int(layer) + 1]
    if not any(isinstance(part, Flatten) for part in before):
        assert corners(window) == field(layers, layer, unit.y, unit.x)


@pytest.mark.parametrize("name", ["zfnet", "alexnet"])
def test_windows_of_the_papers_nets(name: str) -> None:
    """(d) As models/geometry.py has them, for the ConvNet's own image size, before anything is
    projected."""
    net = narrow(name)
    deconv = Deconvnet(net)
    for layer, axis in geometry(net.table, SIZE).items():
        for y, x in [(0, 0), (axis.size - 1, axis.size // 2)]:
            rows, columns = axis.pixels(y), axis.pixels(x)
            expected = (rows.start, columns.start, rows.stop, columns.stop)
            assert corners(deconv.window(layer, Unit(0, 0, y, x))) == expected


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", TABLES)
def test_nothing_outside(name: str, layer: str) -> None:
    """(d) Exactly 0."""
    net, images = narrow(name, size=95), noise(size=95)
    deconv, units = Deconvnet(net), lively(net, images, layer)
    for unit, projection in zip(units, both(deconv, images, layer, units), strict=True):
        assert not outside(projection, deconv.window(layer, unit)).any()


GENERAL: list[tuple[Callable[[], nn.Module], dict[str, tuple[int, int, int]]]] = [
    # what unit 3 sees: its field, its jump, its start
    (
        torchvision.models.resnet18,
        {
            "conv1": (7, 2, -3),
            "maxpool": (11, 4, -5),
            "layer1.0": (27, 4, -13),
            "layer1": (43, 4, -21),
            "layer2.0.conv1": (51, 8, -25),
            "layer2.0": (67, 8, -33),
        },
    ),
    (
        googlenet,
        {
            "conv1": (7, 2, -3),
            "maxpool1": (11, 4, -3),
            "conv3": (19, 4, -7),
            "maxpool2": (27, 8, -7),
            "inception3a.branch1": (27, 8, -7),
            "inception3a": (43, 8, -15),
        },
    ),
]


@pytest.mark.parametrize(("build", "layers"), GENERAL, ids=["resnet18", "googlenet"])
def test_windows_of_general_nets(
    build: Callable[[], nn.Module], layers: dict[str, tuple[int, int, int]]
) -> None:
    """(d) Where branches meet, the union of what they see."""
    net, images = seeded(build), noise(1, 96)
    deconv = Deconvnet(net)
    for layer, (size, jump, start) in layers.items():
        units = lively(net, images, layer)
        for unit, projection in zip(units, deconv.project(images, layer, units), strict=True):
            window = deconv.window(layer, unit)
            top, left = start + jump * unit.y, start + jump * unit.x
            assert corners(window) == (top, left, top + size, left + size)
            assert projection.any()
            assert not outside(projection, window).any()


@pytest.mark.parametrize("layer", ["conv1", "conv2.pool", "conv3", "conv5.pool"])
@pytest.mark.parametrize("name", TABLES)
def test_patches(name: str, layer: str) -> None:
    """Projection and image cropped at the unit's window; activations beside them, 0 for a unit that
    is not active."""
    net, images = narrow(name), noise()
    deconv = Deconvnet(net)
    units = [*lively(net, images, layer), Unit(1, 0), Unit(0, 1, 1, 1)]
    whole, patches = deconv.project(images, layer, units), deconv.patches(images, layer, units)
    same(patches.values, activations(net, images, layer, units).clamp(min=0))
    for unit, window in zip(units, patches.windows, strict=True):
        assert corners(window) == within(corners(deconv.window(layer, unit)), SIZE)
    same(
        patches.projections,
        torch.stack([cut(p, w) for p, w in zip(whole, patches.windows, strict=True)]),
    )
    seen = [cut(images[u.image], w) for u, w in zip(units, patches.windows, strict=True)]
    assert torch.equal(patches.images, torch.stack(seen))


def everywhere(deconv: Deconvnet, layer: str, sides: tuple[int, int]) -> list[Unit]:
    """Units of every channel in turn: two at each position of image 0, and one of image 1."""
    channels, rows, columns = deconv.units(layer, sides)
    places = [(y, x) for y in range(rows) for x in range(columns)]
    units = [Unit(0, i % channels, *place) for i, place in enumerate(places)]
    second = [Unit(0, (i + 1) % channels, *place) for i, place in enumerate(places)]
    return [*units, Unit(1, channels - 1, rows - 1, 0), *second[::-1]]


@pytest.mark.parametrize("contrast", [0, 2])
@pytest.mark.parametrize("relu", ["deconv", "guided", "gradient"])
@pytest.mark.parametrize(("name", "layer"), [("zfnet", "conv3"), ("alexnet", "conv4")])
def test_many_units_of_an_image(name: str, layer: str, relu: str, contrast: int) -> None:
    """They share its forward pass: overlapping pools, contrast normalization, groups, borders."""
    net, images = narrow(name, size=95), noise(2, 95)
    normalization = "gradient" if relu == "gradient" else "identity"
    deconv = Deconvnet(net, relu=relu, normalization=normalization, contrast=contrast)
    units = everywhere(deconv, layer, (95, 95))
    units = units[:: 1 + len(units) // 24]
    both(deconv, images, layer, units)


@settings(max_examples=20, report_multiple_bugs=False)
@given(chains(), st.sampled_from(["deconv", "guided", "gradient"]), st.data())
def test_many_units_of_random_chains(chain: Chain, relu: str, data: st.DataObject) -> None:
    """Half of the chains hold small whole numbers, with many equal maxima in one pool."""
    images, layer = chain.images, data.draw(layers_of(chain))
    normalization = data.draw(st.sampled_from(["identity", "gradient"]))
    deconv = Deconvnet(chain.net, relu=relu, normalization=normalization, seed="forced")
    sides = (images.shape[2], images.shape[3])
    units = everywhere(deconv, layer, sides)
    both(deconv, images, layer, data.draw(st.permutations(units[:40])))


def test_equal_maxima_at_the_border() -> None:
    """A pool takes the first of its equal cells, whether or not it reaches beyond the border."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        *(nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
        *(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1, ceil_mode=True)),
        nn.Conv2d(4, 4, 3, padding=1),
    )
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1)
            nn.init.zeros_(module.bias)
    net, images = net.double().eval(), torch.ones(2, 3, 48, 48, dtype=torch.float64)
    deconv = Deconvnet(net)
    both(deconv, images, "6", everywhere(deconv, "6", (48, 48)))


@pytest.mark.parametrize("cache", [1, 3000])
def test_small_batches(cache: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many units go down together does not change the result, nor does what fits memory."""
    net, images = narrow(size=95), noise(2, 95)
    deconv = Deconvnet(net, relu="guided")
    units = everywhere(deconv, "conv3", (95, 95))[::4]
    expected = both(deconv, images, "conv3", units)
    monkeypatch.setattr("zfnet.deconv.chain.CACHE", cache)
    same(deconv.project(images, "conv3", units), expected)
    monkeypatch.setattr("zfnet.deconv.chain.MEMORY", cache)  # no room for a whole image
    same(deconv.project(images, "conv3", units), expected)


def test_an_image_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image with many units runs as a whole, the other one in the window of its only unit."""
    net, images, sizes = narrow(size=95), noise(2, 95), list[tuple[int, ...]]()

    def record(step: Step, x: Tensor, *args: object) -> Tensor:
        if x.shape[1] == 3:
            sizes.append(tuple(x.shape))
        return convolve(step, x, *args)  # type: ignore[arg-type]

    deconv = Deconvnet(net)
    units = everywhere(deconv, "conv3", (95, 95))
    field = deconv.window("conv3", units[0])
    monkeypatch.setattr("zfnet.deconv.forward.convolve", record)
    deconv.project(images, "conv3", units)
    side = field.bottom - field.top
    assert sizes == [(1, 3, 95, 95), (1, 3, side, side)]


@pytest.mark.parametrize("layer", ["layer1", "layer2.0", "fc"])
def test_patches_of_a_general_net(layer: str) -> None:
    net, images = seeded(torchvision.models.resnet18), noise(2, 48)
    deconv, units = Deconvnet(net), lively(net, images, layer)[:4]
    whole, patches = deconv.project(images, layer, units), deconv.patches(images, layer, units)
    same(patches.values, activations(net, images, layer, units).clamp(min=0))
    same(
        patches.projections,
        torch.stack([cut(p, w) for p, w in zip(whole, patches.windows, strict=True)]),
    )
    seen = [cut(images[u.image], w) for u, w in zip(units, patches.windows, strict=True)]
    assert torch.equal(patches.images, torch.stack(seen))


@pytest.mark.parametrize("layer", ["fc6", "fc8"])
def test_a_fully_connected_unit_sees_the_image(layer: str) -> None:
    net, images = narrow(), noise()
    deconv, units = Deconvnet(net), lively(net, images, layer)
    top, left, bottom, right = corners(deconv.window(layer, units[0]))
    assert max(top, left) <= 0
    assert min(bottom, right) >= SIZE
    patches = deconv.patches(images, layer, units)
    cuts = [
        cut(p, w)
        for p, w in zip(deconv.project(images, layer, units), patches.windows, strict=True)
    ]
    same(patches.projections, torch.stack(cuts))


def test_the_size_of_the_last_images() -> None:
    """A window does not depend on it, but whether the unit exists does."""
    net = narrow()[:4]
    assert not isinstance(net, ConvNet)
    deconv = Deconvnet(net)
    images = noise(1, 63)
    deconv.project(images, "conv3.relu", [Unit(0, 0)])
    unit = Unit(0, 0, 1, 2)
    expected = corners(deconv.window("conv3.relu", unit))
    assert expected == corners(deconv.window("conv3.relu", unit, size=(63, 63)))
    assert expected == corners(deconv.window("conv3.relu", unit, size=95))
