"""Units of networks with branches are projected from crops, exactly as from the whole image."""

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.deconv.common import noise, same
from tests.reference.nets import seeded
from zfnet.deconv import Deconvnet, Unit
from zfnet.deconv.crops import crop_span


@given(st.integers(-40, 90), st.integers(1, 60), st.sampled_from([1, 2, 4, 8]), st.integers(60, 99))
def test_a_crop_holds_the_window(top: int, length: int, stride: int, size: int) -> None:
    """It starts at a multiple of the stride, and ends at the border or beyond the window."""
    bottom = top + length
    if top >= size or bottom <= 0:
        return
    start, end = crop_span(top, bottom, stride, size)
    assert 0 <= start <= max(top, 0)
    assert min(bottom, size) <= end <= size
    assert start % stride == 0


@given(st.integers(1, 30), st.sampled_from([1, 2, 4, 8]))
def test_crops_of_one_layer_have_one_length(length: int, stride: int) -> None:
    spans = [crop_span(top, top + length, stride, 100) for top in range(-length, 100, stride)]
    assert len({end - start for start, end in spans}) == 1


class Added(nn.Module):
    """Adds a value to each position of the image, interpolated to its size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()
        self.position = nn.Parameter(torch.randn(1, 3, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = x + F.interpolate(self.position, x.shape[2:])
        return self.relu(self.conv(x) + self.conv(x.flip(1)))


class Resized(nn.Module):
    """Resizes each image to the size that it is made for."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != (32, 32):
            x = F.interpolate(x, (32, 32))
        return self.relu(self.conv(x) + self.conv(x.flip(1)))


NETS: dict[str, tuple[Callable[[], nn.Module], str, int, bool]] = {
    "resnet": (torchvision.models.resnet18, "layer1", 96, True),
    "resnet, layer2": (torchvision.models.resnet18, "layer2.0", 96, True),
    "convnext": (lambda: timm.create_model("convnext_atto"), "stages.0", 80, True),
    "lite": (lambda: timm.create_model("tf_efficientnet_lite0"), "blocks.1", 64, True),
    "gates see everything": (
        lambda: timm.create_model("mobilenetv3_small_050"),
        *("blocks.1.0", 64, False),
    ),
    "group norm": (lambda: timm.create_model("resnetv2_50d_gn"), "stages.0.blocks.0", 64, False),
    "positions": (Added, "relu", 32, False),
    "resized": (Resized, "relu", 32, False),
}


@pytest.mark.parametrize("relu", ["deconv", "guided"])
@pytest.mark.parametrize("name", NETS)
def test_crops_give_the_projection_of_the_whole_image(name: str, relu: str) -> None:
    build, layer, size, _ = NETS[name]
    net, images = seeded(build), noise(2, size)
    images[0] *= 0  # its crops all look alike
    deconv = Deconvnet(net, relu=relu, seed="forced")
    channels, rows, columns = deconv.units(layer, size)
    places = [(0, 0), (rows - 1, columns - 1), (rows // 2, columns // 2), (0, columns // 3)]
    units = [Unit(i % 2, i % channels, y, x) for i, (y, x) in enumerate(places)]
    whole, _ = deconv.project_general(images, layer, units)
    same(deconv.project(images, layer, units), whole)
    patches = deconv.patches(images, layer, units)
    energy = patches.projections.square().sum((1, 2, 3))
    same(energy, whole.square().sum((1, 2, 3)))


@pytest.mark.parametrize("name", NETS)
def test_which_nets_allow_crops(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gates, statistics of the whole map, and values of a position rule them out."""
    build, layer, size, allowed = NETS[name]
    net, sizes = seeded(build), []
    forward = type(net).forward

    def record(self: nn.Module, x: Tensor) -> Tensor:
        sizes.append(tuple(x.shape[2:]))
        return forward(self, x)

    deconv, images = Deconvnet(net), noise(1, size)
    deconv.units(layer, size)
    monkeypatch.setattr(type(net), "forward", record)
    deconv.project(images, layer, [Unit(0, 0, 0, 0)])
    assert (sizes[-1] != (size, size)) is allowed
