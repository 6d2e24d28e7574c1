"""The layers that are looked at when none are named: activations of convolutions, on every net."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from zfnet.errors import InputError
from zfnet.models import convnet
from zfnet.models.default_layers import (
    activated_convolutions,
    convolutions,
    default_layers,
    top_layer,
)
from zfnet.models.introspection import capture_outputs, eval_mode
from zfnet.models.tracing import trace

IMAGE = torch.zeros(1, 3, 64, 64)
TORCHVISION = [
    "alexnet", "vgg11_bn", "resnet18", "googlenet", "inception_v3", "densenet121", "squeezenet1_1",
    "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5", "mnasnet0_5",
    "regnet_y_400mf",
]  # fmt: skip


@cache
def fresh(name: str) -> nn.Module:
    torch.manual_seed(0)
    words = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return models.get_model(name, weights=None, **words).eval()


def conv(inputs: int, outputs: int, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2)


def head(maps: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(maps, 3)]


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_nets(name: str) -> None:
    """Each layer runs once, holds no signed sums, is a map of channels, and the last is at the end
    of the net."""
    side = 96 if name == "inception_v3" else 64
    net, image = (
        fresh(name),
        torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0)),
    )
    layers = convolutions(net, image)
    assert len(layers) == 5
    modules, values, order = dict(net.named_modules()), dict[str, list[Tensor]](), list[str]()

    def read(name: str, value: Tensor) -> None:
        order.append(name)
        if name in layers:
            values.setdefault(name, []).append(value.clone())

    with torch.no_grad(), eval_mode(net), capture_outputs(modules, read, needed=()):
        net(image)
    # The least values of Hardswish and SiLU.
    least = -0.3751 if name in ("mobilenet_v3_small", "efficientnet_b0") else 0
    for layer, (value, *more) in values.items():
        assert not more, layer
        assert value.dim() == 4
        assert value.min() >= least, layer
        assert value.max() > 0, layer
    behind = [
        sum(isinstance(modules[each], nn.Conv2d) for each in order[order.index(layer) :])
        for layer in layers
    ]
    assert behind[0] == sum(isinstance(modules[each], nn.Conv2d) for each in order) - 1
    assert behind[-1] <= 1


def test_by_name() -> None:
    assert default_layers(fresh("alexnet")) == [f"features.{i}" for i in (1, 4, 7, 9, 11)]
    assert default_layers(fresh("resnet18"), IMAGE) == [
        "relu",
        "layer1.1",
        "layer2.1",
        "layer3.1",
        "layer4.1",
    ]
    names = activated_convolutions(fresh("googlenet"), IMAGE)
    assert names[:3] == ["conv1", "conv2", "conv3"]  # conv → bn → F.relu
    assert names[-1] == "inception5b.branch4.1"
    assert (
        convolutions(fresh("squeezenet1_1"), IMAGE)[-1] == "features.12.expand3x3_activation"
    )  # not the classes'
    assert default_layers(convnet("zfnet", 3, 64)) == ["conv1", "conv2", "conv3", "conv4", "conv5"]


def test_gates_are_no_layers() -> None:
    """Neither the inside of squeeze and excitation, nor what only scales another value."""
    for name in ("efficientnet_b0", "mobilenet_v3_small", "regnet_y_400mf"):
        names = activated_convolutions(fresh(name), IMAGE)
        assert not [
            each
            for each in names
            if each.endswith((".1.activation", "scale_activation", "se.activation"))
        ]
    assert default_layers(Attention().eval()) == ["relu", "last"]


class Attention(nn.Module):
    """A map of a single channel scales what is seen at each place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu, self.where, self.sigmoid = (
            conv(3, 4),
            nn.ReLU(),
            conv(2, 1),
            nn.Sigmoid(),
        )
        self.second, self.last, self.fc = conv(4, 5), nn.ReLU(), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        x = x * self.sigmoid(self.where(torch.cat([x.mean(1, True), x.amax(1, True)], 1)))
        return self.fc(self.last(self.second(x)).mean((2, 3)))


class Says(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Hidden(torch.autograd.Function):
    """x * sigmoid(x)."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x * x.sigmoid()


class Swish(nn.Module):
    """x * sigmoid(x), of a module: the gate is not the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


SPELLINGS: dict[str, Callable[[], nn.Module]] = {
    "in place": lambda: nn.ReLU(inplace=True),
    "PReLU": lambda: nn.PReLU(4),
    "GELU": nn.GELU,
    "SiLU": lambda: nn.SiLU(inplace=True),
    "hardswish": nn.Hardswish,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "function": lambda: Says(F.relu),
    "method": lambda: Says(lambda x: x.relu_()),
    "clamp": lambda: Says(lambda x: x.clamp(min=0)),
    "maximum": lambda: Says(lambda x: torch.maximum(x, torch.zeros_like(x))),
    "where": lambda: Says(lambda x: torch.where(x > 0, x, torch.zeros_like(x))),
    "masked": lambda: Says(lambda x: x * (x > 0)),
    "swish": Swish,
    "hard swish by hand": lambda: Says(lambda x: x * F.relu6(x + 3) / 6),
    "GELU by hand": lambda: Says(
        lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.045 * x.pow(3))))
    ),
    "autograd function": lambda: Says(Hidden.apply),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_an_activation(spelling: str) -> None:
    act = SPELLINGS[spelling]
    net = nn.Sequential(
        conv(3, 4), nn.BatchNorm2d(4), act(), nn.MaxPool2d(2), conv(4, 4), act(), *head(4)
    ).eval()
    assert default_layers(net) == ["2", "5"]
    assert top_layer(net, torch.zeros(1, 3, 32, 32)) == "7"


