"""What cannot be projected is refused with one clear line: an InputError that names the thing."""

import re
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from tests.deconv.common import narrow, noise
from tests.reference.nets import seeded
from zfnet.deconv import Deconvnet, Unit, doctor
from zfnet.errors import InputError
from zfnet.models import ConvNet

CALLS: dict[str, Callable[[Deconvnet, Tensor, str], object]] = {
    "project": lambda deconv, images, layer: deconv.project(images, layer, [Unit(0, 0)]),
    "project_channel": lambda deconv, images, layer: deconv.project_channel(images, layer, 0),
    "patches": lambda deconv, images, layer: deconv.patches(images, layer, [Unit(0, 0)]),
}


def refused(call: Callable[[], object], *words: str) -> None:
    """An InputError of one line that holds all words."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert re.search(rf"(?<!\w){re.escape(word)}(?!\w)", message), message


class Overwriting(nn.Module):
    """Its second convolution, which keeps its input, reads what is then overwritten in part."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.out = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x) * 1
        x[:, :2] += self.second(x)[:, :2]
        return self.out(x)


@pytest.mark.parametrize("call", CALLS)
def test_values_that_are_overwritten(call: str) -> None:
    deconv = Deconvnet(seeded(Overwriting))
    refused(lambda: CALLS[call](deconv, noise(1, 8), "out"), "Overwriting", "out", "overwrites")


@pytest.fixture(scope="module")
def net() -> ConvNet:
    return narrow()


@pytest.mark.parametrize("layer", ["conv9", "conv3.pool", "", "fc", "conv1.conv.weight"])
@pytest.mark.parametrize("call", CALLS)
def test_unknown_layers(net: ConvNet, call: str, layer: str) -> None:
    """Some that exist are named."""
    refused(lambda: CALLS[call](Deconvnet(net), noise(), layer), "conv1", "conv5")
    refused(lambda: CALLS[call](Deconvnet(net[:3]), noise(), layer), "conv1.conv")


def test_a_window_of_an_unknown_layer(net: ConvNet) -> None:
    refused(lambda: Deconvnet(net).window("conv9", Unit(0, 0)), "conv9", "conv1")


@pytest.mark.parametrize(
    ("layer", "unit", "number"),
    [
        ("conv3", Unit(0, 0, 4, 0), 4),
        ("conv3", Unit(0, 0, 0, 4), 4),
        ("conv3", Unit(0, 0, -1, 0), -1),
        ("conv3", Unit(0, 0, 0, -1), -1),
        ("conv3", Unit(0, 10), 10),
        ("conv3", Unit(0, -1), -1),
        ("conv3", Unit(2, 0), 2),
        ("conv3", Unit(-1, 0), -1),
        ("conv5.pool", Unit(0, 0, 2, 0), 2),
        ("fc8", Unit(0, 5), 5),
        ("fc8", Unit(0, 0, 1, 0), 1),
        ("fc8", Unit(0, 0, 0, 1), 1),
        ("fc8", Unit(2, 0), 2),
    ],
)
def test_units_out_of_range(net: ConvNet, layer: str, unit: Unit, number: int) -> None:
    """Nothing counts from the end; the others of the call do not help."""
    images, deconv = noise(), Deconvnet(net)
    of = layer if unit.image in (0, 1) else "image"
    refused(lambda: deconv.project(images, layer, [Unit(0, 0), unit]), str(number), of)
    refused(lambda: deconv.patches(images, layer, [unit]))
    deconv.project(images, layer, [Unit(1, 4, 0, 0)])


def test_windows_of_units_out_of_range(net: ConvNet) -> None:
    refused(lambda: Deconvnet(net).window("conv3", Unit(0, 0, 4, 0)), "4")
    refused(lambda: Deconvnet(net).window("conv3", Unit(0, 99)), "99")


