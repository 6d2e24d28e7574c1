"""What the deconvnet's tests share: two narrow nets, active units, and how projections compare."""

from collections.abc import Callable

import torch
import torchvision
from torch import Tensor, nn

from tests.reference.nets import seeded
from zfnet.deconv import Deconvnet, Unit
from zfnet.models import ALEXNET, ZFNET, ConvNet
from zfnet.models.architectures import apply_edit

NARROW = {
    "conv1": {"channels": 8},
    "conv2": {"channels": 12},
    "conv3": {"channels": 10},
    "conv4": {"channels": 10},
    "conv5": {"channels": 8},
    "fc6": {"units": 16},
    "fc7": {"units": 12},
}
TABLES = {"zfnet": ZFNET, "alexnet": ALEXNET}
SIZE = 79  # zfnet: 38 → 19 → 8 → 4 → 4 → 4 → 4 → 2; alexnet: 19 → 9 → 9 → 4 → 4 → 4 → 4 → 2
LAYERS = [
    *("conv1.conv", "conv1", "conv1.pool", "conv1.norm", "conv2", "conv2.pool", "conv2.norm"),
    *("conv3", "conv4.conv", "conv5", "conv5.pool", "fc6", "fc7.linear", "fc8"),
]


def narrow(name: str = "zfnet", size: int = SIZE, normalize: bool = True) -> ConvNet:
    """ZFNet or AlexNet with about ten maps a layer, in float64."""
    table = apply_edit(
        TABLES[name],
        NARROW | {conv: {**NARROW[conv], "normalize": normalize} for conv in ("conv1", "conv2")},
    )
    net = seeded(lambda: ConvNet(table, num_classes=5, image_size=size))
    assert isinstance(net, ConvNet)
    return net


class TwoLayers(nn.Module):
    """conv, f, pool, conv, g; f and g are modules or functions."""

    def __init__(self, f: Callable[[Tensor], Tensor], g: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3)
        self.pool = nn.MaxPool2d(3, 2)
        self.f, self.g = f, g

    def forward(self, x: Tensor) -> Tensor:
        return self.g(self.second(self.pool(self.f(self.first(x)))))


def two_layers(
    f: Callable[[Tensor], Tensor], g: Callable[[Tensor], Tensor] | None = None
) -> nn.Module:
    return seeded(lambda: TwoLayers(f, g or f))


def googlenet() -> nn.Module:
    """Branches, and ReLUs that are functions."""
    return torchvision.models.googlenet(weights=None, aux_logits=False, init_weights=False)


def noise(count: int = 2, size: int = SIZE, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, size, size, generator=generator, dtype=torch.float64)


def values_of(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    """A module's output in a plain forward pass, as it was when the module returned it."""
    kept: list[Tensor] = []
    handle = model.get_submodule(module_of(model, layer)).register_forward_hook(
        lambda _, __, output: kept.append(output.clone())
    )
    with torch.no_grad():
        model(images.clone())
    handle.remove()
    return kept[0]


def module_of(model: nn.Module, layer: str) -> str:
    """A stage's own name means its units: behind the ReLU, or the classifier's sums."""
    if not isinstance(model, ConvNet) or "." in layer:
        return layer
    return f"{layer}.relu" if hasattr(model.get_submodule(layer), "relu") else f"{layer}.linear"


def lively(model: nn.Module, images: Tensor, layer: str) -> list[Unit]:
    """The most active map at corners, borders and in the middle, of each image in turn."""
    values = values_of(model, images, layer)
    if values.ndim == 2:
        return [Unit(image, int(row.argmax())) for image, row in enumerate(values)]
    last, right = values.shape[2] - 1, values.shape[3] - 1
    places = [
        (0, 0),
        (last, right),
        (0, right),
        (last // 2, 0),
        (last // 2, right // 2),
        (last, right // 2),
    ]
    units = [(n % len(images), y, x) for n, (y, x) in enumerate(places)]
    return [Unit(image, int(values[image, :, y, x].argmax()), y, x) for image, y, x in units]


def activations(model: nn.Module, images: Tensor, layer: str, units: list[Unit]) -> Tensor:
    """(N,) the units' activations, as they are."""
    values = values_of(model, images, layer)
    if values.ndim == 2:
        return torch.stack([values[unit.image, unit.channel] for unit in units])
    return torch.stack([values[unit.image, unit.channel, unit.y, unit.x] for unit in units])


def gradients(net: nn.Module, images: Tensor, layer: str, units: list[Unit]) -> Tensor:
    """autograd's gradient of each unit times its activation (0 for one that is not active)."""
    kept: list[Tensor] = []
    module = net.get_submodule(module_of(net, layer))
    pixels = images.clone().requires_grad_()
    handle = module.register_forward_hook(lambda _, __, output: kept.append(output.clone()))
    net(pixels.clone())
    handle.remove()
    projections = []
    for unit in units:
        value = kept[0][unit.image, unit.channel]
        value = value[unit.y, unit.x] if value.ndim else value
        (gradient,) = torch.autograd.grad(value, pixels, retain_graph=True)
        projections.append(
            value.item() * gradient[unit.image] if value > 0 else torch.zeros_like(gradient[0])
        )
    return torch.stack(projections)


def same(found: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    """Equal to `tolerance` of the largest magnitude; 0 must be 0."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert not found.requires_grad
    largest = expected.abs().max().item() if expected.numel() else 0.0
    difference = (found - expected).abs().max().item() if expected.numel() else 0.0
    assert difference <= tolerance * largest, f"{difference} of {largest}"


def general(deconv: Deconvnet, images: Tensor, layer: str, units: list[Unit]) -> Tensor:
    """The projections by the path that takes any module."""
    return deconv.project_general(images, layer, units)[0]


def both(deconv: Deconvnet, images: Tensor, layer: str, units: list[Unit]) -> Tensor:
    """The projections, once the general path has given the same."""
    projections = deconv.project(images, layer, units)
    same(general(deconv, images, layer, units), projections)
    return projections
