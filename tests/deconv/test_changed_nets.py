"""A Deconvnet that is used again after its net was changed gives what a new one gives."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.deconv.common import noise, same
from zfnet.deconv import Deconvnet, Unit, doctor
from zfnet.errors import InputError
from zfnet.models.snapshot import snapshot


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        *(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.LocalResponseNorm(3),
        ),
        *(nn.Conv2d(8, 8, 3), nn.ReLU()),
    ).double()


LAYER, UNITS = "6", [Unit(0, number, 3, 3) for number in range(8)]


def _new_weight(m: nn.Sequential) -> None:
    m[0].weight.data = torch.randn(8, 3, 3, 3, dtype=torch.float64)


def _vector(m: nn.Sequential) -> None:
    count = sum(p.numel() for p in m.parameters())
    nn.utils.vector_to_parameters(0.2 * torch.randn(count, dtype=torch.float64), m.parameters())


def _hook(m: nn.Sequential) -> None:
    m[2].register_forward_hook(lambda _, __, out: out * 2)


def _global_of(m: nn.Sequential) -> None:
    m[4].alpha, m[4].k = 0.5, 0.1


def _spectral(m: nn.Sequential) -> None:
    nn.utils.parametrizations.weight_norm(m[5])
    m[5].parametrizations.weight.original0.data.mul_(3)


def _forward(m: nn.Sequential) -> None:
    m[2].forward = lambda x: F.relu(x - 0.1)


CHANGES: dict[str, Callable[[nn.Sequential], object]] = {
    "in place": lambda m: m[0].weight.detach().mul_(2),
    "in place, data": lambda m: m[0].weight.data.mul_(2),
    "weight.data = w": _new_weight,
    "vector_to_parameters": _vector,
    "bias.data": lambda m: m[5].bias.data.add_(1),
    "running_var.data": lambda m: m[1].running_var.data.mul_(9),
    "running_mean": lambda m: m[1].running_mean.add_(0.3),
    "gamma": lambda m: m[1].weight.data.mul_(-2),
    "eps": lambda m: setattr(m[1], "eps", 3.0),
    "load_state_dict": lambda m: m.load_state_dict(net(1).state_dict()),
    "load_state_dict(assign)": lambda m: m.load_state_dict(net(1).state_dict(), assign=True),
    "padding": lambda m: setattr(m[5], "padding", (1, 1)),
    "stride": lambda m: setattr(m[3], "stride", 1),
    "normalization": _global_of,
    "no ReLU": lambda m: m.__setitem__(2, nn.Identity()),
    "another convolution": lambda m: m.__setitem__(0, nn.Conv2d(3, 8, 5).double()),
    "a module more": lambda m: m.insert(1, nn.AvgPool2d(3, 1, 1)),
    "forward": _forward,
    "a hook": _hook,
    "a parametrization": _spectral,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen(name: str) -> None:
    torch.manual_seed(3)
    model, images = net(), noise(1, 24)
    deconv = Deconvnet(model)
    before = deconv.project(images, LAYER, UNITS)
    CHANGES[name](model)
    found = deconv.project(images, LAYER, UNITS)
    same(found, Deconvnet(model).project(images, LAYER, UNITS))
    same(found, Deconvnet(model).project_general(images, LAYER, UNITS)[0])
    assert not torch.equal(found, before)
    if name == "a parametrization":  # what it computes is no memory of the net's
        model[5].parametrizations.weight.original0.data.mul_(3)
        same(deconv.project(images, LAYER, UNITS), Deconvnet(model).project(images, LAYER, UNITS))


@pytest.mark.parametrize("module", [nn.GELU(), nn.LeakyReLU(0.3)])
def test_a_change_that_has_an_extended_rule(module: nn.Module) -> None:
    model, images = net(), noise(1, 24)
    deconv, strict = Deconvnet(model, relu="gradient"), Deconvnet(model, strict=True)
    before = deconv.project(images, LAYER, UNITS)
    strict.project(images, LAYER, UNITS)
    model[2] = module
    found = deconv.project(images, LAYER, UNITS)
    assert not torch.equal(found, before)
    same(found, Deconvnet(model, relu="gradient").project(images, LAYER, UNITS))
    with pytest.raises(InputError, match=type(module).__name__):
        strict.project(images, LAYER, UNITS)


@pytest.mark.parametrize("module", [nn.Tanh(), nn.Hardtanh()])
def test_a_change_that_has_no_deconvnet_is_refused(module: nn.Module) -> None:
    model, images = net(), noise(1, 24)
    deconv = Deconvnet(model)
    deconv.project(images, LAYER, UNITS)
    model[2] = module
    with pytest.raises(InputError, match=type(module).__name__):
        deconv.project(images, LAYER, UNITS)


SLOPE = {"gain": 1.0}


class OnesOwn(nn.Module):
    """What it does stands in a global: no attribute says it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(
            self.conv(
                x,
            )
            * SLOPE["gain"]
        )