class Shared(nn.Module):
    """One ReLU for a stem, two blocks and a sum."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2, self.relu = conv(4, 4), conv(4, 4), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(x + self.conv2(self.relu(self.conv1(x))))

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks = (
            nn.Sequential(conv(3, 4), nn.ReLU()),
            nn.Sequential(self.Block(), self.Block()),
        )
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


class Inline(nn.Module):
    """Activations that no module gives."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.fc = conv(3, 4), conv(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.conv2(F.relu(self.conv1(x)))).mean((2, 3)))


class ChannelsLast(nn.Module):
    """The activation is (B, H, W, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.fc = conv(3, 8), nn.ReLU(), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.relu(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))


def test_a_module_that_runs_twice_is_no_layer_but_the_one_around_it() -> None:
    assert default_layers(Shared().eval()) == ["stem.1", "blocks.0", "blocks.1"]


def test_nets_without_such_layers_say_so() -> None:
    nets = [
        Inline(),
        ChannelsLast(),
        nn.Sequential(nn.Flatten(), nn.Linear(12, 3)),
    ]
    with pytest.warns(FutureWarning):
        nets.append(nn.Sequential(conv(3, 4), torch.jit.script(nn.ReLU()), *head(4)))
    for net in nets:
        with pytest.raises(
            InputError,
            match=f"^{type(net).__name__}: no module gives the activation .* name the lay",
        ):
            default_layers(net.eval())
        assert convolutions(net) == []


def test_a_net_without_any_activation_has_its_convolutions() -> None:
    """A linear net's units are its sums."""
    assert default_layers(nn.Sequential(conv(3, 4), nn.MaxPool2d(2), conv(4, 4), *head(4))) == [
        "0",
        "2",
    ]
    ends_in_sums = nn.Sequential(
        conv(3, 4), nn.ReLU(), conv(4, 4), nn.Flatten(), nn.Linear(4 * 32 * 32, 3)
    )
    assert default_layers(ends_in_sums) == ["1"]


def test_a_compiled_net_has_the_names_of_the_net_itself() -> None:
    net = torch.compile(nn.Sequential(conv(3, 4), nn.ReLU(), *head(4)))
    assert default_layers(net) == ["1"]
    assert top_layer(net, IMAGE) == "3"


def test_images_of_other_channels_sizes_and_types() -> None:
    assert default_layers(nn.Sequential(conv(1, 4), nn.ReLU(), *head(4))) == ["1"]
    assert default_layers(nn.Sequential(conv(5, 4), nn.ReLU(), *head(4)).double()) == ["1"]
    assert default_layers(
        nn.Sequential(conv(3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 28 * 28, 2))
    ) == ["1"]
    only_57 = nn.Sequential(conv(3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 57 * 57, 2))
    with pytest.raises(InputError, match=r"accepts no image of a usual size \(224 x 224: .*mat1"):
        default_layers(only_57)
    assert default_layers(only_57, torch.zeros(1, 3, 57, 57)) == ["1"]


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("alexnet", "classifier.5"),
        ("vgg11_bn", "classifier.5"),
        ("resnet18", "avgpool"),
        ("squeezenet1_1", "classifier.0"),
        ("shufflenet_v2_x0_5", "conv5.2"),
        # Not norm5, whose ReLU is a function.
        ("densenet121", "features.denseblock4.denselayer16.relu2"),
        ("convnext_tiny", "classifier.1"),
    ],
)
def test_the_top_layer(name: str, layer: str) -> None:
    assert top_layer(fresh(name), torch.zeros(1, 3, 64, 64)) == layer


def test_there_may_be_no_top_layer() -> None:
    for net in (nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), nn.Sequential(conv(3, 4))):
        with pytest.raises(InputError, match="has no layer before its classifier: name the layer"):
            top_layer(net, torch.zeros(1, 3, 2, 2))


def test_a_trace_leaves_nothing() -> None:
    net = nn.Sequential(conv(3, 4), nn.ReLU(), nn.Dropout(), *head(4))
    with torch.inference_mode():
        layers = trace(net, torch.zeros(1, 3, 8, 8)).activated()
    assert layers == ["1"]
    assert all(module.training for module in net.modules())
    broken = nn.Sequential(conv(3, 4), nn.ReLU(), conv(5, 4))
    with pytest.raises(RuntimeError):
        trace(broken, torch.zeros(1, 3, 8, 8))
    for each in (net, broken):
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in each.modules())


def test_timms_nets() -> None:
    timm = pytest.importorskip("timm")
    for name, first, last in [
        ("tf_efficientnet_lite0", "bn1.act", "bn2.act"),
        ("resnet18", "act1", "layer4.1.act2"),
        ("densenet121", "features.norm0.act", "features.norm5.act"),
        ("nf_resnet26", "stages.0.0.act1", "final_act"),
    ]:
        layers = default_layers(timm.create_model(name).eval(), torch.zeros(1, 3, 64, 64))
        assert (layers[0], layers[-1], len(layers)) == (first, last, 5)
