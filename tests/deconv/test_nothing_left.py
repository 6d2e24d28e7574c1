"""Nothing of a projection stays on the model, torch or the images, even after an exception."""

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as torch_module
from torch.overrides import _len_torch_function_stack

from tests.deconv.common import googlenet, lively, narrow, noise, same
from tests.reference.nets import seeded
from zfnet.deconv import Deconvnet, Unit
from zfnet.errors import InputError

HOOKS = [name for name in vars(nn.Module()) if "hooks" in name]


def everything(model: nn.Module) -> dict[str, Any]:
    """All that a projection could leave changed."""
    seen: dict[str, Any] = {
        "modules": [(path, type(module)) for path, module in model.named_modules()],
        "attributes": {path: sorted(vars(module)) for path, module in model.named_modules()},
        "hooks": [
            list(getattr(module, hooks) or ()) for module in model.modules() for hooks in HOOKS
        ],
        "training": [module.training for module in model.modules()],
        "in place": [getattr(module, "inplace", None) for module in model.modules()],
        "methods": [
            [key for key in vars(module) if callable(vars(module)[key])]
            for module in model.modules()
        ],
        "global hooks": {
            name: len(value)
            for name, value in vars(torch_module).items()
            if name.startswith("_global") and isinstance(value, dict)
        },
        "modes": (
            _len_torch_function_stack(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
        ),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "functions": (
            F.relu,
            torch.relu,
            Tensor.relu,
            nn.ReLU.forward,
            F.max_pool2d,
            nn.Module.__call__,
        ),
        "python": random.getstate(),
        "numpy": str(np.random.get_state()),  # noqa: NPY002
        "torch": hash(torch.get_rng_state().numpy().tobytes()),
    }
    for name, values in [*model.named_parameters(), *model.named_buffers()]:
        seen[name] = (
            id(values),
            values.data_ptr(),
            values._version,
            values.requires_grad,
            values.grad,
        )
        seen[f"{name} as it is"] = hash(values.detach().numpy().tobytes())
    return seen


def mixed() -> nn.Module:
    """ZFNet with some stages in training and some not, and some weights frozen."""
    net = narrow()
    net.train()
    net.conv2.eval()
    net.fc6.dropout.eval()
    net.conv1.requires_grad_(False)
    return net


def residual() -> nn.Module:
    """Batch norms in training would move their statistics."""
    net = seeded(torchvision.models.resnet18).train()
    net.layer1.eval()
    return net


def transformer() -> nn.Module:
    """LayerNorm, attention and GELU, with dropout, some of it in training."""
    net = seeded(
        lambda: timm.create_model(
            "vit_tiny_patch16_224",
            img_size=48,
            depth=2,
            embed_dim=12,
            proj_drop_rate=0.5,
            drop_path_rate=0.5,
        )
    )
    net.train()
    net.blocks[0].eval()
    return net


def gated() -> nn.Module:
    """Gates, Hardswish and batch norms in training."""
    return seeded(torchvision.models.mobilenet_v3_small).train()


class Breaks(nn.Module):
    """Runs up to its second half and no further."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (
            nn.Conv2d(3, 4, 3),
            nn.Conv2d(4, 4, 3),
            nn.Conv2d(4, 4, 3),
        )
        self.norm, self.unused = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.second(F.gelu(self.first(x)))))
        x = x * x.mean((2, 3), keepdim=True).sigmoid()
        if x.shape[2] < 8:
            raise ArithmeticError("no luck")
        return self.third(self.third(x))


NETS: dict[str, tuple[Callable[[], nn.Module], int, str]] = {
    "zfnet": (mixed, 79, "conv3"),
    "zfnet's head": (mixed, 79, "fc7"),
    "resnet18": (residual, 48, "layer2.0"),
    "googlenet": (googlenet, 48, "inception3a"),
    "vit": (transformer, 48, "blocks.1"),
    "mobilenet": (gated, 32, "features.4"),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("options", [{}, {"relu": "guided", "normalization": "gradient"}])
def test_a_model_is_as_it_was(name: str, options: dict[str, str]) -> None:
    build, size, layer = NETS[name]
    net = seeded(build) if build is googlenet else build()
    images = noise(2, size)
    kept, before = images.clone(), everything(net)
    units = [Unit(0, 1), Unit(1, 2)]
    deconv = Deconvnet(net, **options)
    deconv.project(images, layer, units)
    deconv.project_general(images, layer, units)
    deconv.project_channel(images, layer, 1)
    deconv.patches(images, layer, units)
    deconv.window(layer, units[0])
    assert everything(net) == before
    assert torch.equal(images, kept)
    assert not images.requires_grad
    assert images.grad is None


@pytest.mark.parametrize(
    ("layer", "size", "error"),
    [
        ("second", 9, ArithmeticError),  # the model itself breaks behind the layer
        ("third", 9, ArithmeticError),  # and before it
        ("third", 15, InputError),  # called twice
        ("unused", 15, InputError),
        ("nowhere", 15, InputError),
        ("first", 2, InputError),  # smaller than the filter
    ],
)
def test_a_model_is_as_it_was_after_an_exception(
    layer: str, size: int, error: type[Exception]
) -> None:
    net = seeded(Breaks)
    net.train()
    net.second.eval()
    images = noise(2, size)
    before = everything(net)
    deconv = Deconvnet(net)
    calls: list[Callable[[], object]] = [
        lambda: deconv.project(images, layer, [Unit(0, 0)]),
        lambda: deconv.project_channel(images, layer, 0),
        lambda: deconv.patches(images, layer, [Unit(0, 0)]),
    ]
    for call in calls:
        # whether it matters what breaks behind the layer is not defined
        with suppress(error) if layer == "second" else pytest.raises(error):
            call()
        assert everything(net) == before


@pytest.mark.parametrize("unit", [Unit(2, 0), Unit(0, 99), Unit(0, 0, 99)])
def test_a_chain_is_as_it_was_after_an_exception(unit: Unit) -> None:
    net, images = mixed(), noise()
    before = everything(net)
    for layer in ("conv2.pool", "fc6"):
        with pytest.raises(InputError):
            Deconvnet(net).project(images, layer, [unit])
    with pytest.raises(InputError):
        Deconvnet(net).project(images, "conv9", [Unit(0, 0)])
    with pytest.raises(InputError):
        Deconvnet(net).project_channel(images, "conv3", 99)
    assert everything(net) == before


@pytest.mark.parametrize("name", ["zfnet", "zfnet's head", "resnet18", "vit", "mobilenet"])
def test_training_mode_does_not_show(name: str) -> None:
    """Dropout and batch norm are as in evaluation."""
    build, size, layer = NETS[name]
    net, images = build(), noise(2, size)
    trained = Deconvnet(net).project(images, layer, [Unit(0, 1), Unit(1, 2)])
    net.eval()
    assert torch.equal(Deconvnet(net).project(images, layer, [Unit(0, 1), Unit(1, 2)]), trained)


@pytest.mark.parametrize("around", [torch.no_grad, torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize("name", ["zfnet", "resnet18", "vit", "mobilenet"])
def test_the_callers_mode_does_not_matter(name: str, around: Callable[[], Any]) -> None:
    """Validation loops call under inference mode, with images made there."""
    build, size, layer = NETS[name]
    net = build().eval()
    images = noise(2, size)
    units = [Unit(0, 1), Unit(1, 2)] if name == "vit" else lively(net, images, layer)[:2]
    deconv = Deconvnet(net, seed="forced")
    expected = deconv.project(images, layer, units)
    with around():
        mode = (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
        same(deconv.project(images, layer, units), expected)
        inside = images * 1.0
        same(deconv.project(inside, layer, units), expected)
        same(
            deconv.patches(inside, layer, units).projections,
            deconv.patches(images, layer, units).projections,
        )
        assert deconv.project_channel(inside, layer, 1).shape == images.shape
        assert mode == (torch.is_grad_enabled(), torch.is_inference_mode_enabled())


def test_images_that_require_a_gradient_get_none() -> None:
    net, images = narrow(), noise().requires_grad_()
    units = lively(net, images.detach(), "conv3")
    deconv = Deconvnet(net)
    assert not deconv.project(images, "conv3", units).requires_grad
    assert not deconv.patches(images, "conv3", units).projections.requires_grad
    assert images.grad is None
    assert images.requires_grad
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("layer", ["conv2", "fc7"])
def test_projections_are_ordinary_tensors(layer: str) -> None:
    """They can be overwritten, and be leaves of a graph."""
    net, images = narrow(), noise()
    deconv, units = Deconvnet(net), [Unit(0, 1)]
    patches = deconv.patches(images, layer, units)
    found = [deconv.project(images, layer, units), deconv.project_channel(images, layer, 1)]
    for tensor in [*found, patches.projections, patches.images, patches.values]:
        tensor.mul_(2).requires_grad_().sum().backward()
        assert tensor.grad is not None


def test_gradients_that_are_there_stay() -> None:
    net, images = narrow(), noise()
    net(images).sum().backward()
    kept = {name: parameter.grad.clone() for name, parameter in net.named_parameters()}
    Deconvnet(net).project(images, "conv3", [Unit(0, 1)])
    Deconvnet(net).project_general(images, "conv3", [Unit(0, 1)])
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter.grad, kept[name])


def test_hooks_of_others_stay() -> None:
    """A caller's own hook is still there, and is run."""
    net, images, calls = narrow(), noise(), []
    net.conv2.register_forward_hook(lambda *_: calls.append("conv2"))
    net.conv1.conv.register_forward_pre_hook(lambda *_: calls.append("conv1"))
    before = everything(net)
    Deconvnet(net).project(images, "conv3", [Unit(0, 1)])
    assert everything(net) == before
    calls.clear()
    net(images)
    assert calls == ["conv1", "conv2"]
