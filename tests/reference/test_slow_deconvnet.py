"""The slow deconvnet itself: small cases by hand; its adjoints are autograd's."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.reference.deconvnet import (
    AveragePool,
    Conv,
    MaxPool,
    Normalization,
    Relu,
    Variant,
    described,
    doubtful,
    field,
    outputs,
    unit_projection,
)
from tests.reference.nets import Chain, chains, units_of
from zfnet.models import ZFNET, ConvNet
from zfnet.models.architectures import apply_edit


@pytest.mark.parametrize(
    ("unpool", "expected"),
    [
        ("sum", [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 10, 0], [0, 0, 0, 0]]),
        ("overwrite", [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 4, 0], [0, 0, 0, 0]]),
        ("center", [[0, 0, 0, 0], [0, 1, 0, 2], [0, 0, 0, 0], [0, 3, 0, 4]]),
    ],
)
def test_a_maximum_that_four_windows_share(unpool: str, expected: list[list[int]]) -> None:
    """3x3/2 in ceil mode on 4x4: the windows at 0 and 2 hold the 9 of (2, 2), the first of two in a
    row."""
    x = np.zeros((1, 4, 4))
    x[0, 2] = [1, 0, 9, 9]
    pool = MaxPool((3, 3), (2, 2), (0, 0), (1, 1), ceil_mode=True)
    assert pool.up(x).tolist() == [[[9, 9], [9, 9]]]
    R = np.array([[[1.0, 2.0], [3.0, 4.0]]])
    assert pool.down(R, Variant(unpool=unpool)).tolist() == [expected]


def test_padding_is_never_a_switch() -> None:
    """2x2/2 with padding 1 on 3x3 of negative values: windows of 1, 2, 2 and 4 cells inside."""
    x = -np.arange(1.0, 10).reshape(1, 3, 3)
    pool = MaxPool((2, 2), (2, 2), (1, 1), (1, 1), ceil_mode=False)
    assert pool.up(x).tolist() == [[[-1, -2], [-4, -5]]]
    down = pool.down(np.ones((1, 2, 2)), Variant())
    assert down.tolist() == [[[1, 1, 0], [1, 1, 0], [0, 0, 0]]]


def test_a_convolution_by_hand() -> None:
    """[[1, 2], [3, 4]] at stride 2 and padding 1 on 0 ... 8: four windows that hold one, two, two,
    four cells."""
    weight = np.array([[1.0, 2], [3, 4]]).reshape(1, 1, 2, 2)
    conv = Conv(weight, np.array([0.5]), (2, 2), (1, 1), (1, 1), 1)
    values = conv.up(np.arange(9.0).reshape(1, 3, 3))
    # 4·0;  3·1 + 4·2;  2·3 + 4·6;  1·4 + 2·5 + 3·7 + 4·8
    assert values.tolist() == [[[0.5, 11.5], [30.5, 67.5]]]
    down = conv.down(np.array([[[1.0, 10], [100, 1000]]]), Variant())
    assert down.tolist() == [[[4, 30, 40], [200, 1000, 2000], [400, 3000, 4000]]]


def test_groups_and_dilation_by_hand() -> None:
    """Each map its own 1x2 filter, taps two apart."""
    weight = np.array([[1.0, 2], [3, 4]]).reshape(2, 1, 1, 2)
    conv = Conv(weight, np.zeros(2), (1, 1), (0, 0), (1, 2), 2)
    assert conv.up(np.array([[[1.0, 2, 3]], [[4, 5, 6]]])).tolist() == [[[7]], [[36]]]
    assert conv.down(np.array([[[1.0]], [[1.0]]]), Variant()).tolist() == [[[1, 0, 2]], [[3, 0, 4]]]


@pytest.mark.parametrize(
    ("relu", "expected"),
    [("deconv", [3, 0, 5, 0]), ("guided", [3, 0, 0, 0]), ("gradient", [3, -4, 0, 0])],
)
def test_three_ways_down_a_relu(relu: str, expected: list[int]) -> None:
    rectifier = Relu()
    assert rectifier.up(np.array([1.0, 2, -1, 0])).tolist() == [1, 2, 0, 0]
    assert rectifier.down(np.array([3.0, -4, 5, -6]), Variant(relu=relu)).tolist() == expected


def test_an_average_spreads() -> None:
    average = AveragePool((2, 2), (2, 2))
    assert average.up(np.arange(4.0).reshape(1, 2, 2)).tolist() == [[[1.5]]]
    assert average.down(np.array([[[8.0]]]), Variant()).tolist() == [[[2, 2], [2, 2]]]


@settings(max_examples=40, report_multiple_bugs=False)
@given(chains(), st.data())
def test_up_is_torchs_and_the_adjoints_are_autograds(chain: Chain, data: st.DataObject) -> None:
    """With the gradient's ReLU the projection is the activation times its gradient; exact nets: to
    the last bit."""
    net, images, exact = chain.net, chain.images, chain.exact
    layers = described(net)
    image, channel, y, x = data.draw(units_of(chain, str(len(net) - 1)))
    pixels = images.clone().requires_grad_()
    values = net(pixels.clone())
    expected = outputs(layers, images[image])[str(len(net) - 1)]
    tolerance = 0 if exact else 1e-12 * abs(expected).max()
    np.testing.assert_allclose(values[image].detach().numpy(), expected, rtol=0, atol=tolerance)

    assume(exact or not doubtful(layers))
    assume(not any(isinstance(part, Normalization) for part in layers.values()))
    unit = values[image, channel] if values.ndim == 2 else values[image, channel, y, x]
    (gradient,) = torch.autograd.grad(unit, pixels)
    projection = unit_projection(
        layers, images[image], str(len(net) - 1), channel, y, x, Variant(relu="gradient")
    )
    wanted = unit.clamp(min=0).item() * gradient[image].numpy()
    np.testing.assert_allclose(
        projection, wanted, rtol=0, atol=0 if exact else 1e-12 * abs(wanted).max()
    )


def test_fields_are_the_papers() -> None:
    """7, 27, 75, 107 and 139 pixels of ZFNet's layers, 11, 43 and 171 behind its pools; conv1 at 2
    y - 1."""
    narrow = {name: {"channels": 1} for name in ("conv1", "conv2", "conv3", "conv4", "conv5")}
    net = ConvNet(apply_edit(ZFNET, {**narrow, "fc6": None, "fc7": None}), num_classes=1)
    layers = described(net)
    sizes = {"conv1": 7, "conv2": 27, "conv3": 75, "conv4": 107, "conv5": 139}
    for name, size in sizes.items():
        top, left, bottom, right = field(layers, f"{name}.relu", 2, 3)
        assert (bottom - top, right - left) == (size, size)
    for name, size in {"conv1": 11, "conv2": 43, "conv5": 171}.items():
        top, left, bottom, right = field(layers, f"{name}.pool", 2, 3)
        assert (bottom - top, right - left) == (size, size)
    assert field(layers, "conv1.relu", 2, 3) == (3, 5, 10, 12)
