"""Which axes hold channels and positions: known through permutations, views, sums, or refused."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from zfnet.analysis.localization import strongest_units
from zfnet.deconv import Deconvnet, Unit, doctor, top_activations
from zfnet.errors import InputError
from zfnet.models.layout import Layout
from zfnet.models.unit_axes import UnitAxes

CONV = nn.Conv2d(3, 4, 3)
MAPS = UnitAxes("BCHW")


def found(call: Callable[[Tensor], Tensor]) -> tuple[UnitAxes, Tensor, Tensor]:
    """The axes of what `call` makes of maps (2, 4, 8, 10), its result, and the maps."""
    x = torch.randn(2, 3, 10, 12)
    with torch.no_grad(), Layout(x) as layout:
        maps = CONV(x)
        output = call(maps * 1)
        return layout.find("it", output), output, maps


def tokens(h: Tensor) -> Tensor:
    return h.flatten(2).transpose(1, 2)


def after(h: Tensor, count: int) -> Tensor:
    """Tokens behind `count` others."""
    return torch.cat([torch.zeros(len(h), count, h.shape[1]), tokens(h)], 1)


def scores(h: Tensor) -> Tensor:
    return tokens(h) @ h.flatten(2)


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
    "turned upside down": lambda h: h.flip(2),
    "rolled": lambda h: h.roll((3, 2), (2, 3)),
    "one channel": lambda h: h.mean(1, keepdim=True),
    "the mean of a stack": lambda h: torch.stack([h, h * 2]).mean(0),
    "attention of channels first": lambda h: (h.flatten(2) @ scores(h).softmax(2).mT).reshape(
        h.shape
    ),
    "attention with queries last": lambda h: (h.flatten(2) @ scores(h).softmax(1)).view_as(h),
    "neighbors as channels": lambda h: torch.cat([h[..., ::2], h[..., 1::2]], 1),
}
LAST: dict[str, Callable[[Tensor], Tensor]] = {
    "permuted": lambda h: h.permute(0, 2, 3, 1),
    "normed": lambda h: nn.LayerNorm(4)(h.movedim(1, -1)),
    "a linear layer": lambda h: nn.Linear(4, 7)(h.permute(0, 2, 3, 1)),
    "tokens in rows": lambda h: h.flatten(2).mT.reshape(2, 8, 10, 4),
    "contiguous": lambda h: h.permute(0, 2, 3, 1).contiguous() + 0,
}
TOKENS: dict[str, tuple[Callable[[Tensor], Tensor], UnitAxes]] = {  # the maps in other words
    "tokens": (tokens, UnitAxes("BTC", (8, 10))),
    "channels first": (lambda h: h.flatten(2), UnitAxes("BCT", (8, 10))),
    "a class token": (lambda h: after(h, 1), UnitAxes("BTC", (8, 10), 1)),
    "registers": (
        lambda h: torch.cat([torch.zeros(2, 1, 4), after(h, 4)], 1),
        UnitAxes("BTC", (8, 10), 5),
    ),
    "an expanded class token": (
        lambda h: torch.cat([nn.Parameter(torch.zeros(1, 1, 4)).expand(2, -1, -1), tokens(h)], 1),
        UnitAxes("BTC", (8, 10), 1),
    ),
    "a token behind": (
        lambda h: torch.cat([tokens(h), torch.zeros(2, 1, 4)], 1),
        UnitAxes("BTC", (8, 10), suffix=1),
    ),
    "the class token left out": (lambda h: after(h, 1)[:, 1:], UnitAxes("BTC", (8, 10))),
    "one of five left out": (lambda h: after(h, 5)[:, 1:], UnitAxes("BTC", (8, 10), 4)),
    "the batch second, and back": (
        lambda h: (after(h, 1).transpose(0, 1) + 0).transpose(0, 1),
        UnitAxes("BTC", (8, 10), 1),
    ),
    "windows and back": (
        lambda h: (
            tokens(h)
            .view(2, 2, 4, 2, 5, 4)
            .transpose(2, 3)
            .reshape(8, 20, 4)
            .view(2, 2, 2, 4, 5, 4)
            .transpose(2, 3)
            .reshape(2, 80, 4)
        ),
        UnitAxes("BTC", (8, 10)),
    ),
    "maps as rows of tokens": (
        lambda h: tokens(h).view(2, 8, 10, 4),
        UnitAxes("BHWC"),
    ),
}
UNKNOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda h: h.transpose(1, 2),
    "tokens in columns": lambda h: tokens(h.transpose(2, 3)),
    "a square turned": lambda h: tokens(h[:, :, :8, :8].transpose(2, 3)),
    "tokens in windows": lambda h: (
        tokens(h).view(2, 2, 4, 2, 5, 4).transpose(2, 3).reshape(2, 80, 4)
    ),
    "indexed tokens": lambda h: tokens(h)[:, torch.arange(80).flip(0)],
    "selected tokens": lambda h: tokens(h).index_select(1, torch.arange(80).flip(0)),
    "gathered tokens": lambda h: tokens(h).gather(1, tokens(h).argsort(1)),
    "sorted tokens": lambda h: tokens(h).sort(1).values,
    "rolled tokens": lambda h: tokens(h).roll(3, 1),
    "reversed tokens": lambda h: tokens(h).flip(1),
    "every other token": lambda h: tokens(h)[:, ::2],
    "half of the tokens": lambda h: tokens(h)[:, :40],
    "twice the tokens": lambda h: torch.cat([tokens(h), tokens(h)], 1),
    "the last token left out": lambda h: after(h, 1)[:, :-1],
    "a token of the image left out": lambda h: after(h, 1)[:, 2:],
    "the class token alone": lambda h: after(h, 1)[:, :1],
    "the batch second": lambda h: tokens(h).transpose(0, 1),
    "scores": scores,
    "mixed tokens": lambda h: nn.Linear(80, 80)(h.flatten(2)).transpose(1, 2),
    "no channels": lambda h: h.mean(1),
    "videos": lambda h: h[:, :, None],
    "made of a vector": lambda h: nn.Unflatten(1, (4, 2, 2))(nn.Linear(4, 16)(h.mean((2, 3)))),
}


@pytest.mark.parametrize("name", FIRST)
def test_channels_first(name: str) -> None:
    axes, output, _ = found(FIRST[name])
    assert axes == MAPS
    assert axes.maps(output) is output


@pytest.mark.parametrize("name", LAST)
def test_channels_last(name: str) -> None:
    axes, output, _ = found(LAST[name])
    assert axes == UnitAxes("BHWC")
    assert torch.equal(axes.maps(output), output.permute(0, 3, 1, 2))


def test_windows_that_unfold_cuts_out_are_tokens() -> None:
    """Token t holds window (t // 5, t % 5)."""
    x = torch.randn(2, 3, 8, 10)
    with torch.no_grad(), Layout(x) as layout:
        windows = nn.functional.unfold(x, 2, stride=2)
        assert layout.find("it", windows) == UnitAxes("BCT", (4, 5))
        tokens = windows.transpose(1, 2)
        axes = layout.find("it", tokens)
    assert axes == UnitAxes("BTC", (4, 5))
    corner = x[:, :, 6:8, 2:4].flatten(1)
    assert torch.equal(axes.maps(tokens)[:, :, 3, 1], corner)


@pytest.mark.parametrize("name", TOKENS)
def test_tokens(name: str) -> None:
    """Each lies where its map has it; other tokens are left out."""
    call, expected = TOKENS[name]
    axes, output, maps = found(call)
    assert axes == expected
    assert torch.equal(axes.maps(output), maps)
    axes.maps(output).fill_(7)  # shares its memory
    assert (output == 7).sum() == maps.numel()


def test_vectors() -> None:
    axes, output, _ = found(lambda h: h.mean((2, 3)))
    assert axes == UnitAxes("BC")
    assert axes.maps(output).shape == (2, 4, 1, 1)


def test_a_class_token_is_a_vector() -> None:
    axes, output, _ = found(lambda h: after(h, 1)[:, 0])
    assert axes == UnitAxes("BC")
    assert output.shape == (2, 4)


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown(name: str) -> None:
    with pytest.raises(InputError, match=r"'it' gives .* is unknown"):
        found(UNKNOWN[name])


def swin() -> nn.Module:
    return torchvision.models.swin_transformer.SwinTransformer([4, 4], 24, [1, 1], [2, 2], [7, 7])


def small(name: str, **words: Any) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, pretrained=False, **words)


