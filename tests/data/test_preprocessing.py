"""Pictures become inputs as section 3 says: mean, crop, mirror; both paths to the bit."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import TenCrop

from zfnet.data.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    INPUT_NORMS,
    Preprocessing,
    center_crop,
    ten_crops,
)
from zfnet.errors import InputError


def pictures(count: int, size: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, size, size, 3), generator=generator, dtype=torch.uint8)


def prepared(size: int, crop: int, input_norm: str, seed: int = 0) -> Preprocessing:
    prepare = Preprocessing(size, crop, input_norm)
    prepare.set_mean(255 * torch.rand(3, size, size, generator=torch.Generator().manual_seed(seed)))
    return prepare


@pytest.mark.parametrize(
    ("size", "crop"), [(256, 224), (16, 14), (15, 14), (9, 4), (10, 7), (13, 2), (6, 6), (5, 1)]
)
def test_ten_crops_are_torchvisions(size: int, crop: int) -> None:
    """Corners and centre in torchvision's order, then the same mirrored; its own mirrored five are
    cut from the mirrored picture: in another order, and with another centre where size - crop is
    odd."""
    picture = pictures(1, size)
    ten = Preprocessing(size, crop, "paper")(
        picture, torch.zeros(10, dtype=torch.long), ten_crops(size, crop)
    )
    theirs = torch.stack(TenCrop(crop)(picture[0].permute(2, 0, 1))).float()
    assert torch.equal(ten[:5], theirs[:5])
    assert torch.equal(ten[5:], ten[:5].flip(3))
    # The top left corner of the mirrored picture is its top right, mirrored.
    order = [6, 5, 8, 7, 9]
    compared = slice(5 if (size - crop) % 2 == 0 else 4)
    assert torch.equal(ten[5:][compared], theirs[order][compared])
    assert torch.equal(center_crop(size, crop), ten_crops(size, crop)[4])


def test_a_4x4_case_by_hand() -> None:
    """Pixel (y, x) holds 10 y + x in red, its mean is x; the 2x2 crop at (1, 2), plain and
    mirrored."""
    image = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    mean = torch.zeros(3, 4, 4)
    for y, x in product(range(4), repeat=2):
        image[0, y, x, 0] = 10 * y + x
        mean[0, y, x] = x
    prepare = Preprocessing(4, 2, "paper")
    prepare.set_mean(mean)
    inputs = prepare(image, torch.tensor([0, 0]), torch.tensor([[1, 2, 0], [0, 1, 1]]))
    assert inputs[0, 0].tolist() == [[10, 10], [20, 20]]  # 12 - 2, 13 - 3; 22 - 2, 23 - 3
    assert inputs[1, 0].tolist() == [[0, 0], [10, 10]]  # 2 - 2, 1 - 1; 12 - 2, 11 - 1
    assert not inputs[:, 1:].any()


@pytest.mark.parametrize("input_norm", INPUT_NORMS)
def test_conventions_pixel_by_pixel(input_norm: str) -> None:
    """Every output against its own source pixel: (value - mean there) / std, mirrored
    afterwards."""
    size, crop = 7, 4
    prepare, images = prepared(size, crop, input_norm), pictures(3, size)
    training_mean = 255 * torch.rand(3, size, size, generator=torch.Generator().manual_seed(0))
    rows, crops = torch.tensor([2, 0, 2]), torch.tensor([[0, 3, 1], [3, 0, 0], [1, 2, 1]])
    inputs = prepare(images, rows, crops)
    for b, c, i, j in product(range(3), range(3), range(crop), range(crop)):
        y0, x0, mirrored = crops[b].tolist()
        y, x = y0 + i, x0 + (crop - 1 - j if mirrored else j)
        value = images[rows[b], y, x, c].item()
        if input_norm == "pretrained":
            expected = (value / 255 - IMAGENET_MEAN[c]) / IMAGENET_STD[c]
        else:
            expected = (value - training_mean[c, y, x].item()) / (64 if input_norm == "unit" else 1)
        assert inputs[b, c, i, j].item() == pytest.approx(expected, rel=1e-5, abs=1e-5)


@given(
    data=st.data(),
    size=st.integers(1, 9),
    input_norm=st.sampled_from(INPUT_NORMS),
    seed=st.integers(0, 9),
)
def test_both_paths_agree_to_the_bit(
    data: st.DataObject, size: int, input_norm: str, seed: int
) -> None:
    crop = data.draw(st.integers(1, size))
    offset, row = st.integers(0, size - crop), st.integers(0, 3)
    picks = data.draw(
        st.lists(st.tuples(row, offset, offset, st.integers(0, 1)), min_size=1, max_size=6)
    )
    table = torch.tensor(picks)
    images, prepare = pictures(4, size, seed), prepared(size, crop, input_norm, seed)
    copied = prepare.crop_on_cpu(images, table[:, 0], table[:, 1:])
    assert torch.equal(copied, prepare.crop_on_gpu(images, table[:, 0], table[:, 1:]))


@pytest.mark.parametrize("input_norm", INPUT_NORMS)
def test_inputs_are_float32_channels_last(input_norm: str) -> None:
    images = pictures(4, 9)
    before = images.clone()
    inputs = prepared(9, 6, input_norm)(images, torch.arange(4), ten_crops(9, 6)[:4])
    assert (inputs.dtype, inputs.shape) == (torch.float32, (4, 3, 6, 6))
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


@pytest.mark.parametrize("input_norm", INPUT_NORMS)
@pytest.mark.parametrize(("size", "crop"), [(9, 6), (8, 8), (10, 7)])
def test_undone_inputs_are_the_pixels_of_the_centre(input_norm: str, size: int, crop: int) -> None:
    """To within an eighth of a pixel's 256 steps, that is: rounding gives back the bytes."""
    images, prepare = pictures(4, size), prepared(size, crop, input_norm)
    y, x, _ = center_crop(size, crop).tolist()
    inputs = prepare(images, torch.arange(4), center_crop(size, crop).expand(4, 3))
    expected = images[:, y : y + crop, x : x + crop].permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(prepare.denormalize(inputs), expected, rtol=0, atol=1 / 255 / 8)


