"""Axes that the user gives: all readers of a layer use them, where they are recognized or not."""

from collections.abc import Callable, Iterator
from copy import deepcopy

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.deconv.common import gradients, narrow, noise, same
from tests.reference.nets import seeded
from zfnet.analysis import invariance, occlusion_sweep, sanity_checks
from zfnet.analysis.localization import strongest_units
from zfnet.deconv import Deconvnet, Unit, doctor, top_activations
from zfnet.errors import InputError
from zfnet.models import set_axes
from zfnet.models.default_layers import default_layers
from zfnet.models.snapshot import snapshot
from zfnet.models.stages import layer_outputs, stage_outputs
from zfnet.models.unit_axes import UnitAxes, parse_axes

ROWS, COLUMNS = 4, 6
GIVEN = f"BTC@1+{COLUMNS}x{ROWS}"


class Maps(nn.Module):
    """Channels of each position are mixed after a pooling: (B, 5, 4, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 6, 3, padding=1), nn.MaxPool2d(2)
        self.mix, self.act, self.out = nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.pool(self.conv(x).relu())
        h = self.act(F.conv2d(h, self.mix.weight[:, :, None, None], self.mix.bias))
        return self.out(h.mean((2, 3)))


class Columns(Maps):
    """The same units as tokens (B, 1 + 6 * 4, 5), in columns of the image, after another one."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.pool(self.conv(x).relu()).transpose(2, 3).flatten(2).transpose(1, 2)
        h = self.act(self.mix(torch.cat([torch.zeros_like(h[:, :1]), h], 1)))
        return self.out(h[:, 1:].mean(1))


@pytest.fixture
def images() -> Tensor:
    return noise(3, 2 * COLUMNS)[:, :, : 2 * ROWS]


@pytest.fixture
def columns() -> nn.Module:
    model = seeded(Columns)
    set_axes(model, "act", GIVEN)
    return model


@pytest.fixture
def maps() -> nn.Module:
    return seeded(Maps)


def turned(unit: Unit) -> Unit:
    return Unit(unit.image, unit.channel, unit.x, unit.y)


UNITS = [Unit(image, 4 - image, y, x) for image, y, x in ((0, 0, 3), (1, 5, 0), (2, 2, 2))]


def test_without_them_the_error_says_how_to_give_them(images: Tensor) -> None:
    said = r"axes=\{act:BTC@ROWSxCOLUMNS\}, or BCT or TBC instead of BTC; .*set_axes"
    with pytest.raises(InputError, match=said):
        Deconvnet(seeded(Columns)).project(images, "act", UNITS)


@pytest.mark.parametrize("relu", ["deconv", "guided", "gradient"])
def test_projections(columns: nn.Module, maps: nn.Module, images: Tensor, relu: str) -> None:
    deconv, twin = Deconvnet(columns, relu=relu), Deconvnet(maps, relu=relu)
    assert deconv.units("act", (8, 12)) == (5, COLUMNS, ROWS)
    expected = twin.project(images, "act", [turned(unit) for unit in UNITS])
    assert expected.any()
    same(deconv.project(images, "act", UNITS), expected)
    same(deconv.project_general(images, "act", UNITS)[0], expected)
    same(
        deconv.project_channel(images, "act", 2),
        twin.project_channel(images, "act", 2),
    )
    patches = deconv.patches(images, "act", UNITS)
    same(patches.projections, expected)
    assert patches.windows == [(0, 0, 8, 12)] * 3  # which pixels they see is unknown
    assert deconv.cell("act", UNITS[1]) == (6, 0, 8, 3)


def test_the_gradient(columns: nn.Module, maps: nn.Module, images: Tensor) -> None:
    found = Deconvnet(columns, relu="gradient").project(images, "act", UNITS)
    same(found, gradients(maps, images, "act", [turned(unit) for unit in UNITS]))


