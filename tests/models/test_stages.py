"""The blocks that end the stages of a network, and the default layers of several families."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from zfnet.models.default_layers import activated_convolutions, convolutions, default_layers
from zfnet.models.stages import layer_outputs, stage_outputs
from zfnet.models.unit_axes import UnitAxes


def timms(name: str, **words: Any) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, pretrained=False, **words)


def image(side: int) -> Tensor:
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))


STAGES: dict[str, tuple[Callable[[], nn.Module], int, list[str]]] = {
    "resnet": (
        torchvision.models.resnet18,
        48,
        ["layer1.1", "layer2.1", "layer3.1", "layer4.1"],
    ),
    "convnext": (
        lambda: torchvision.models.ConvNeXt(
            [torchvision.models.convnext.CNBlockConfig(8 * 2**i, 16 * 2**i, 1) for i in range(3)]
            + [torchvision.models.convnext.CNBlockConfig(64, None, 2)]
        ),
        64,
        ["features.1", "features.3", "features.5", "features.7"],
    ),
    "timm's convnext": (timms("convnext_atto"), 64, [f"stages.{i}" for i in range(4)]),
    "mobilenet": (
        torchvision.models.mobilenet_v3_small,
        64,
        ["features.0", "features.1", "features.3", "features.8", "features.12"],
    ),
    "swin": (
        lambda: torchvision.models.swin_transformer.SwinTransformer(
            [4, 4], 8, [1, 2], [2, 2], [7, 7]
        ),
        56,
        ["features.1", "features.3"],
    ),
    "timm's swin": (
        timms(
            "swin_tiny_patch4_window7_224",
            img_size=28,
            depths=(1, 1),
            num_heads=(1, 2),
            embed_dim=16,
        ),
        28,
        ["layers.0", "layers.1"],
    ),
    "vit": (
        timms("vit_tiny_patch16_224", img_size=32, depth=9, embed_dim=12),
        32,
        ["blocks.0", "blocks.2", "blocks.4", "blocks.6", "blocks.8"],
    ),
    "short vit": (
        timms("vit_tiny_patch16_224", img_size=32, depth=2, embed_dim=12),
        32,
        ["blocks.0", "blocks.1"],
    ),
    "torchvision's vit": (
        lambda: torchvision.models.VisionTransformer(32, 16, 3, 2, 12, 24),
        32,
        [f"encoder.layers.encoder_layer_{i}" for i in range(3)],
    ),
    "mixer": (
        lambda: timm.models.mlp_mixer.MlpMixer(
            img_size=32, patch_size=16, num_blocks=3, embed_dim=12
        ),
        32,
        ["blocks.0", "blocks.1", "blocks.2"],
    ),
}


@pytest.mark.parametrize("name", STAGES)
def test_stages(name: str) -> None:
    build, side, expected = STAGES[name]
    model = build().train()
    assert stage_outputs(model, image(side)) == expected
    assert model.training


@pytest.mark.parametrize(
    "name", [each for each in STAGES if each not in ("resnet", "mobilenet", "timm's convnext")]
)
def test_nets_without_activated_convolutions_have_stages(name: str) -> None:
    build, side, expected = STAGES[name]
    model = build()
    assert convolutions(model, image(side)) == default_layers(model, image(side)) == expected


@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
def test_nets_with_activated_convolutions_have_these(name: str) -> None:
    build, side, _ = STAGES[name]
    model = build()
    layers, all_of_them = (f(model, image(side)) for f in (default_layers, activated_convolutions))
    assert len(layers) == 5
    assert set(layers) <= set(all_of_them)
    assert layers[-1] == all_of_them[-1]


@pytest.mark.parametrize(
    ("build", "side"),
    [
        (timms("convnextv2_atto"), 32),
        (timms("edgenext_xx_small"), 64),  # an activation times a vector of weights, weights first
        (timms("xcit_nano_12_p16_224", img_size=64, depth=1), 64),  # queries with a stale axis
        (timms("regnety_002"), 32),
        (timms("poolformer_s12"), 32),
    ],
    ids=["convnextv2", "edgenext", "xcit", "regnety", "poolformer"],
)
def test_default_layers_of_other_families_have_units(
    build: Callable[[], nn.Module], side: int
) -> None:
    model = build()
    layers = default_layers(model, image(side))
    outputs = {each.name: each for each in layer_outputs(model, image(side))}
    assert 1 < len(layers) <= 5
    assert all(outputs[layer].axes is not None for layer in layers)
    grids = [outputs[layer].grid for layer in layers]
    assert grids == sorted(grids, reverse=True)


class Stages(nn.Module):
    """Two stages, the first of which ends in a module that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 3, 3, stride, 1), nn.ReLU()) for stride in (1, 1, 2, 1)
        )
        self.again, self.pair = nn.Sequential(nn.Conv2d(3, 3, 1)), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number == 1:
                x = self.again(self.again(x))
        return x.mean((2, 3))


def test_modules_in_the_order_they_run_with_their_units() -> None:
    found = layer_outputs(Stages(), image(8))
    assert [each.name for each in found] == [
        f"blocks.{i}{part}" for i in range(4) for part in (".0", ".1", "")
    ]
    assert [each.grid for each in found] == [(8, 8)] * 6 + [(4, 4)] * 6
    assert {each.channels for each in found} == {3}
    assert {each.axes for each in found} == {UnitAxes("BCHW")}
    assert found[-1].shape == (1, 3, 4, 4)
    assert stage_outputs(Stages(), image(8)) == ["blocks.1", "blocks.3"]


def test_a_block_within_a_block_does_not_count() -> None:
    """The whole block ends a stage, even if its first layers have the maps of the one before."""

    def block(stride: int) -> nn.Module:
        expand = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU())
        return nn.Sequential(expand, nn.Sequential(nn.Conv2d(6, 3, 3, stride, 1), nn.ReLU()))

    net = nn.Sequential(*(block(stride) for stride in (1, 1, 2, 1)))
    assert stage_outputs(net, image(8)) == ["1", "3"]
    assert stage_outputs(nn.Sequential(net, nn.Flatten()), image(8)) == ["0.1", "0"]


def test_tokens_of_a_grid_that_is_unknown_are_no_stage() -> None:
    class Columns(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.transpose(2, 3).flatten(2).transpose(1, 2)

    blocks = [nn.Sequential(nn.Linear(3, 3), nn.GELU()) for _ in range(3)]
    net = nn.Sequential(nn.Conv2d(3, 3, 3), Columns(), *blocks)
    assert stage_outputs(net, image(8)) == []
    assert all(each.axes is None for each in layer_outputs(net, image(8)) if each.name > "1")


def test_no_blocks_no_stages() -> None:
    assert stage_outputs(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), image(8)) == []
    assert stage_outputs(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), image(8)) == []