def test_mean_and_std_travel_in_the_state() -> None:
    trained, fresh = prepared(9, 6, "unit"), Preprocessing(9, 6, "unit")
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh.mean, trained.mean)
    assert fresh.std.tolist() == [64, 64, 64]


def test_wrong_settings_say_what_is_wrong() -> None:
    with pytest.raises(InputError, match=r"input_norm='papr'.*paper, unit, pretrained"):
        Preprocessing(8, 7, "papr")
    for crop in (0, 9):
        with pytest.raises(InputError, match=f"image_size={crop} .* 8"):
            Preprocessing(8, crop)


def test_each_type_of_pixel_gives_the_same_inputs() -> None:
    """v in uint8 is 257 v in uint16 and v / 255 in float32, for both paths."""
    images, prepare = pictures(4, 9), prepared(9, 6, "unit")
    rows, crops = torch.tensor([3, 1]), torch.tensor([[0, 3, 1], [2, 1, 0]])
    expected = prepare(images, rows, crops)
    for same in ((images.int() * 257).to(torch.uint16), images.float() / 255):
        for path in (prepare.crop_on_cpu, prepare.crop_on_gpu):
            found = path(same, rows, crops).permute(0, 3, 1, 2)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@given(
    channels=st.integers(1, 5),
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    seed=st.integers(0, 9),
)
def test_crops_of_any_shape_pixel_by_pixel(
    channels: int, height: int, width: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, height, width, channels)
    images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    prepare = Preprocessing((height, width), (height - 2, width - 1), "paper", channels=channels)
    prepare.set_mean(torch.rand(channels, height, width, generator=generator))
    ten = ten_crops((height, width), (height - 2, width - 1))
    rows = torch.ones(10, dtype=torch.long)
    found = prepare(images, rows, ten)
    assert torch.equal(found.permute(0, 2, 3, 1), prepare.crop_on_gpu(images, rows, ten))
    whole = images[1].permute(2, 0, 1).float()
    for (y, x, mirrored), one in zip(ten.tolist(), found, strict=True):
        pixels = whole[:, y : y + height - 2, x : x + width - 1]
        pixels = pixels.flip(2) if mirrored else pixels
        mean = prepare.mean[:, y : y + height - 2, x : x + width - 1]
        mean = mean.flip(2) if mirrored else mean
        assert torch.equal(one, pixels - mean)
    center = prepare.denormalize(found[4:5])[0]
    y, x, _ = ten[4].tolist()
    torch.testing.assert_close(center * 255, whole[:, y : y + height - 2, x : x + width - 1])


def test_pretrained_needs_a_mean_of_each_channel() -> None:
    with pytest.raises(InputError, match=r"mean of 3 channels, and images have 4: .*unit"):
        Preprocessing(8, 7, "pretrained", channels=4)
    Preprocessing(8, 7, "pretrained", (0.5,), (0.2,), channels=1)
