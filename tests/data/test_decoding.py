"""Decoding against Pillow and torchvision's v1 transforms, the rule for the pictures."""

import io
import os
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision.transforms import CenterCrop, Compose, Resize

from zfnet.data import decoding
from zfnet.data.decoding import UnreadableImage, decode, resize_and_crop
from zfnet.errors import InputError


def photo(width: int = 60, height: int = 44, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def rgb(image: torch.Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def reference(path: Path, size: int) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(Compose([Resize(size), CenterCrop(size)])(image.convert("RGB")))


def difference(ours: np.ndarray | torch.Tensor, theirs: np.ndarray) -> float:
    return float(np.abs(np.asarray(ours).astype(int) - theirs.astype(int)).mean())


HOLDS = {
    "jpg": ["RGB", "L", "CMYK"],
    "png": ["RGB", "L", "1", "P", "RGBA", "LA"],
    "bmp": ["RGB", "L", "1", "P", "RGBA"],
    "gif": ["L", "P", "RGBA"],
    "webp": ["RGB", "RGBA"],
    "tif": ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK"],
    "ppm": ["RGB", "L", "1"],
}


@pytest.mark.parametrize(
    ("suffix", "mode"), [(suffix, mode) for suffix in HOLDS for mode in HOLDS[suffix]]
)
def test_every_format_and_mode_equals_pillow(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"photo.{suffix}"
    photo().convert(mode).save(path)
    with Image.open(path) as image:
        expected = np.array(image.convert("RGB"))
    decoded = decode(path)
    assert decoded.dtype == torch.uint8
    assert decoded.shape == (3, 44, 60)
    np.testing.assert_array_equal(rgb(decoded), expected)


def test_without_the_jpeg_operator_the_pixels_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo().save(tmp_path / "a.jpg", quality=80)
    fast = decode(tmp_path / "a.jpg")
    assert decoding._JPEG is not None, "this torchvision has no JPEG operator: decoding is slower"
    monkeypatch.setattr(decoding, "_JPEG", None)
    torch.testing.assert_close(decode(tmp_path / "a.jpg"), fast, rtol=0, atol=0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_orientation_is_honoured(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    photo().save(path, exif=exif)
    with Image.open(path) as image:
        expected = np.array(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(rgb(decode(path)), expected)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    values = np.linspace(0, 65535, 40 * 30).astype(np.uint16).reshape(30, 40)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    expected = np.round(values / 257).astype(np.uint8)
    decoded = rgb(decode(tmp_path / f"a.{suffix}"))
    for channel in range(3):
        np.testing.assert_array_equal(decoded[:, :, channel], expected)


def test_a_transparent_palette_keeps_its_colours_and_says_nothing(tmp_path: Path) -> None:
    image = photo().convert("P")
    image.save(tmp_path / "a.png", transparency=bytes(range(200)))
    np.testing.assert_array_equal(rgb(decode(tmp_path / "a.png")), np.array(image.convert("RGB")))


def jpeg_bytes(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def png_bytes(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


BROKEN = {
    "empty.jpg": (b"", "empty"),
    "garbage.jpg": (b"this is no picture at all" * 9, "not an image"),
    "half.jpg": (jpeg_bytes(photo())[:700], "truncated"),
    "head.jpg": (jpeg_bytes(photo())[:3], "not an image"),
    "half.png": (png_bytes(photo())[:700], ""),
    "one.png": (png_bytes(photo(1, 1)), "1 x 1 pixels is too small"),
    "thin.jpg": (jpeg_bytes(photo(100, 7)), "100 x 7 pixels is too small"),
    "float.tif": (None, "floating-point"),
    "wide.tif": (None, "32-bit"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_named_with_what_is_wrong(tmp_path: Path, name: str) -> None:
    data, reason = BROKEN[name]
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    elif name == "float.tif":
        Image.fromarray(np.ones((20, 20), np.float32)).save(path)
    else:
        Image.fromarray(np.full((20, 20), 70000, np.int32)).save(path)
    with pytest.raises(UnreadableImage) as caught:
        decode(path)
    assert isinstance(caught.value, InputError)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert reason in line
    assert "\n" not in line


def test_missing_files_and_folders_are_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="No such file"):
        decode(tmp_path / "absent.jpg")
    with pytest.raises(UnreadableImage, match="directory"):
        decode(tmp_path)


def test_pipes_and_devices_are_unreadable_and_nothing_waits_for_them(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for name, reason in (
        ("pipe", "this is not a file"),
        ("zero", "this is not a file"),
        ("loop", "symbolic links"),
    ):
        with pytest.raises(UnreadableImage, match=rf"{name}\.jpg: .*{reason}"):
            decode(tmp_path / f"{name}.jpg")


def test_a_bomb_is_unreadable_and_takes_no_memory(tmp_path: Path) -> None:
    """A small file that says it has 20,000 x 20,000 pixels."""
    data = bytearray(png_bytes(photo(16, 16)))
    data[16:24] = (20000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(bytes(data))
    with pytest.raises(UnreadableImage, match=r"exceeds limit.*decompression bomb"):
        decode(tmp_path / "bomb.png")


@settings(max_examples=60, deadline=None)
@given(
    cut=st.integers(0, 600), at=st.integers(0, 600), junk=st.binary(max_size=30), png=st.booleans()
)
def test_damage_gives_a_picture_or_one_error_and_no_warning(
    tmp_path_factory: pytest.TempPathFactory, cut: int, at: int, junk: bytes, png: bool
) -> None:
    data = bytearray((png_bytes if png else jpeg_bytes)(photo(20, 20)))
    data[at : at + len(junk)] = junk
    path = tmp_path_factory.mktemp("damage") / "a.jpg"
    path.write_bytes(bytes(data[: len(data) - cut]))
    with suppress(UnreadableImage):
        assert decode(path).shape[0] == 3


def test_warnings_are_as_before_after_many_threads(tmp_path: Path) -> None:
    photo().convert("P").save(tmp_path / "a.png", transparency=bytes(range(200)))
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, [tmp_path / "a.png"] * 64))
    assert warnings.filters == before
    with pytest.raises(UserWarning, match="here"):
        warnings.warn("here", UserWarning, stacklevel=1)


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(8, 300),
    height=st.integers(8, 300),
    size=st.integers(8, 96),
    seed=st.integers(0, 9),
)
def test_square_is_torchvisions_resize_and_crop(
    width: int, height: int, size: int, seed: int
) -> None:
    image = photo(width, height, seed)
    expected = np.array(Compose([Resize(size), CenterCrop(size)])(image))
    ours = resize_and_crop(torch.from_numpy(np.array(image)).permute(2, 0, 1), size)
    assert ours.shape == (size, size, 3)
    assert ours.is_contiguous()
    assert np.abs(ours.numpy().astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("width", "height"), [(1000, 12), (12, 1000), (1001, 37), (900, 200)])
def test_a_strip_is_resized_only_where_the_square_sees_it(width: int, height: int) -> None:
    image = photo(width, height)
    expected = np.array(Compose([Resize(64), CenterCrop(64)])(image))
    ours = resize_and_crop(torch.from_numpy(np.array(image)).permute(2, 0, 1), 64)
    assert difference(ours, expected) <= 0.01


def test_a_square_of_the_right_size_passes_through() -> None:
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    assert torch.equal(resize_and_crop(image, 64), image.permute(1, 2, 0))


def real_data() -> Path:
    found = Path(os.environ.get("ZFNET_REAL_DATA", "/nowhere"))
    if not found.is_dir():
        pytest.skip("no real photos: set ZFNET_REAL_DATA")
    return found


@pytest.mark.real
@pytest.mark.parametrize("size", [128, 256])
def test_real_photos_have_the_pixels_of_pillow_and_torchvision(size: int) -> None:
    photos = sorted(
        path for path in real_data().rglob("*") if path.suffix.lower() in (".jpg", ".jpeg")
    )
    chosen = photos[:: max(len(photos) // 100, 1)][:100]
    assert chosen
    worst = max(
        difference(resize_and_crop(decode(path), size), reference(path, size)) for path in chosen
    )
    assert worst <= 0.01
