"""Channels and types of pixels: conversions by hand, and against Pillow."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from zfnet.data.pixel_format import PixelFormat, in_uint8
from zfnet.errors import InputError


def uint16(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32).to(torch.uint16).view(1, 1, -1)


def test_each_type_in_the_others_by_hand() -> None:
    bytes_ = torch.tensor([0, 1, 255], dtype=torch.uint8).view(1, 1, 3)
    assert PixelFormat(1, "uint16").convert(bytes_).flatten().tolist() == [0, 257, 65535]
    assert PixelFormat(1, "float32").convert(bytes_).flatten().tolist() == [
        0,
        pytest.approx(1 / 255),
        1,
    ]
    deep = uint16(0, 128, 129, 65406, 65407, 65535)
    assert PixelFormat(1, "uint8").convert(deep).flatten().tolist() == [0, 0, 1, 254, 255, 255]
    assert PixelFormat(1, "float32").convert(deep)[0, 0, -1] == 1
    assert in_uint8(torch.tensor([0.0, 0.6, 1.0])).tolist() == [0, 153, 255]


@given(value=st.integers(0, 255))
def test_uint8_survives_sixteen_bits(value: int) -> None:
    image = torch.full((3, 2, 2), value, dtype=torch.uint8)
    deep = PixelFormat(3, "uint16").convert(image)
    assert torch.equal(PixelFormat(3, "uint8").convert(deep), image)
    assert torch.equal(in_uint8(deep), image)


def test_luma_is_pillows() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    gray = PixelFormat(1).convert(torch.from_numpy(pixels).permute(2, 0, 1))
    np.testing.assert_array_equal(gray[0], np.array(Image.fromarray(pixels).convert("L")))
    white = torch.full((3, 1, 1), 65535, dtype=torch.int32).to(torch.uint16)
    assert PixelFormat(1, "uint16").convert(white).item() == 65535


def test_gray_becomes_three_equal_channels() -> None:
    gray = torch.arange(6, dtype=torch.uint8).view(1, 2, 3)
    assert torch.equal(PixelFormat().convert(gray), torch.cat([gray] * 3))


@pytest.mark.parametrize(
    ("image", "wanted", "reason"),
    [
        (torch.zeros(4, 2, 2, dtype=torch.uint8), PixelFormat(), "has 4 channels, .*channels=3"),
        (torch.zeros(3, 2, 2, dtype=torch.uint8), PixelFormat(4), "has 3 channels, .*channels=4"),
        (torch.zeros(1, 2, 2, dtype=torch.uint8), PixelFormat(5), "has 1 channel, .*channels=5"),
        (torch.zeros(3, 2, 2), PixelFormat(), "data.dtype=float32"),
        (torch.full((3, 2, 2), 1.5), PixelFormat(3, "float32"), "between 0"),
        (torch.full((3, 2, 2), torch.nan), PixelFormat(3, "float32"), "between 0"),
        (torch.zeros(3, 2, 2, dtype=torch.int64), PixelFormat(), "int64"),
    ],
)
def test_what_does_not_fit_says_why(image: torch.Tensor, wanted: PixelFormat, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        wanted.convert(image)


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(InputError, match=r"data.dtype='int8'.*uint8, uint16, float32"):
        PixelFormat(3, "int8")
