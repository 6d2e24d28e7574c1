"""Which axis holds the channels: known through permutations, views and sums, or refused."""

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from zfnet.analysis.localization import strongest_units
from zfnet.deconv import Deconvnet, Unit, doctor, top_activations
from zfnet.errors import InputError
from zfnet.models.layout import Layout

CONV = nn.Conv2d(3, 4, 3)


def checked(call: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(2, 3, 10, 12)
    with torch.no_grad(), Layout(x) as layout:
        layout.check("it", call(CONV(x)))


FIRST: dict[str, Callable[[Tensor], Tensor]] = {
    "itself": lambda h: h,
    "there and back": lambda h: h.permute(0, 2, 3, 1).relu().permute(0, 3, 1, 2),
    "tokens and back": lambda h: (
        (h.flatten(2).transpose(1, 2) + 1).transpose(1, 2).reshape(h.shape)
    ),
    "a linear layer between": lambda h: nn.Linear(4, 6)(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
    "shuffled": lambda h: h.view(2, 2, 2, 8, 10).transpose(1, 2).reshape(2, 4, 8, 10),
    "cat": lambda h: torch.cat([h, h * 2], 1),
    "cut, padded, summed": lambda h: nn.functional.pad(h[:, 1:, 2:-2], (1, 1)) + 1,
    "a gate of 1 x 1": lambda h: h * h.mean((2, 3), keepdim=True).sigmoid(),
    "its pooled self": lambda h: nn.AdaptiveAvgPool2d(1)(h),
    "a matrix over channels": lambda h: torch.einsum("bcij,dc->bdij", h, torch.randn(5, 4)),
    "pixel shuffle": lambda h: nn.PixelShuffle(2)(h),
    "pixel shuffle by hand": lambda h: (
        h.view(2, 1, 2, 2, 8, 10).permute(0, 1, 4, 2, 5, 3).reshape(2, 1, 16, 20)
    ),
    "vectors": lambda h: h.mean((2, 3)),
}
LAST: dict[str, Callable[[Tensor], Tensor]] = {
    "permuted": lambda h: h.permute(0, 2, 3, 1),
    "normed": lambda h: nn.LayerNorm(4)(h.movedim(1, -1)),
    "a linear layer": lambda h: nn.Linear(4, 7)(h.permute(0, 2, 3, 1)),
    "tokens in rows": lambda h: h.flatten(2).mT.reshape(2, 8, 10, 4),
    "contiguous": lambda h: h.permute(0, 2, 3, 1).contiguous() + 0,
}
UNKNOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda h: h.transpose(1, 2),
    "made of a vector": lambda h: nn.Unflatten(1, (4, 2, 2))(nn.Linear(4, 16)(h.mean((2, 3)))),
}


@pytest.mark.parametrize("name", FIRST)
def test_channels_first(name: str) -> None:
    checked(FIRST[name])


@pytest.mark.parametrize("name", LAST)
def test_channels_last(name: str) -> None:
    with pytest.raises(InputError, match=r"'it' gives .* in the order \(B, H, W, C\)"):
        checked(LAST[name])


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown(name: str) -> None:
    with pytest.raises(InputError, match=r"'it' gives .* cannot be established"):
        checked(UNKNOWN[name])


def swin() -> nn.Module:
    return torchvision.models.swin_transformer.SwinTransformer([4, 4], 24, [1, 1], [2, 2], [7, 7])


NETS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "swin": (swin, ["features.1", "features.0", "features.1.0.norm1", "features.2"]),
    "convnext": (
        lambda: torchvision.models.convnext_tiny(weights=None),
        ["features.1.0.block.1", "features.1.0.block.3", "features.1.0.block.2"],
    ),
    "timm's convnext": (lambda: timm.create_model("convnext_tiny"), ["stages.0.blocks.0.norm"]),
    "timm's swin": (
        lambda: timm.create_model("swin_tiny_patch4_window7_224", img_size=56),
        ["layers.0", "patch_embed"],
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_search_deconvnet_and_doctor_refuse_alike(name: str) -> None:
    build, layers = NETS[name]
    model, x = build().eval(), torch.randn(1, 3, 56, 56)
    for layer in layers:
        calls: list[Callable[[], object]] = [
            lambda layer=layer: top_activations(model, [x], [layer], progress=False),
            lambda layer=layer: Deconvnet(model, others="gradient").project(x, layer, [Unit(0, 0)]),
            lambda layer=layer: doctor(model, [layer], x),
            lambda layer=layer: strongest_units(model, x, layer),
        ]
        for call in calls:
            with pytest.raises(InputError, match="channels"):
                call()


@pytest.mark.parametrize(
    ("build", "layers"),
    [
        (
            lambda: torchvision.models.convnext_tiny(weights=None),
            ["features.1", "features.1.0.block.0", "features.7"],
        ),
        (lambda: torchvision.models.shufflenet_v2_x0_5(weights=None), ["stage2.0", "stage3"]),
        (
            lambda: torchvision.models.densenet121(weights=None),
            ["features.denseblock2.denselayer3", "features"],
        ),
        (
            lambda: torchvision.models.mobilenet_v3_small(weights=None),
            ["features.4.block.2", "features.8"],
        ),
        (lambda: timm.create_model("efficientnet_b0"), ["blocks.2", "blocks.1.0.se"]),
    ],
    ids=["convnext", "shufflenet", "densenet", "mobilenet", "efficientnet"],
)
def test_layers_of_maps_are_searched(build: Callable[[], nn.Module], layers: list[str]) -> None:
    model = build().eval()
    top = top_activations(model, [torch.randn(2, 3, 64, 64)], layers, k=1, progress=False)
    assert all(top[layer].images.ge(0).all() for layer in layers)


def test_a_layer_that_gives_rows_for_other_than_images() -> None:
    """Tokens laid into the batch are no images."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(2), Rows()).eval()
    with pytest.raises(InputError, match=r"for the 1 images|for 1 images"):
        top_activations(model, [torch.randn(1, 3, 8, 8)], ["2"], progress=False)
    with pytest.raises(InputError, match="for 1 images"):
        Deconvnet(model).project(torch.randn(1, 3, 8, 8), "2", [Unit(0, 0)])


class Rows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(0, 1)
