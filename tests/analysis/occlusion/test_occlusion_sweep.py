"""The occlusion sweep by hand and against captum; its places, maps over pixels and errors."""

import math
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from captum.attr import Occlusion
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.deconv.common import narrow, noise, values_of
from tests.reference.nets import seeded
from zfnet.analysis.occlusion.sweep import Sweep, occlusion_sweep
from zfnet.errors import InputError
from zfnet.models.introspection import eval_mode

SIDE = 47  # the smallest that ZFNet and AlexNet take

# By the definition


def test_the_logits_are_those_of_the_covered_images() -> None:
    """Every place of two images that are not square, one at a time."""
    body = [partial(nn.Conv2d, 3, 4, 3, 2), nn.ReLU, partial(nn.AdaptiveAvgPool2d, 2), nn.Flatten]
    net = seeded(lambda: nn.Sequential(*(build() for build in body), nn.Linear(16, 4)))
    images, fill = noise(2, 17)[:, :, :13], (1.0, -2.0, 0.5)
    sweep = occlusion_sweep(net, images, [3, 1], 5, 3, fill, layer="1", exhaustive=False)
    assert (sweep.tops.tolist(), sweep.lefts.tolist()) == ([0, 3, 6, 9], [0, 3, 6, 9, 12])
    assert sweep.logits.shape == (2, 4, 5, 4)
    assert sweep.probability.shape == sweep.best.shape == (2, 4, 5)
    assert sweep.activity is not None
    for i, label in enumerate([3, 1]):
        for a, top in enumerate([0, 3, 6, 9]):
            for b, left in enumerate([0, 3, 6, 9, 12]):
                covered = images[i].clone()
                for channel, value in enumerate(fill):
                    covered[channel, top : top + 5, left : left + 5] = value
                with torch.no_grad():
                    (logits,) = net(covered[None])
                torch.testing.assert_close(sweep.logits[i, a, b], logits)
                torch.testing.assert_close(sweep.probability[i, a, b], logits.softmax(0)[label])
                assert sweep.best[i, a, b] == logits.argmax()
                torch.testing.assert_close(
                    sweep.activity[i, a, b], values_of(net, covered[None], "1").sum((2, 3))[0]
                )
    torch.testing.assert_close(sweep.clean_logits, net(images).detach())


def linear(height: int, width: int) -> nn.Module:
    """The cheapest classifier."""
    return seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * height * width, 2)))