@pytest.mark.parametrize(("layer", "map"), [("conv3", 10), ("conv3", -1), ("fc8", 5)])
def test_maps_out_of_range(net: ConvNet, layer: str, map: int) -> None:
    refused(lambda: Deconvnet(net).project_channel(noise(), layer, map), str(map), layer)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 79, 79, dtype=torch.float64),
        torch.zeros(1, 1, 3, 79, 79, dtype=torch.float64),
        torch.zeros(79, dtype=torch.float64),
        torch.zeros(1, 3, 79, 79, dtype=torch.uint8),
        torch.zeros(1, 3, 79, 79, dtype=torch.long),
        torch.zeros(1, 3, 79, 79, dtype=torch.complex64),
    ],
    ids=lambda images: f"{images.dtype} {images.dim()}-d",
)
@pytest.mark.parametrize("call", CALLS)
def test_images_of_a_wrong_kind(net: ConvNet, call: str, images: Tensor) -> None:
    refused(lambda: CALLS[call](Deconvnet(net), images, "conv3"), "images")


@pytest.mark.parametrize("option", ["relu", "unpool", "normalization", "seed", "others"])
@pytest.mark.parametrize("value", ["deconvv", "", "Sum", None])
def test_unknown_options(net: ConvNet, option: str, value: str) -> None:
    """Value and choices are named."""
    choices = {
        "relu": ("deconv", "guided", "gradient"),
        "unpool": ("sum", "overwrite", "center"),
        "normalization": ("identity", "gradient"),
        "seed": ("activation", "one", "forced"),
        "others": ("refuse", "gradient"),
    }
    refused(lambda: Deconvnet(net, **{option: value}), option, repr(value), *choices[option])


def test_options_that_do_not_exist(net: ConvNet) -> None:
    with pytest.raises(TypeError, match="rectify"):
        Deconvnet(net, rectify="deconv")  # type: ignore[call-arg]


@pytest.mark.parametrize("call", CALLS)
def test_a_module_that_runs_twice(call: str) -> None:
    """ResNet's shared ReLU; a chain's."""
    resnet, conv = seeded(torchvision.models.resnet18), nn.Conv2d(3, 3, 3, dtype=torch.float64)
    refused(lambda: CALLS[call](Deconvnet(resnet), noise(1, 48), "layer1.0.relu"), "layer1.0.relu")
    relu = nn.ReLU()
    refused(
        lambda: CALLS[call](Deconvnet(nn.Sequential(conv, relu, conv, relu)), noise(1, 9), "1"), "1"
    )
    refused(
        lambda: CALLS[call](Deconvnet(nn.Sequential(conv, relu, conv, relu)), noise(1, 9), "0"), "0"
    )


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.never = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu()


@pytest.mark.parametrize("call", CALLS)
def test_a_module_that_never_runs(call: str) -> None:
    refused(lambda: CALLS[call](Deconvnet(seeded(Unused)), noise(1, 9), "never"), "never")


def test_a_window_needs_a_size() -> None:
    """Only a ConvNet knows its own; afterwards the last images' counts."""
    net = seeded(Unused)
    deconv = Deconvnet(net)
    refused(lambda: deconv.window("conv", Unit(0, 0)), "size")
    deconv.project(noise(1, 9), "conv", [Unit(0, 0)])
    assert deconv.window("conv", Unit(0, 0)).bottom == 3


class Pair(nn.Module):
    """A net that gives its features beside its logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.split = nn.Conv2d(3, 4, 3), Halves()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.conv(x).relu()
        return features, self.split(features)[0].mean((2, 3))


class Halves(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.chunk(2, 1)


@pytest.mark.parametrize("call", CALLS)
def test_only_the_layer_itself_must_give_one_tensor(call: str) -> None:
    """What the net as a whole gives, or another module, does not matter."""
    net = seeded(Pair)
    CALLS[call](Deconvnet(net), noise(1, 9), "conv")
    refused(lambda: CALLS[call](Deconvnet(net), noise(1, 9), "split"), "split", "tuple")


@pytest.mark.filterwarnings("ignore")
def test_scripted_and_traced_modules_are_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).double().eval()
    for made in (torch.jit.script(net), torch.jit.trace(net, noise(1, 9))):
        refused(lambda made=made: Deconvnet(made), "scripted or traced", "made from")
        refused(lambda made=made: doctor(made, ["1"], noise(1, 9)), "scripted or traced")
