"""The store of JPEGs: what is read is what was written, and the format of a data set is kept."""

import errno
import io
import json
import logging
import os
import pickle
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import memory_images
from zfnet.data import Creatures, ImageData, store_building, store_choice
from zfnet.data.batches import Batches
from zfnet.data.datasets import Arrays
from zfnet.data.decoding import UnreadableImage
from zfnet.data.image_store import ImageStore, JpegStore, Subset, build_store, find_store
from zfnet.data.jpeg import decode_jpeg, encode_jpeg
from zfnet.data.pixel_format import PixelFormat
from zfnet.errors import InputError

SIZE = 24
FILES = (
    *("images.jpegs", "offsets.i64", "labels.npy", "ids.txt", "mean.npy"),
    *("unreadable.txt", "index.json"),
)
LONG_LINE = r"choose another data\.store_dir, or delete the folder"

build = partial(build_store, size=SIZE, store_format="jpeg")


class Scenes(Creatures):
    """Creatures, of which some cannot be read."""

    def __init__(self, count: int, broken: tuple[int, ...] = ()) -> None:
        super().__init__(count, size=SIZE)
        self.broken = broken

    def read(self, index: int) -> torch.Tensor:
        if index in self.broken:
            raise UnreadableImage(f"{index}: broken on purpose")
        return super().read(index)


def through_jpeg(image: torch.Tensor) -> np.ndarray:
    """An image (C, H, W) after Pillow wrote it and read it again, (H, W, C)."""
    array = image.permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).save(
        buffer, "JPEG", quality=90, subsampling="4:2:0"
    )
    return np.atleast_3d(np.asarray(Image.open(buffer)))


def stopped(*_: object) -> None:
    raise KeyboardInterrupt


def contents(store: Path) -> dict[str, bytes]:
    return {name: (store / name).read_bytes() for name in FILES}


def test_what_is_read_is_the_decoded_jpeg_and_so_is_the_mean(tmp_path: Path) -> None:
    source = Scenes(20, broken=(3,))
    store = build(source, tmp_path, workers=2)
    assert isinstance(store, JpegStore)
    good = [row for row in range(20) if row != 3]
    expected = np.stack([through_jpeg(source.read(row)) for row in good])
    found = torch.stack([store.read(i) for i in range(19)]).numpy()
    # two builds of libjpeg may round chroma differently
    assert np.abs(found.astype(int) - expected).mean() < 0.1
    exact = torch.from_numpy(found).double().mean(0).permute(2, 0, 1).float()
    torch.testing.assert_close(store.mean, exact, rtol=1e-6, atol=0)
    assert store.ids == [source.ids[row] for row in good]
    assert store.labels.tolist() == [source.labels[row] for row in good]
    assert json.loads((tmp_path / "index.json").read_text())["jpeg_quality"] == 90
    again = pickle.loads(pickle.dumps(store))
    assert torch.equal(again.read(7), store.read(7))


def test_gray_images(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, SIZE * SIZE).astype(np.uint8).reshape(1, SIZE, SIZE, 1)
    source = Arrays("ramp", ["x"], ["0"], [0], ramp)
    store = build(source, tmp_path, pixel_format=PixelFormat(channels=1))
    assert store.read(0).shape == (SIZE, SIZE, 1)
    assert np.abs(store.read(0).numpy().astype(int) - ramp[0]).max() <= 4


def test_decoded_pixels_are_contiguous_rows_of_pixels() -> None:
    pixels = memory_images(1, 16).images[0]
    found = decode_jpeg(np.frombuffer(bytearray(encode_jpeg(pixels)), np.uint8), 3)
    assert found.is_contiguous()
    assert found.shape == pixels.shape


