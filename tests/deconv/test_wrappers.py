"""A wrapped network gives what the network itself gives, and nothing stays on it."""

from copy import deepcopy

import lightning
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.fx import symbolic_trace
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

from zfnet.analysis import occlusion_sweep
from zfnet.deconv import Deconvnet, ImageBatch, Unit, top_activations

LAYER, UNITS = "stages.1.blocks.0.mlp.fc2", [Unit(1, 3, 1, 1)]


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_convnext", num_classes=7).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))


class InLightning(lightning.LightningModule):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.module = net

    def forward(self, images: Tensor) -> Tensor:
        return self.module(images)


class Checkpointed(InLightning):
    """Computes its activations again in the backward pass."""

    def forward(self, images: Tensor) -> Tensor:
        return checkpoint(self.module, images, use_reentrant=False)


def frozen(net: nn.Module) -> nn.Module:
    return deepcopy(net).requires_grad_(False)


WRAPPERS = {
    "compiled": (torch.compile, ""),
    "fx": (symbolic_trace, ""),
    "frozen": (frozen, ""),
    "training": (lambda net: deepcopy(net).train(), ""),
    "DataParallel": (nn.DataParallel, "module."),
    "moving average": (AveragedModel, "module."),
    "Lightning": (InLightning, "module."),
    "checkpointed": (Checkpointed, "module."),
}


def hooks(net: nn.Module) -> int:
    return sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in net.modules())


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper(net: nn.Module, images: Tensor, name: str) -> None:
    wrap, prefix = WRAPPERS[name]
    wrapped, layer = wrap(net), f"{prefix}{LAYER}"  # type: ignore[operator]

    def look(model: nn.Module, layer: str) -> list[Tensor]:
        batches = [ImageBatch(images, torch.arange(2))]
        return [
            Deconvnet(model).project(images, layer, UNITS),
            top_activations(model, batches, [layer], 2, progress=False)[layer].values,
            occlusion_sweep(model, images[:1], size=24, stride=24).logits,
        ]

    before = hooks(wrapped)
    for found, expected in zip(look(wrapped, layer), look(net, LAYER), strict=True):
        assert torch.equal(found, expected)
    assert hooks(wrapped) == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_another_precision(net: nn.Module, images: Tensor, dtype: torch.dtype) -> None:
    expected = Deconvnet(net).project(images, LAYER, UNITS)
    found = Deconvnet(deepcopy(net).to(dtype)).project(images.to(dtype), LAYER, UNITS)
    assert found.dtype == dtype
    assert (found.double() - expected).norm() < 0.02 * expected.norm()


def test_inside_of_other_modes(net: nn.Module, images: Tensor) -> None:
    expected = Deconvnet(net).project(images, LAYER, UNITS)
    with torch.inference_mode():
        assert torch.equal(Deconvnet(net).project(images.clone(), LAYER, UNITS), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = Deconvnet(net).project(images, LAYER, UNITS)
    assert (found - expected).norm() < 0.02 * expected.norm()