class Sequence(Columns):
    """The tokens before the axis of the images, as `nn.TransformerEncoder` has them by default."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.pool(self.conv(x).relu()).transpose(2, 3).flatten(2).permute(2, 0, 1)
        h = self.act(self.mix(torch.cat([torch.zeros_like(h[:1]), h])))
        return self.out(h[1:].mean(0))


def test_tokens_before_the_images(columns: nn.Module, images: Tensor) -> None:
    model = seeded(Sequence)
    set_axes(model, "act", f"T{GIVEN.replace('T', '', 1)}")
    found, expected = (Deconvnet(each).project(images, "act", UNITS) for each in (model, columns))
    same(found, expected)
    found, expected = (
        top_activations(each, [images], ["act"], k=2, progress=False)["act"].values
        for each in (model, columns)
    )
    same(found, expected)
    found, expected = (
        occlusion_sweep(each, images, size=3, stride=3, layer="act").activity
        for each in (model, columns)
    )
    same(found, expected)
    assert strongest_units(model, images, "act") == strongest_units(columns, images, "act")
    assert str(doctor(model, ["act"], images)[0]) == str(doctor(columns, ["act"], images)[0])
    assert {each.name: each.channels for each in layer_outputs(model, images[:1])}["act"] == 5
    with pytest.raises(InputError, match=r"\(25, 1, 5\) for one image: name a layer whose first"):
        invariance(model, images, ["act"], torch.tensor([0, 1, 2]), [0, 2], [1], [0])


def test_contrastive_projections(columns: nn.Module, maps: nn.Module, images: Tensor) -> None:
    found = Deconvnet(columns, contrast=3).project(images, "act", UNITS)
    units = [turned(unit) for unit in UNITS]
    same(found, Deconvnet(maps, contrast=3).project(images, "act", units))


def test_search_and_strongest_units(columns: nn.Module, images: Tensor) -> None:
    outputs: list[Tensor] = []
    handle = columns.act.register_forward_hook(lambda _, __, output: outputs.append(output))
    with torch.no_grad():
        columns(images)
    handle.remove()
    tokens = outputs[0][:, 1:]
    top = top_activations(columns, [images[:2], images[2:]], ["act"], k=2, progress=False)["act"]
    for channel in range(5):
        best = sorted((-float(each[:, channel].max()), i) for i, each in enumerate(tokens))
        for place, (value, image) in enumerate(best[:2]):
            at = int(tokens[image, :, channel].argmax())
            assert (top.values[channel, place], top.images[channel, place]) == (-value, image)
            assert (top.y[channel, place], top.x[channel, place]) == divmod(at, ROWS)
    for unit in strongest_units(columns, images, "act"):
        value = tokens[unit.image, unit.y * ROWS + unit.x, unit.channel]
        assert value == tokens[unit.image].max()


def test_occlusion_and_diagnosis(columns: nn.Module, maps: nn.Module, images: Tensor) -> None:
    sweeps = [
        occlusion_sweep(net, images, size=3, stride=3, layer="act") for net in (columns, maps)
    ]
    for name in ("activity", "clean_activity", "logits"):
        found, expected = (getattr(sweep, name) for sweep in sweeps)
        same(found, expected)
    (found,), (expected,) = (doctor(net, ["act"], images) for net in (columns, maps))
    assert (found.channels, found.dead_channels) == (5, expected.dead_channels)
    assert (found.field, expected.field) == (None, (4, 4))


def test_sanity_checks_of_copies(columns: nn.Module, maps: nn.Module, images: Tensor) -> None:
    channels = [0, 1, 2]
    found = sanity_checks(columns, images, images.flip(0), "act", UNITS, channels)
    units = [turned(unit) for unit in UNITS]
    expected = sanity_checks(maps, images, images.flip(0), "act", units, channels)
    assert {"conv", "mix"} <= found.keys()
    for name in ("original", "other map", "other image"):  # those of `maps` are cut to windows
        energies = (each[name].square().sum((1, 2, 3)) for each in (found, expected))
        torch.testing.assert_close(*energies)


class Turn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).transpose(2, 3).flatten(2).transpose(1, 2)


def test_the_blocks_that_default_layers_are_chosen_from(images: Tensor) -> None:
    model = nn.Sequential(nn.Sequential(Turn(), nn.Linear(6, 5))).double()
    assert stage_outputs(model, images) == []
    set_axes(model, "0", f"BTC@{2 * COLUMNS}x{2 * ROWS}")
    assert stage_outputs(model, images) == ["0"]
    set_axes(model, "0", "BTC@3x3")
    with pytest.raises(InputError, match="it has 96 tokens, not 9"):
        default_layers(model, images)


WRAPPERS: dict[str, tuple[Callable[[nn.Module], nn.Module], str]] = {
    "a copy": (deepcopy, ""),
    "compiled": (torch.compile, ""),  # type: ignore[dict-item]
    "DataParallel": (nn.DataParallel, "module."),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers(columns: nn.Module, name: str) -> None:
    wrap, prefix = WRAPPERS[name]
    wrapped, layer = wrap(columns), f"{prefix}act"
    assert Deconvnet(wrapped).units(layer, (8, 12)) == (5, COLUMNS, ROWS)
    set_axes(wrapped, layer, "BTC@1+8x3")
    assert Deconvnet(wrapped).units(layer, (8, 12)) == (5, 8, 3)
    units = Deconvnet(columns).units("act", (8, 12))
    assert units == ((5, COLUMNS, ROWS) if name == "a copy" else (5, 8, 3))


def test_no_file_holds_them(columns: nn.Module) -> None:
    assert columns.state_dict().keys() == seeded(Columns).state_dict().keys()


def test_axes_that_contradict_the_recognized_ones(images: Tensor) -> None:
    """A chain of layers gives (B, C, H, W), and the user says (B, H, W, C). A Deconvnet that has
    projected before notices."""
    convs = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 5, 3)
    layers = [convs[0], nn.ReLU(), nn.MaxPool2d(2), convs[1], nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = seeded(lambda: model)
    assert snapshot(model) is not None
    deconv = Deconvnet(model)
    units = [Unit(0, 3, 1, 2), Unit(1, 0, 0, 3)]
    as_channels = [Unit(unit.image, unit.x, unit.channel, unit.y) for unit in units]
    expected = deconv.project(images, "4", units)
    plain = occlusion_sweep(model, images, size=3, stride=2)
    set_axes(model, "4", "BHWC")
    assert deconv.units("4") == (4, 5, 2)
    same(deconv.project(images, "4", as_channels), expected)
    same(deconv.patches(images, "4", as_channels).projections, expected)
    sweep = occlusion_sweep(model, images, size=3, stride=2, layer="4")
    same(sweep.logits, plain.logits)
    values = model[:5](images).detach()
    assert sweep.clean_activity is not None
    same(sweep.clean_activity, values.sum((1, 2)))
    set_axes(model, "4", "BCHW")
    same(deconv.project(images, "4", units), expected)


def vit() -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", img_size=48, depth=1, embed_dim=12)


def swin() -> nn.Module:
    options = {"depths": (1, 1), "num_heads": (1, 1), "embed_dim": 8, "img_size": 28}
    return timm.create_model("swin_tiny_patch4_window7_224", **options)


@pytest.mark.parametrize(
    ("build", "layer", "axes", "size"),
    [
        (vit, "blocks.0", "BTC@1+3x3", 48),
        (vit, "patch_embed", "BTC@3x3", 48),
        (swin, "layers.0", "BHWC", 28),
        (lambda: narrow(), "conv3", "BCHW", 79),
        (lambda: narrow(), "fc7", "BC", 79),
    ],
)
def test_giving_what_is_recognized_changes_nothing(
    build: Callable[[], nn.Module], layer: str, axes: str, size: int
) -> None:
    torch.manual_seed(0)
    model = build().eval().double()
    images = noise(2, size)

    def results() -> Iterator[object]:
        deconv = Deconvnet(model)
        assert str(deconv.axes(layer, size)) == axes
        unit = strongest_units(model, images, layer)[0]
        patches = deconv.patches(images, layer, [unit])
        top = top_activations(model, [images], [layer], k=1, progress=False)[layer]
        sweep = occlusion_sweep(model, images[:1], size=size // 2, stride=size, layer=layer)
        yield from (unit, patches.windows, doctor(model, [layer], images))
        yield from (patches.projections, top.values, sweep.activity, sweep.logits)

    before = list(results())
    set_axes(model, layer, axes)
    for found, expected in zip(results(), before, strict=True):
        if isinstance(found, Tensor) and isinstance(expected, Tensor):
            assert torch.equal(found, expected)
        else:
            assert found == expected


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ("BHWC", r"'act' gives \(\d, 25, 5\), and the axes BHWC .* it has 3 axes, not 4"),
        ("BC", r"it has 3 axes, not 2"),
        ("BTC@4x6", r"axes BTC@4x6 that were given for it do not fit: it has 25 tokens, not 24"),
        ("BCT@1+4x6", r"it has 5 tokens, not 25"),
    ],
)
def test_axes_that_do_not_fit(columns: nn.Module, images: Tensor, axes: str, said: str) -> None:
    set_axes(columns, "act", axes)
    calls: list[Callable[[], object]] = [
        lambda: top_activations(columns, [images], ["act"], progress=False),
        lambda: Deconvnet(columns).project(images, "act", UNITS),
        lambda: doctor(columns, ["act"], images),
        lambda: occlusion_sweep(columns, images, size=4, stride=4, layer="act"),
    ]
    for call in calls:
        with pytest.raises(InputError, match=said):
            call()


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ("BHCW", "axes 'BHCW': give BCHW, BHWC, BC, or for tokens BTC@14x14"),
        ("", "axes '': give BCHW"),
        ("BTC 14x14", "axes 'BTC 14x14': give BCHW"),
        ("BTC@14", "axes 'BTC@14': give BCHW"),
        ("BTC", "axes 'BTC': the tokens need a grid: give BTC@14x14"),
        ("BTC@0x3", "axes 'BTC@0x3': the tokens need a grid: give BTC@14x14"),
        ("BHWC@3x3", "axes 'BHWC@3x3': BHWC has no tokens: give BHWC"),
    ],
)
def test_axes_that_are_none(columns: nn.Module, axes: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        set_axes(columns, "act", axes)


def test_an_unknown_layer(columns: nn.Module) -> None:
    with pytest.raises(InputError, match=r"'acts' is not in Columns.* did you mean act"):
        set_axes(columns, "acts", "BCHW")


COUNTS = st.integers(0, 300)


@given(
    st.sampled_from(["BTC", "BCT", "TBC"]), COUNTS, st.tuples(*[st.integers(1, 300)] * 2), COUNTS
)
def test_the_text_of_axes(order: str, prefix: int, grid: tuple[int, int], suffix: int) -> None:
    axes = UnitAxes(order, grid, prefix, suffix)
    assert parse_axes(str(axes)) == axes