def test_code_of_ones_own_is_traced_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = nn.Sequential(OnesOwn(), nn.Conv2d(4, 4, 3, dtype=torch.float64)), noise(1, 12)
    assert snapshot(model) is None
    deconv = Deconvnet(model)
    first = deconv.project(images, "1", UNITS[:4])
    monkeypatch.setitem(SLOPE, "gain", 3.0)
    second = deconv.project(images, "1", UNITS[:4])
    same(second, Deconvnet(model).project(images, "1", UNITS[:4]))
    assert not torch.equal(first, second)


def test_a_net_that_stays_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = net(), noise(1, 24)
    deconv = Deconvnet(model)
    first = deconv.project(images, LAYER, UNITS)
    monkeypatch.setattr("zfnet.deconv.plans.make_plan", lambda *_: pytest.fail("traced again"))
    assert torch.equal(deconv.project(images, LAYER, UNITS), first)


@pytest.mark.parametrize(
    "first", [nn.BatchNorm2d(3), nn.ReLU(), nn.LocalResponseNorm(3), nn.MaxPool2d(2)]
)
def test_filters_of_what_is_not_the_pixels(first: nn.Module) -> None:
    """None; with an identity before, and a ReLU behind, the weights."""
    conv = nn.Conv2d(3, 4, 3)
    assert Deconvnet(nn.Sequential(first, conv)).filters("1", 16) is None
    plain = Deconvnet(nn.Sequential(nn.Identity(), nn.Dropout(), conv, nn.ReLU(), nn.MaxPool2d(2)))
    for layer in ("2", "3"):
        assert torch.equal(plain.filters(layer, 16), conv.weight.detach())
    assert plain.filters("4", 16) is None


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_filters_of_groups_are_whole(groups: int) -> None:
    """A convolution with them, without groups, gives the same."""
    conv, x = (
        nn.Conv2d(4, 8, 3, groups=groups, dtype=torch.float64),
        torch.randn(1, 4, 9, 9, dtype=torch.float64),
    )
    filters = Deconvnet(nn.Sequential(conv)).filters("0", 9)
    assert filters is not None
    assert filters.shape == (8, 4, 3, 3)
    torch.testing.assert_close(F.conv2d(x, filters, conv.bias.detach()), conv(x).detach())


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_any_number_of_channels_without_images(channels: int) -> None:
    model = nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU()
    )
    deconv = Deconvnet(model)
    assert deconv.window("4", Unit(0, 0), 16) == (0, 0, 8, 8)
    assert deconv.units("4", 16) == (5, 5, 5)
    assert torch.equal(deconv.filters("1", (16, 20)), model[0].weight.detach())
    assert doctor(model, ["4"])[0].channels == 5
    assert deconv.project(torch.randn(1, channels, 16, 16), "4", [Unit(0, 0)]).shape == (
        1,
        channels,
        16,
        16,
    )


def test_channels_that_no_convolution_says() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 36, 5))
    deconv = Deconvnet(model)
    with pytest.raises(InputError, match=r"number of channels .* give size=\(C, H, W\)"):
        deconv.units("1", 6)
    with pytest.raises(InputError, match=r"number of channels .* give images"):
        doctor(model, ["1"])
    assert deconv.units("1", (2, 6, 6)) == (5, 1, 1)
    deconv.project(torch.randn(1, 2, 6, 6), "1", [Unit(0, 0)])
    assert deconv.units("1") == (5, 1, 1)
    with pytest.raises(
        InputError, match=r"Sequential does not take images of shape \(1, 3, 7, 7\)"
    ):
        Deconvnet(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(9, 5))).units("2", 7)


@pytest.mark.parametrize("unpool", ["sum", "overwrite"])
@pytest.mark.parametrize("layer", ["2", LAYER])
def test_no_units(layer: str, unpool: str) -> None:
    """Empty results of the shapes that others have."""
    images, deconv = noise(2, 24), Deconvnet(net(), unpool=unpool)
    assert deconv.project(images, layer, []).shape == (0, 3, 24, 24)
    none, one = deconv.patches(images, layer, []), deconv.patches(images, layer, [Unit(0, 0)])
    assert none.projections.shape == none.images.shape == (0, *one.projections.shape[1:])
    assert none.crop(images, []).shape == none.images.shape
    assert (none.values.shape, none.windows) == ((0,), [])