def torchvisions_vit() -> nn.Module:
    return torchvision.models.VisionTransformer(48, 16, 2, 2, 12, 24, num_classes=3)


def mixer() -> nn.Module:
    return timm.models.mlp_mixer.MlpMixer(
        img_size=48, patch_size=16, num_blocks=2, embed_dim=12, num_classes=3
    )


def pvt() -> nn.Module:
    return timm.models.pvt_v2.PyramidVisionTransformerV2(
        depths=(1, 1, 1, 1), embed_dims=(8, 8, 16, 16), num_heads=(1, 1, 2, 2), num_classes=3
    )


LAST_AXES = UnitAxes("BHWC")
NETS: dict[str, tuple[Callable[[], nn.Module], int, dict[str, UnitAxes]]] = {
    "swin": (
        swin,
        56,
        {
            "features.0": LAST_AXES,
            "features.1": LAST_AXES,
            "features.1.0.norm1": LAST_AXES,
            "features.2": LAST_AXES,
            "features.3.0.mlp.1": LAST_AXES,
        },
    ),
    "timm's swin": (
        small("swin_tiny_patch4_window7_224", img_size=28, depths=(2, 1), num_heads=(1, 2),
              embed_dim=16),
        28,
        {"patch_embed": LAST_AXES, "layers.0": LAST_AXES, "layers.1": LAST_AXES,
         "layers.0.blocks.1": LAST_AXES},
    ),
    "convnext": (
        lambda: torchvision.models.convnext_tiny(weights=None),
        56,
        {
            "features.1.0.block.1": LAST_AXES,
            "features.1.0.block.3": LAST_AXES,
            "features.1.0.block.2": LAST_AXES,
            "features.1": MAPS,
        },
    ),
    "timm's convnext": (small("convnext_atto"), 32, {"stages.0.blocks.0.norm": MAPS}),
    "vit": (
        small("vit_tiny_patch16_224", img_size=48, depth=2, embed_dim=12),
        48,
        {
            "patch_embed": UnitAxes("BTC", (3, 3)),
            "blocks.0": UnitAxes("BTC", (3, 3), 1),
            "blocks.1.mlp.act": UnitAxes("BTC", (3, 3), 1),
            "norm": UnitAxes("BTC", (3, 3), 1),
        },
    ),
    "vit with registers": (
        small("vit_little_patch16_reg4_gap_256", img_size=48, depth=2, embed_dim=20, num_heads=5),
        48,
        {"blocks.0": UnitAxes("BTC", (3, 3), 4), "blocks.1": UnitAxes("BTC", (3, 3), 4)},
    ),
    "distilled": (
        small("deit_tiny_distilled_patch16_224", img_size=48, depth=2, embed_dim=12),
        48,
        {"blocks.1": UnitAxes("BTC", (3, 3), 2)},
    ),
    "torchvision's vit": (
        torchvisions_vit,
        48,
        {
            "encoder.layers.encoder_layer_0": UnitAxes("BTC", (3, 3), 1),
            "encoder.layers.encoder_layer_1.mlp": UnitAxes("BTC", (3, 3), 1),
            "encoder": UnitAxes("BTC", (3, 3), 1),
        },
    ),
    "mixer": (mixer, 48, {"stem": UnitAxes("BTC", (3, 3)), "blocks.1": UnitAxes("BTC", (3, 3))}),
    "pvt": (pvt, 64, {"stages.0": MAPS, "stages.1.blocks.0": UnitAxes("BTC", (8, 8))}),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_all_see_the_same_units(name: str) -> None:
    """Search, deconvnet, doctor and the strongest units, as the maximum over all of them."""
    build, side, layers = NETS[name]
    torch.manual_seed(0)
    model, x = build().eval(), torch.randn(2, 3, side, side)
    kept: dict[str, Tensor] = {}
    handles = [
        model.get_submodule(layer).register_forward_hook(
            lambda _, __, output, layer=layer: kept.setdefault(layer, output.clone())
        )
        for layer in layers
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    top = top_activations(model, [x], list(layers), k=2, progress=False)
    found = doctor(model, list(layers), x)
    for diagnosis, (layer, axes) in zip(found, layers.items(), strict=True):
        maps = slowly_as_maps(kept[layer], axes)
        assert diagnosis.channels == maps.shape[1]
        assert diagnosis.dead_channels == [
            channel for channel in range(maps.shape[1]) if maps[:, channel].max() <= 0
        ]
        assert Deconvnet(model).units(layer, side) == maps.shape[1:]
        for unit in strongest_units(model, x, layer):
            value = maps[unit.image, unit.channel, unit.y, unit.x]
            assert value >= maps[unit.image].max() - 1e-5
        each = top[layer]
        best = maps.flatten(2).amax(2).T.sort(1, descending=True).values
        assert torch.allclose(each.values, best, atol=1e-5)
        channels = torch.arange(maps.shape[1])[:, None]
        assert torch.allclose(maps[each.images, channels, each.y, each.x], best, atol=1e-5)


def slowly_as_maps(output: Tensor, axes: UnitAxes) -> Tensor:
    """(B, C, H, W) by loops."""
    if axes.order == "BCHW":
        return output
    if axes.order == "BHWC":
        return torch.stack([output[..., channel] for channel in range(output.shape[-1])], 1)
    height, width = axes.grid
    maps = torch.zeros(len(output), output.shape[2], height, width)
    for y in range(height):
        for x in range(width):
            maps[:, :, y, x] = output[:, axes.prefix + y * width + x]
    return maps


class Hidden(nn.Module):
    """Tokens in columns of the grid."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.conv(x).transpose(2, 3).flatten(2).transpose(1, 2))


def test_search_deconvnet_and_doctor_refuse_alike() -> None:
    model, x = Hidden().eval(), torch.randn(1, 3, 8, 8)
    calls: list[Callable[[], object]] = [
        lambda: top_activations(model, [x], ["out"], progress=False),
        lambda: Deconvnet(model).project(x, "out", [Unit(0, 0)]),
        lambda: doctor(model, ["out"], x),
        lambda: strongest_units(model, x, "out"),
    ]
    for call in calls:
        with pytest.raises(InputError, match=r"'out' gives .* its channels and positions"):
            call()


@pytest.mark.parametrize("unit", [Unit(0, 2, 0, 0), Unit(1, 5, 2, 1)])
def test_a_token_projects_what_it_sees(unit: Unit) -> None:
    """Without attention, a token sees its own patch alone: the grid is in rows, without prefix."""
    model = small("vit_tiny_patch16_224", img_size=(48, 32), depth=1, embed_dim=12)().eval()
    model.blocks = nn.Sequential(model.blocks[0].mlp)
    images = torch.randn(2, 3, 48, 32)
    projection = Deconvnet(model, seed="forced").project(images, "blocks.0", [unit])[0]
    patch = projection[:, 16 * unit.y : 16 * unit.y + 16, 16 * unit.x : 16 * unit.x + 16]
    assert patch.any()
    patch.zero_()
    assert not projection.any()


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
    with pytest.raises(InputError, match="for one image"):
        top_activations(model, [torch.randn(1, 3, 8, 8)], ["2"], progress=False)
    with pytest.raises(InputError, match="for 1 images"):
        Deconvnet(model).project(torch.randn(1, 3, 8, 8), "2", [Unit(0, 0)])


class Rows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(0, 1)