@given(height=st.integers(2, 20), width=st.integers(2, 20), data=st.data())
def test_places(height: int, width: int, data: st.DataObject) -> None:
    """0, stride, ... up to the first square that reaches the border, none beyond it, and the
    squares' centres."""
    side = min(height, width)
    size = data.draw(st.integers(1, side))
    stride = data.draw(st.integers(max(1, size // 2), side))
    sweep = occlusion_sweep(
        linear(height, width),
        noise(1, 20)[:, :, :height, :width],
        0,
        size,
        stride,
        exhaustive=False,
    )
    for length, starts, centres in (
        (height, sweep.tops, sweep.centers[0]),
        (width, sweep.lefts, sweep.centers[1]),
    ):
        expected = [0]
        while expected[-1] + size < length and expected[-1] + stride < length:
            expected.append(expected[-1] + stride)
        assert starts.tolist() == expected
        assert centres.tolist() == [(2 * start + size - 1) / 2 for start in expected]


def test_a_channel_has_its_own_colour() -> None:
    """A net that sums each channel sees each colour; one number is the colour of all."""

    class Sums(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum((2, 3))

    images = torch.ones(1, 3, 6, 6, dtype=torch.float64)
    colours = torch.tensor([0.0, -1.0, 2.0], dtype=torch.float64)
    assert occlusion_sweep(Sums(), images, 0, 2, 2, colours).logits[0, 1, 2].tolist() == [
        32,
        28,
        40,
    ]
    assert occlusion_sweep(Sums(), images, 0, 2, 2, -1).logits[0, 0, 0].tolist() == [28, 28, 28]
    assert occlusion_sweep(Sums(), images, 0, 6, 4, 3.0).logits.tolist() == [[[[108.0] * 3]]]


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("name", ["zfnet", "alexnet"])
def test_captums_occlusion(name: str, size: int) -> None:
    """Squares side by side: captum's pixels hold the drop of the class's logit."""
    net, images = narrow(name, 65), noise(2, 65)
    sweep = occlusion_sweep(net, images, [1, 4], size, size, 0.25, exhaustive=False)
    window = (3, size, size)
    with torch.no_grad():
        theirs = Occlusion(net).attribute(
            images, window, window, baselines=0.25, target=torch.tensor([1, 4])
        )
    for i, label in enumerate([1, 4]):
        drop = sweep.clean_logits[i, label] - sweep.logits[i, :, :, label]
        pixels = drop.repeat_interleave(size, 0).repeat_interleave(size, 1)[:65, :65]
        torch.testing.assert_close(theirs[i], pixels.float().expand(3, -1, -1))


# Maps over pixels


def places(tops: list[int], lefts: list[int], size: int, image_size: tuple[int, int]) -> Sweep:
    logits, target = torch.zeros(1, len(tops), len(lefts), 2), torch.zeros(1, dtype=torch.long)
    return Sweep(
        logits,
        torch.zeros(1, 2),
        target,
        None,
        None,
        torch.tensor(tops),
        torch.tensor(lefts),
        size,
        image_size,
    )


@pytest.mark.parametrize(
    ("lefts", "size", "width", "values", "expected"),
    [
        ([0, 2], 1, 4, [1.0, 3.0], [1, 2, 3, 3]),
        ([0, 2, 4], 3, 7, [0.0, 4.0, 2.0], [0, 0, 2, 4, 3, 2, 2]),
        ([0, 2], 2, 4, [0.0, 4.0], [0, 1, 3, 4]),  # centres at 0.5 and 2.5
        # The last centre, 5.5, is beyond all pixels.
        ([0, 4], 4, 6, [2.0, 6.0], [2, 2, 2.5, 3.5, 4.5, 5.5]),
        ([0], 3, 3, [7.0], [7, 7, 7]),
    ],
)
def test_over_pixels_by_hand(
    lefts: list[int], size: int, width: int, values: list[float], expected: list[float]
) -> None:
    """One row of places, and the same as a column."""
    maps = torch.tensor(values, dtype=torch.float64).view(1, 1, -1)
    row = places([0], lefts, size, (size, width)).over_pixels(maps)
    assert row.tolist() == [[expected] * size]
    column = places(lefts, [0], size, (width, size)).over_pixels(maps.mT)
    torch.testing.assert_close(column, row.mT)


@given(
    size=st.integers(1, 6),
    stride=st.integers(1, 6),
    height=st.integers(7, 25),
    width=st.integers(7, 25),
)
def test_over_pixels_keeps_what_is_linear(size: int, stride: int, height: int, width: int) -> None:
    """Constant maps stay constant; linear ones are linear between the outer centres, constant
    beyond."""
    sweep = occlusion_sweep(
        linear(height, width),
        noise(2, 25)[:, :, :height, :width],
        0,
        size,
        stride,
        exhaustive=False,
    )
    rows, columns = (centres.double() for centres in sweep.centers)
    constant = torch.full((2, len(rows), len(columns)), 0.7)
    torch.testing.assert_close(sweep.over_pixels(constant), torch.full((2, height, width), 0.7))
    plane = (2 * rows[:, None] - 3 * columns + 1).expand(2, -1, -1)
    y = torch.arange(height).double().clamp(rows[0], rows[-1])
    x = torch.arange(width).double().clamp(columns[0], columns[-1])
    expected = (2 * y[:, None] - 3 * x + 1).expand(2, -1, -1)
    torch.testing.assert_close(sweep.over_pixels(plane), expected, atol=1e-4, rtol=1e-5)


# The model is left as it was


def state_of(net: nn.Module) -> list[Any]:
    """Modes, hooks, attributes' names, versions of all tensors, and gradients."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    state: list[Any] = [torch.get_rng_state().tolist(), torch.is_grad_enabled()]
    state.append(len(torch.nn.modules.module._global_forward_hooks))
    for name, module in net.named_modules():
        state.append(
            (
                name,
                module.training,
                sorted(vars(module)),
                [len(getattr(module, hook)) for hook in hooks],
            )
        )
    for tensor in (*net.parameters(), *net.buffers()):
        state.append((id(tensor), tensor._version, tensor.requires_grad, tensor.grad))
    return state


@pytest.mark.parametrize("exhaustive", [False, True])
@pytest.mark.parametrize("layer", [None, "layer2.0.conv1", "bn1"])
def test_the_model_is_untouched(layer: str | None, exhaustive: bool) -> None:
    """A net half in training mode, with a hook of its own and a gradient."""
    net = seeded(torchvision.models.resnet18).train()
    net.layer1.eval()
    net.fc.register_forward_hook(lambda *_: None)
    net.conv1.weight.requires_grad_(False)
    net.fc.bias.grad = torch.ones(1000, dtype=torch.float64)
    before, images = state_of(net), noise(1, 33).requires_grad_()
    sweep = occlusion_sweep(net, images, 3, 17, 9, layer=layer, exhaustive=exhaustive)
    assert state_of(net) == before
    assert images.grad is None
    assert not sweep.logits.requires_grad
    assert torch.equal(sweep.target, torch.tensor([3]))


class Fragile(nn.Module):
    """Breaks after some calls."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.conv, self.fc, self.left = nn.Conv2d(3, 4, 3, 2), nn.Linear(4, 3), [calls]

    def forward(self, x: Tensor) -> Tensor:
        self.left[0] -= 1
        if self.left[0] < 0:
            raise KeyboardInterrupt
        return self.fc(self.conv(x).relu().mean((2, 3)))


@pytest.mark.parametrize("exhaustive", [False, True])
@pytest.mark.parametrize("calls", [0, 1, 2, 3])
def test_the_model_is_untouched_after_an_exception(calls: int, exhaustive: bool) -> None:
    net = Fragile(calls).double()
    before = state_of(net)
    with pytest.raises(KeyboardInterrupt):
        occlusion_sweep(net, noise(2, 15), 0, 5, 4, layer="conv", exhaustive=exhaustive)
    assert state_of(net) == before


@pytest.mark.parametrize("exhaustive", [False, True])
def test_the_images_are_untouched(exhaustive: bool) -> None:
    """By a net that begins in place, too."""
    net = seeded(
        lambda: nn.Sequential(
            nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(400, 3)
        )
    )
    images = noise(2, 12)
    before = images.clone()
    occlusion_sweep(net, images, 0, 5, 4, exhaustive=exhaustive)
    assert torch.equal(images, before)


def test_a_picture_does_not_depend_on_its_companions() -> None:
    net, images = narrow("zfnet", SIDE), noise(3, SIDE)
    together = occlusion_sweep(net, images, None, 11, 10, layer="conv3", exhaustive=False)
    for i in range(3):
        alone = occlusion_sweep(net, images[i, None], None, 11, 10, layer="conv3", exhaustive=False)
        torch.testing.assert_close(alone.logits[0], together.logits[i])
        assert alone.target[0] == together.target[i]
        assert alone.strongest[0] == together.strongest[i]


# Targets and errors


def test_targets() -> None:
    """One for all, one for each, a tensor, or the most probable of each clean image."""
    net, images = narrow("zfnet", SIDE), noise(2, SIDE)
    best = net(images).argmax(1)
    expected: list[tuple[Any, Tensor]] = [(2, torch.tensor([2, 2])), ([4, 0], torch.tensor([4, 0]))]
    expected += [
        (torch.tensor([1, 3]), torch.tensor([1, 3])),
        ((0, 4), torch.tensor([0, 4])),
        (None, best),
    ]
    for target, meant in expected:
        sweep = occlusion_sweep(net, images, target, 11, 30, exhaustive=False)
        assert torch.equal(sweep.target, meant)
        for i, label in enumerate(meant.tolist()):
            torch.testing.assert_close(
                sweep.probability[i], sweep.logits[i].softmax(2)[:, :, label]
            )


def test_without_a_layer_no_map_is_strongest() -> None:
    sweep = occlusion_sweep(narrow("zfnet", SIDE), noise(1, SIDE), 0, SIDE, 8, exhaustive=False)
    with pytest.raises(InputError, match="no layer was recorded"):
        _ = sweep.strongest


NOT_A_NUMBER = noise(1, SIDE).index_fill(3, torch.tensor([7]), math.nan)


@pytest.mark.parametrize("exhaustive", [False, True])
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"size": 48}, "size=48"),
        ({"size": 0}, "size=0"),
        ({"size": -3}, "size=-3"),
        ({"images": noise(1, SIDE)[:, :, :, :9]}, "size=11.*9 pixels"),
        ({"stride": 0}, "stride=0"),
        ({"stride": -1}, "stride=-1"),
        ({"target": 5}, "target=.*classes 0 to 4"),
        ({"target": [-1]}, "target="),
        ({"target": [1, 2, 3]}, "target="),
        ({"target": 1.5}, "by number"),
        ({"target": torch.tensor([[1]])}, "by number"),
        ({"layer": "conv9"}, "conv9"),
        ({"images": NOT_A_NUMBER}, "not finite"),
        ({"images": NOT_A_NUMBER.nan_to_num(math.inf)}, "not finite"),
        ({"images": noise(1, SIDE)[0]}, "images"),
        ({"images": noise(1, SIDE)[:0]}, "images"),
        ({"images": noise(1, SIDE).long()}, "images"),
        ({"fill": (0.0, 1.0)}, "fill="),
    ],
)
def test_errors(words: dict[str, Any], says: str, exhaustive: bool) -> None:
    """One line each."""
    given = {
        "images": noise(1, SIDE),
        "target": 0,
        "size": 11,
        "stride": 9,
        "exhaustive": exhaustive,
    } | words
    with pytest.raises(InputError, match=says) as raised:
        occlusion_sweep(narrow("zfnet", SIDE), **given)
    assert "\n" not in str(raised.value)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.mean((2, 3)), x.amax((2, 3))