@pytest.mark.parametrize("writes", range(1, 7))
def test_a_disk_that_fills_up_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """Each group is two writes; the disk takes half of the last one."""
    monkeypatch.setattr(store_building, "GROUP", 8)
    source = Scenes(30, broken=(2,))
    build(source, tmp_path / "whole")
    left, pwrite = [writes], os.pwrite

    def filling(file: int, data: memoryview, offset: int) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(file, data[: len(data) // 2] if left[0] == 0 else data, offset)

    monkeypatch.setattr(os, "pwrite", filling)
    with pytest.raises(InputError, match="disk is full; what was built stays"):
        build(source, tmp_path / "cut")
    monkeypatch.setattr(os, "pwrite", pwrite)
    build(source, tmp_path / "cut")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert not (tmp_path / "cut" / "progress.npz").exists()


@pytest.mark.parametrize("lost", ["images.jpegs", "offsets.i64"])
def test_a_lost_file_is_built_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, lost: str
) -> None:
    monkeypatch.setattr(store_building, "GROUP", 8)
    build(Scenes(20), tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(store_building.Build, "_finish", stopped)
        with pytest.raises(KeyboardInterrupt):
            build(Scenes(20), tmp_path / "cut")
    (tmp_path / "cut" / lost).write_bytes(b"")
    build(Scenes(20), tmp_path / "cut")
    assert "building from the start" in caplog.text
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


@pytest.mark.parametrize("how", ["empty", "half", "longer", "other"])
@pytest.mark.parametrize("name", [name for name in FILES if name != "unreadable.txt"])
def test_any_damage_is_one_line_that_says_what_to_do(tmp_path: Path, name: str, how: str) -> None:
    build(Scenes(6), tmp_path)
    data = (tmp_path / name).read_bytes()
    half = data[: len(data) // 2]
    changed = {"empty": b"", "half": half, "longer": data + b"more", "other": b"\0" * len(data)}
    (tmp_path / name).write_bytes(changed[how])
    with pytest.raises(InputError, match=LONG_LINE) as caught:
        JpegStore.open(tmp_path).read(3)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_jpeg_of_another_size_is_damage(tmp_path: Path) -> None:
    store = build(Scenes(2), tmp_path)
    assert isinstance(store, JpegStore)
    small = encode_jpeg(torch.zeros(8, 8, 3, dtype=torch.uint8))
    with (tmp_path / "images.jpegs").open("r+b") as file:
        file.write(small)
    with pytest.raises(InputError, match=rf"image {store.ids[0]} is damaged \(it has 8 x 8 pixels"):
        store.read(0)


def test_what_jpeg_cannot_hold_is_refused(tmp_path: Path) -> None:
    for pixel_format in (PixelFormat(4), PixelFormat(3, "uint16"), PixelFormat(1, "float32")):
        with pytest.raises(InputError, match=r"JPEG has 1 or 3 channels of uint8.*=pixels"):
            build(Scenes(2), tmp_path, pixel_format=pixel_format)
    with pytest.raises(InputError, match=r"data\.store=false makes none"):
        build(Scenes(2), tmp_path, pixels=False)
    with pytest.raises(InputError, match=r"data\.store_format='png' is unknown"):
        build_store(Scenes(2), tmp_path, SIZE, store_format="png")


def test_the_two_kinds_are_not_taken_for_each_other(tmp_path: Path) -> None:
    build(Scenes(2), tmp_path / "jpeg")
    build_store(Scenes(2), tmp_path / "pixels", SIZE)
    with pytest.raises(InputError, match="jpeg_quality is 90 there and None was asked for"):
        build_store(Scenes(2), tmp_path / "jpeg", SIZE)
    with pytest.raises(InputError, match="jpeg_quality is None there and 90 was asked for"):
        build(Scenes(2), tmp_path / "pixels")
    with pytest.raises(InputError, match="is a store of JPEGs"):
        ImageStore.open(tmp_path / "jpeg")
    with pytest.raises(InputError, match="is a store of pixels"):
        JpegStore.open(tmp_path / "pixels")


def test_batches_of_all_kinds_of_stores(tmp_path: Path) -> None:
    store = build(Scenes(11), tmp_path)
    part = Subset(store, torch.tensor([7, 2, 9, 4, 3]))
    for images, rows in ((store, list(range(11))), (part, [7, 2, 9, 4, 3])):
        batches = list(Batches(images, SIZE - 4, 4))
        found = torch.cat([batch.images[batch.rows] for batch in batches])
        assert torch.equal(found, torch.stack([store.read(row) for row in rows]))


# Which format a data set has


def data(folder: Path, **words: object) -> ImageData:
    return ImageData(
        lambda split: Creatures(12, split=split, size=SIZE), 21, 4, str(folder), **words
    )


def formats(module: ImageData) -> list[type]:
    return [type(module.open(split)) for split in ("train", "val")]


@pytest.mark.parametrize("limit", ["memory", "free_disk"])
def test_jpeg_is_chosen_where_memory_or_disk_is_short_and_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, limit: str
) -> None:
    needed = 24 * SIZE * SIZE * 3
    assert formats(data(tmp_path / "a")) == [ImageStore] * 2
    with monkeypatch.context() as patch, caplog.at_level(logging.INFO, "zfnet"):
        patch.setattr(store_choice, limit, lambda *_: needed)
        assert formats(data(tmp_path / "b")) == [ImageStore] * 2
        patch.setattr(store_choice, limit, lambda *_: needed - 1)
        assert formats(data(tmp_path / "c")) == [JpegStore] * 2
        assert formats(data(tmp_path / "c", store_format="pixels")) == [ImageStore] * 2
        assert formats(data(tmp_path / "a")) == [ImageStore] * 2  # it is there
        assert formats(data(tmp_path / "d", dtype="uint16")) == [ImageStore] * 2
    (line,) = {line for line in caplog.messages if "exceed" in line and "/c/" in line}
    place = {"memory": "memory", "free_disk": "free disk"}[limit]
    assert f"{needed:,} bytes of pixels exceed the {place} ({needed - 1:,} bytes)" in line
    formats(data(tmp_path / "e", store_format="jpeg"))
    assert formats(data(tmp_path / "e")) == [JpegStore] * 2  # it is there


def test_a_store_that_is_half_built_keeps_its_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = partial(find_store, Scenes(20), tmp_path, "train", SIZE)
    monkeypatch.setattr(store_building, "GROUP", 8)
    with monkeypatch.context() as patch:
        patch.setattr(store_building.Build, "_finish", stopped)
        with pytest.raises(KeyboardInterrupt):
            find(formats=["jpeg"])
    assert isinstance(find(formats=["pixels", "jpeg"]), JpegStore)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(store_choice, "LIMIT", tmp_path / "memory.max")
    assert store_choice.memory() == machine
    (tmp_path / "memory.max").write_text("max\n")
    assert store_choice.memory() == machine
    (tmp_path / "memory.max").write_text("1000000\n")
    assert store_choice.memory() == 10**6


def test_a_run_does_not_resume_on_the_other_format(tmp_path: Path) -> None:
    runs = {each: data(tmp_path / each, store_format=each) for each in ("pixels", "jpeg")}
    runs["decoded"] = data(tmp_path / "decoded", store=False)
    for run in runs.values():
        run.setup("fit")
    states = {name: run.state_dict() for name, run in runs.items()}
    assert states["decoded"] == states["pixels"]
    for name, run in runs.items():
        run.load_state_dict(states[name])
    runs["decoded"].load_state_dict(states["pixels"])
    with pytest.raises(InputError, match=r"began with data\.store_format=pixels.* are jpeg now"):
        runs["jpeg"].load_state_dict(states["pixels"])
    for name in ("pixels", "decoded"):
        with pytest.raises(InputError, match=r"data\.store_format=jpeg.* are pixels now"):
            runs[name].load_state_dict(states["jpeg"])


def test_machines_of_one_run_store_one_format(tmp_path: Path) -> None:
    here = data(tmp_path, store_format="jpeg")
    for first in ("jpeg", "pixels"):
        strategy = SimpleNamespace(broadcast=lambda _own, first=first: first)
        here.trainer = SimpleNamespace(world_size=2, strategy=strategy)
        if first == "jpeg":
            here.setup("fit")
        else:
            with pytest.raises(InputError, match="are jpeg here and pixels on the first machine"):
                here.setup("fit")
