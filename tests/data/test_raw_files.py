"""Deep colors and many bands: what is written is read."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from zfnet.data.decoding import UnreadableImage, decode, resize_and_crop
from zfnet.data.pixel_format import PixelFormat

RANDOM = np.random.default_rng(0)
BANDS = RANDOM.integers(0, 256, (20, 30, 5), dtype=np.uint8)
DEEP = RANDOM.integers(0, 65536, (20, 30, 3), dtype=np.uint16)


def array(image: torch.Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_bands_of_a_tiff(tmp_path: Path, planar: str, dtype: str) -> None:
    pixels = (BANDS / 255).astype(dtype) if dtype == "float32" else BANDS.astype(dtype) * 3
    written = np.moveaxis(pixels, 2, 0) if planar == "separate" else pixels
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, written, photometric="minisblack", planarconfig=planar)
    found = decode(path, PixelFormat(5, dtype))
    assert found.shape == (5, 20, 30)
    np.testing.assert_array_equal(array(found), pixels)


def test_pages_are_bands(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(BANDS, 2, 0), photometric="minisblack")
    np.testing.assert_array_equal(array(decode(tmp_path / "a.tif", PixelFormat(5))), BANDS)


def test_deep_gray_keeps_its_depth(tmp_path: Path) -> None:
    gray = PixelFormat(1, "uint16")
    for suffix in ("tif", "png"):
        Image.fromarray(DEEP[:, :, 0]).save(tmp_path / f"a.{suffix}")
        found = decode(tmp_path / f"a.{suffix}", gray)
        np.testing.assert_array_equal(found[0], DEEP[:, :, 0])
        shallow = decode(tmp_path / f"a.{suffix}", PixelFormat(1))
        np.testing.assert_array_equal(shallow[0], np.round(DEEP[:, :, 0] / 257))


def test_deep_colors_keep_their_depth(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="rgb")
    np.testing.assert_array_equal(array(decode(tmp_path / "a.tif", PixelFormat(3, "uint16"))), DEEP)
    np.testing.assert_array_equal(array(decode(tmp_path / "a.tif")), np.round(DEEP / 257))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_raw_tiff_is_upright(tmp_path: Path, orientation: int) -> None:
    """As Pillow turns the same 8-bit file."""
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", BANDS[:, :, :3], photometric="rgb", extratags=tag)
    tifffile.imwrite(
        tmp_path / "b.tif",
        BANDS[:, :, :3].astype(np.uint16) * 257,
        photometric="rgb",
        extratags=tag,
    )
    assert torch.equal(decode(tmp_path / "a.tif"), decode(tmp_path / "b.tif"))


def test_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", BANDS)
    np.testing.assert_array_equal(array(decode(tmp_path / "a.npy", PixelFormat(5))), BANDS)
    np.save(tmp_path / "b.npy", BANDS[:, :, 0].astype(np.float64) / 255)
    found = decode(tmp_path / "b.npy", PixelFormat(1, "float32"))
    np.testing.assert_allclose(found[0], BANDS[:, :, 0] / 255, rtol=1e-6)
    np.save(tmp_path / "c.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(UnreadableImage, match=r"c\.npy"):
        decode(tmp_path / "c.npy")


def test_transparency_is_the_fourth_band(tmp_path: Path) -> None:
    Image.fromarray(BANDS[:, :, :4]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        array(decode(tmp_path / "a.png", PixelFormat(4))), BANDS[:, :, :4]
    )
    np.testing.assert_array_equal(array(decode(tmp_path / "a.png")), BANDS[:, :, :3])


def test_gray_is_pillows(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.webp"):
        Image.fromarray(BANDS[:, :, :3]).save(tmp_path / name)
        with Image.open(tmp_path / name) as image:
            expected = np.array(image.convert("L"))
        np.testing.assert_array_equal(decode(tmp_path / name, PixelFormat(1))[0], expected)


def test_another_number_of_bands_names_the_file(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", BANDS, photometric="minisblack", planarconfig="contig")
    with pytest.raises(UnreadableImage, match=r"a\.tif: has 5 channels, and data.channels=3 is"):
        decode(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("size", [(16, 24), (40, 10), 9])
def test_deep_pixels_are_resized_as_shallow_ones(dtype: type, size: int | tuple[int, int]) -> None:
    """To within the rounding of uint8."""
    smooth = Image.fromarray(BANDS[::5, ::5, :3]).resize((60, 44), Image.Resampling.BICUBIC)
    shallow = torch.from_numpy(np.array(smooth)).permute(2, 0, 1)
    deep = PixelFormat(3, np.dtype(dtype).name).convert(shallow)
    found, expected = resize_and_crop(deep, size), resize_and_crop(shallow, size)
    assert found.dtype == deep.dtype
    assert found.shape == expected.shape
    steps = found.double() / (257 if dtype == np.uint16 else 1 / 255)
    assert (steps - expected.double()).abs().max() <= 1.5


def test_the_other_side_is_cropped_in_the_middle() -> None:
    """48 x 100 pixels that cover 24 x 40: halved to 24 x 50, of which columns 5 to 44 are kept."""
    columns = torch.arange(100).repeat(1, 48, 1).to(torch.uint8)
    found = resize_and_crop(columns, (24, 40))
    assert found.shape == (24, 40, 1)
    inner = found[0, 1:-1, 0].double()
    torch.testing.assert_close(inner, 2 * torch.arange(6, 44).double() + 0.5, rtol=0, atol=0.51)