@pytest.mark.parametrize("exhaustive", [False, True])
@pytest.mark.parametrize(
    "net", [nn.Conv2d(3, 4, 3), nn.Sequential(nn.Flatten(0), nn.Identity()), Pair()]
)
def test_a_model_without_classes(net: nn.Module, exhaustive: bool) -> None:
    """Maps, one number for all, or two tensors of numbers by class are no (B, classes)."""
    with pytest.raises(InputError, match=r"\(B, classes\)"):
        occlusion_sweep(net.double(), noise(1, 12), 0, 5, 4, exhaustive=exhaustive)


def test_a_layer_that_runs_twice_or_never() -> None:
    relu = nn.ReLU()
    net = nn.Sequential(
        nn.Conv2d(3, 3, 3), relu, nn.Conv2d(3, 3, 3), relu, nn.Flatten(), nn.Linear(192, 2)
    ).double()
    with pytest.raises(InputError, match="runs 2 times"):
        occlusion_sweep(net, noise(1, 12), 0, 5, 4, layer="1")
    relu.spare = nn.Identity()
    with pytest.raises(InputError, match="never runs"):
        occlusion_sweep(net, noise(1, 12), 0, 5, 4, layer="1.spare")


def test_modes_do_not_matter() -> None:
    """Dropout in training mode does not act in a sweep, nor does `evaluating` outlast it."""
    net, images = narrow("zfnet", SIDE).train(), noise(1, SIDE)
    first = occlusion_sweep(net, images, 0, 11, 15, exhaustive=False)
    assert net.training
    with eval_mode(net):
        assert torch.equal(
            first.logits, occlusion_sweep(net, images, 0, 11, 15, exhaustive=False).logits
        )
