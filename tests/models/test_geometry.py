"""Sizes and receptive fields by arithmetic are those of running modules, and the paper's."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from zfnet.errors import InputError
from zfnet.models import (
    ALEXNET,
    ZFNET,
    Conv,
    ConvNet,
    Linear,
    Pool,
    apply_edit,
    geometry,
    smallest_image,
)

pools = st.none() | st.builds(Pool, kernel=st.integers(1, 4), stride=st.integers(1, 4))
rows = st.builds(
    Conv,
    channels=st.just(1),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    pool=pools,
)
tables = st.lists(rows, min_size=1, max_size=3).map(
    lambda convs: (
        {f"conv{i}": row for i, row in enumerate(convs, 1)} | {"fc": Linear(activation=False)}
    )
)


def linear_outputs(net: ConvNet, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """Outputs by geometry's names, with all weights 1, average pooling and no ReLU: every path
    counts."""
    outputs: dict[str, torch.Tensor] = {}
    for name, stage in net[:-1].named_children():
        nn.init.ones_(stage.conv.weight)
        image = outputs[name] = stage.conv(image)
        if hasattr(stage, "pool"):
            average = nn.AvgPool2d(
                stage.pool.kernel_size, stage.pool.stride, ceil_mode=stage.pool.ceil_mode
            )
            image = outputs[f"{name}.pool"] = average(image)
    return outputs


@given(table=tables, size=st.integers(1, 40))
def test_sizes_are_those_of_the_modules(table: dict, size: int) -> None:
    try:
        expected = geometry(table, size)
    except InputError:
        assert size < smallest_image(table)
        return
    assert size >= smallest_image(table)
    x, sizes = torch.zeros(1, 1, size, size), {}
    net = ConvNet(table, num_classes=2, image_size=size, channels=1)
    for name, stage in net[:-1].named_children():
        x = stage.relu(stage.conv(x))
        sizes[name] = x.shape[-1]
        if hasattr(stage, "pool"):
            x = stage.pool(x)
            sizes[f"{name}.pool"] = x.shape[-1]
    assert {name: g.size for name, g in expected.items()} == sizes
    assert net(torch.zeros(1, 1, size, size)).shape == (1, 2)


@given(table=tables)
def test_smallest_image_is_exact(table: dict) -> None:
    least = smallest_image(table)
    assert list(geometry(table, least).values())[-1].size >= 1
    if least > 1:
        with pytest.raises(InputError, match=f"image_size={least - 1} .* at least {least} pixels"):
            geometry(table, least - 1)


@given(table=tables, size=st.integers(1, 32), data=st.data())
def test_fields_are_the_support_of_the_gradient(
    table: dict, size: int, data: st.DataObject
) -> None:
    assume(size >= smallest_image(table))
    expected = geometry(table, size)
    net = ConvNet(table, num_classes=1, image_size=size, channels=1).double()
    image = torch.ones(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    outputs = linear_outputs(net, image)
    name = data.draw(st.sampled_from(sorted(expected)))
    index = data.draw(st.integers(0, expected[name].size - 1))
    (gradient,) = torch.autograd.grad(outputs[name][0, 0, index, index], image)
    seen = gradient[0, 0].sum(0).nonzero().flatten().tolist()
    pixels = expected[name].pixels(index)
    assert set(seen) <= set(pixels)
    if pixels.start >= 0 and pixels.stop <= size and dense(table):
        assert seen == list(pixels)
    elif pixels.start >= 0 and pixels.stop <= size:
        assert (seen[0], seen[-1]) == (pixels[0], pixels[-1])


def dense(table: dict) -> bool:
    """Whether no window jumps over anything: kernels at least as long as their strides."""
    convs = [row for row in table.values() if isinstance(row, Conv)]
    return all(
        row.kernel >= row.stride and (not row.pool or row.pool.kernel >= row.pool.stride)
        for row in convs
    )


@pytest.mark.parametrize(
    ("table", "sizes"),
    [
        (ZFNET, [110, 55, 26, 13, 13, 13, 13, 6]),
        (ALEXNET, [55, 27, 27, 13, 13, 13, 13, 6]),
    ],
    ids=["zfnet", "alexnet"],
)
def test_the_papers_sizes(table: dict, sizes: list[int]) -> None:
    found = geometry(table, 224)
    names = ["conv1", "conv1.pool", "conv2", "conv2.pool", "conv3", "conv4", "conv5", "conv5.pool"]
    assert list(found) == names
    assert [g.size for g in found.values()] == sizes


def test_zfnets_receptive_fields() -> None:
    found = geometry(ZFNET, 224)
    # + (kernel - 1) * jump each: 7; 7 + 2*2; 11 + 4*4; 27 + 2*8; 43, 75, 107 + 2*16; 139 + 2*16
    fields = [7, 11, 27, 43, 75, 107, 139, 171]
    assert [g.field for g in found.values()] == fields
    assert [g.jump for g in found.values()] == [2, 4, 8, 16, 16, 16, 16, 32]
    assert [g.start for g in found.values()] == [-1, -1, -1, -1, -17, -33, -49, -49]
    assert found["conv2"].pixels(3) == range(23, 50)


def test_the_last_window_of_ceil_mode_starts_inside() -> None:
    """5 long, windows of 1 every 3: ⌈4/3⌉ + 1 = 3 windows, but the third would start at 6,
    outside."""
    table = {"conv1": Conv(1, kernel=1, pool=Pool(1, 3)), "fc": Linear(activation=False)}
    assert geometry(table, 5)["conv1.pool"].size == 2
    assert nn.MaxPool2d(1, 3, ceil_mode=True)(torch.zeros(1, 1, 5, 5)).shape[-1] == 2


def test_a_net_without_convolutions_takes_any_image() -> None:
    table = {"fc8": Linear(activation=False)}
    assert (geometry(table, 4), smallest_image(table)) == ({}, 1)
    assert ConvNet(table, 7, image_size=4)(torch.zeros(2, 3, 4, 4)).shape == (2, 7)


@pytest.mark.parametrize(
    ("table", "size", "layer"),
    [(ZFNET, 18, "conv2"), (ZFNET, 6, "conv1.pool"), (ALEXNET, 6, "conv1")],
)
def test_too_small_images_name_the_layer_and_the_least_size(
    table: dict, size: int, layer: str
) -> None:
    least = smallest_image(table)
    with pytest.raises(
        InputError, match=f"image_size={size} .* after {layer}; .* at least {least} pixels"
    ):
        ConvNet(table, 10, image_size=size)
    narrow = apply_edit(table, {"fc6": {"units": 4}, "fc7": {"units": 4}})
    assert ConvNet(narrow, 10, least)(torch.zeros(1, 3, least, least)).shape == (1, 10)
