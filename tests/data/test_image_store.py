"""The store: same pixels as decoding, exact after every interruption, one clear line otherwise."""

import errno
import fcntl
import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from zfnet.data import store_building
from zfnet.data.datasets import Arrays, Photos, folder
from zfnet.data.decoding import UnreadableImage, resize_and_crop
from zfnet.data.image_store import ImageStore, OnTheFly, Subset, build_store, find_store
from zfnet.data.pixel_format import PixelFormat
from zfnet.data.store_files import map_pixels
from zfnet.errors import InputError

FILES = ("images.u8", "labels.npy", "ids.txt", "mean.npy", "unreadable.txt", "index.json")


class Noise:
    """Seeded noise; the rows in `broken` cannot be read."""

    name = "noise"
    classes = ("even", "odd")

    def __init__(self, count: int, broken: tuple[int, ...] = (), seed: int = 0) -> None:
        self.broken, self.seed, self.reads = broken, seed, 0
        self.ids = [f"{number:04d}" for number in range(count)]
        self.labels = [number % 2 for number in range(count)]

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> torch.Tensor:
        self.reads += 1
        if index in self.broken:
            raise UnreadableImage(f"{index}: broken on purpose")
        random = np.random.default_rng([self.seed, index])
        return torch.from_numpy(random.integers(0, 256, (3, 20, 24), dtype=np.uint8))


def contents(store: Path, files: tuple[str, ...] = FILES) -> dict[str, bytes]:
    return {name: (store / name).read_bytes() for name in files}


@pytest.fixture
def groups_of_8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_building, "GROUP", 8)
    monkeypatch.setattr(store_building, "TASK", 3)


def photos(root: Path, count: int = 20) -> Photos:
    """`count` PNG photos in two classes, number 3 broken, none kept for validation."""
    for number in range(count):
        path = root / ("ant", "bee")[number % 2] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    (root / "bee" / "003.png").write_bytes(b"broken")
    return folder(root, "train", val_fraction=0)


@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(1, 40),
    broken=st.sets(st.integers(0, 39), max_size=6),
    size=st.integers(4, 24),
    group=st.integers(1, 50),
    task=st.integers(1, 9),
    workers=st.integers(1, 3),
    pixels=st.booleans(),
)
def test_what_is_stored_is_what_is_decoded(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    broken: set[int],
    size: int,
    group: int,
    task: int,
    workers: int,
    pixels: bool,
) -> None:
    good = [row for row in range(count) if row not in broken]
    source, path = Noise(count, tuple(broken)), tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_building, "GROUP", group)
        patch.setattr(store_building, "TASK", task)
        if not good:
            with pytest.raises(InputError, match="none of the"):
                build_store(source, path, size, workers=workers, pixels=pixels)
            return
        images = build_store(source, path, size, workers=workers, pixels=pixels)
    expected = torch.stack([resize_and_crop(source.read(row), size) for row in good])
    torch.testing.assert_close(torch.stack([images.read(i) for i in range(len(images))]), expected)
    assert images.ids == [source.ids[row] for row in good]
    assert images.labels.tolist() == [source.labels[row] for row in good]
    assert images.labels.dtype == torch.int64
    assert (len(images), images.size, tuple(images.classes)) == (len(good), size, source.classes)
    mean = expected.double().mean(0).permute(2, 0, 1).float()
    assert images.mean.dtype == torch.float32
    torch.testing.assert_close(images.mean, mean, rtol=1e-6, atol=0)


def test_a_white_group_does_not_overflow(tmp_path: Path) -> None:
    white = Arrays(
        "white",
        ["x"],
        [str(i) for i in range(300)],
        [0] * 300,
        np.full((300, 8, 8, 3), 255, np.uint8),
    )
    assert build_store(white, tmp_path, 8).mean.unique().tolist() == [255]


def test_on_the_fly_is_the_store_without_the_bytes(tmp_path: Path) -> None:
    source = photos(tmp_path / "photos")
    stored = build_store(source, tmp_path / "a", 24)
    again = build_store(source, tmp_path / "b", 24, pixels=False)
    assert isinstance(stored, ImageStore)
    assert isinstance(again, OnTheFly)
    assert stored.ids == again.ids
    assert torch.equal(stored.labels, again.labels)
    assert torch.equal(stored.mean, again.mean)
    assert all(torch.equal(stored.read(i), again.read(i)) for i in range(len(stored)))
    assert not (tmp_path / "b" / "images.u8").exists()
    assert contents(tmp_path / "a", FILES[1:-1]) == contents(tmp_path / "b", FILES[1:-1])
    assert json.loads((tmp_path / "b" / "index.json").read_text())["pixels"] is False
    with pytest.raises(InputError, match="without pixels"):
        ImageStore.open(tmp_path / "b")


def test_unreadable_images_are_listed_with_their_reason(tmp_path: Path) -> None:
    source = photos(tmp_path / "photos")
    images = build_store(source, tmp_path / "store", 24)
    assert len(images) == 19
    assert "bee/003.png" not in images.ids
    line = (tmp_path / "store" / "unreadable.txt").read_text()
    problem = "this is not an image, or one of an unknown format"
    assert line == f"bee/003.png\t{tmp_path}/photos/bee/003.png: {problem}\n"


def test_a_complete_store_is_opened_and_not_read_again(tmp_path: Path) -> None:
    build_store(Noise(9), tmp_path, 16)
    before = contents(tmp_path)
    source = Noise(9)
    build_store(source, tmp_path, 16)
    assert source.reads <= 3  # the stamp
    assert contents(tmp_path) == before
    assert not list(tmp_path.glob("*.tmp"))


def test_the_map_is_uint8_and_never_written_back(tmp_path: Path) -> None:
    store = build_store(Noise(5), tmp_path, 16)
    assert isinstance(store, ImageStore)
    before = contents(tmp_path)
    assert (store.images.shape, store.images.dtype) == ((5, 16, 16, 3), torch.uint8)
    store.images.zero_()
    del store
    assert contents(tmp_path) == before


def test_a_store_larger_than_the_memory_is_mapped(tmp_path: Path) -> None:
    count = 2**40 // 768
    with (tmp_path / "images.u8").open("wb") as file:
        file.truncate(count * 768)  # a sparse terabyte
    huge = map_pixels(tmp_path / "images.u8", (count, 16, 16, 3), torch.uint8)
    assert len(huge) == count
    assert huge[-1].sum() == 0


def test_worker_processes_open_the_store_themselves(tmp_path: Path) -> None:
    store = build_store(Noise(40), tmp_path, 24)
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    assert torch.equal(pickle.loads(sent).read(7), store.read(7))


@pytest.mark.usefixtures("groups_of_8")
def test_too_many_unreadable(tmp_path: Path) -> None:
    source = Noise(40, broken=(1, 9, 10, 30))
    with pytest.raises(InputError, match=r"3 of 16 .* data.max_bad=2: see .*unreadable.txt"):
        build_store(source, tmp_path, 16, max_bad=2)
    assert len((tmp_path / "unreadable.txt").read_text().splitlines()) == 3
    assert len(build_store(source, tmp_path, 16, max_bad=4)) == 36
    with pytest.raises(InputError, match="4 of 40"):
        build_store(source, tmp_path, 16, max_bad=3)


@pytest.mark.usefixtures("groups_of_8")
@pytest.mark.parametrize("store_format", ["pixels", "jpeg"])
@pytest.mark.parametrize("group", [0, 1, 2])
def test_a_group_without_a_readable_image(tmp_path: Path, store_format: str, group: int) -> None:
    """The store holds the others, as if the data set had no more."""
    broken = tuple(range(group * 8, group * 8 + 8))
    store = build_store(Noise(24, broken), tmp_path / "a", 16, store_format=store_format)
    whole = build_store(Noise(24), tmp_path / "b", 16, store_format=store_format)
    rows = [row for row in range(24) if row not in broken]
    assert store.ids == [whole.ids[row] for row in rows]
    for index, row in enumerate(rows):
        assert torch.equal(store.read(index), whole.read(row))


@pytest.mark.parametrize("store_format", ["pixels", "jpeg"])
def test_no_readable_image_is_one_line(tmp_path: Path, store_format: str) -> None:
    with pytest.raises(InputError, match=r"none of the 3 images can be read: see .*unreadable"):
        build_store(Noise(3, (0, 1, 2)), tmp_path, 16, store_format=store_format)


class Stopped(Exception):
    pass


@pytest.mark.usefixtures("groups_of_8")
@pytest.mark.parametrize("pixels", [True, False])
@pytest.mark.parametrize("stop", [0, 7, 8, 20, 39])
def test_an_interrupted_build_ends_in_the_same_bytes(
    tmp_path: Path, stop: int, pixels: bool
) -> None:
    source = Noise(40, broken=(2, 21))
    build_store(source, tmp_path / "whole", 16, pixels=pixels)

    class Stopping(Noise):
        def read(self, index: int) -> torch.Tensor:
            if index == stop and self.reads >= 3:  # not while it is stamped
                raise Stopped
            return super().read(index)

    with pytest.raises(Stopped):
        build_store(Stopping(40, broken=(2, 21)), tmp_path / "cut", 16, pixels=pixels)
    assert not (tmp_path / "cut" / "index.json").exists()
    with pytest.raises(InputError, match="no complete image store"):
        ImageStore.open(tmp_path / "cut")
    source.reads = 0
    build_store(source, tmp_path / "cut", 16, pixels=pixels)
    assert source.reads <= 3 + 40 - stop // 8 * 8
    files = FILES if pixels else FILES[1:]
    assert contents(tmp_path / "cut", files) == contents(tmp_path / "whole", files)
    assert not (tmp_path / "cut" / "progress.npz").exists()


SLOW = """
import sys, time
from zfnet.data import store_building
from zfnet.data.image_store import build_store
from zfnet.data.datasets import folder, Photos
read = Photos.read
def slowly(self, index):
    time.sleep(0.05)
    return read(self, index)
Photos.read = slowly
store_building.GROUP = 4
build_store(folder(sys.argv[1], "train", val_fraction=0), sys.argv[2], 24, workers=1)
"""


def test_a_killed_build_goes_on_to_the_same_bytes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = photos(tmp_path / "photos", 60)
    build_store(source, tmp_path / "whole", 24)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SLOW, str(tmp_path / "photos"), str(tmp_path / "cut")]
    process = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 60
    while not (tmp_path / "cut" / "progress.npz").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "cut" / "index.json").exists()
    with caplog.at_level(logging.INFO):
        build_store(source, tmp_path / "cut", 24)
    assert "storing 60 images" not in caplog.text
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


@pytest.mark.usefixtures("groups_of_8")
def test_a_lost_pixel_file_is_built_from_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_store(Noise(30), tmp_path / "whole", 16)
    fill_after(monkeypatch, 2)
    with pytest.raises(InputError, match="disk is full"):
        build_store(Noise(30), tmp_path / "cut", 16)
    monkeypatch.undo()
    (tmp_path / "cut" / "images.u8").unlink()
    build_store(Noise(30), tmp_path / "cut", 16)
    assert "building from the start" in caplog.text
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def fill_after(monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """The disk takes half of write number `writes` and nothing after it."""
    left, pwrite = [writes], os.pwrite

    def filling(file: int, data: memoryview, offset: int) -> int:
        left[0] -= 1
        if left[0] == 0:
            return pwrite(file, data[: len(data) // 2], offset)
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(file, data, offset)

    monkeypatch.setattr(os, "pwrite", filling)


@pytest.mark.usefixtures("groups_of_8")
def test_a_disk_that_fills_up_keeps_what_was_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Noise(40, broken=(2,))
    build_store(source, tmp_path / "whole", 16)
    fill_after(monkeypatch, 3)
    with pytest.raises(InputError, match="disk is full; what was built stays") as caught:
        build_store(source, tmp_path / "cut", 16)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    source.reads = 0
    build_store(source, tmp_path / "cut", 16)
    assert source.reads <= 3 + 24
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_really_full_device(tmp_path: Path) -> None:
    (tmp_path / "images.u8").symlink_to("/dev/full")
    with pytest.raises(InputError, match="disk is full"):
        build_store(Noise(4), tmp_path, 16)


def test_too_little_room_is_said_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**9, 0, 100_000))
    with pytest.raises(
        InputError, match=r"needs 780,288 bytes and 100,000 are free.*data.store=false"
    ):
        build_store(Noise(1000), tmp_path, 16)
    assert not (tmp_path / "images.u8").exists()
    build_store(Noise(1000), tmp_path, 16, pixels=False)


def test_it_says_how_much_and_how_fast(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, "zfnet"):
        build_store(Noise(30, broken=(2,)), tmp_path, 16)
    before, after = caplog.messages
    assert "storing 30 images of noise at 16 pixels, 35,328 bytes (768 an image)" in before
    assert "29 images at 16 pixels, 1 unreadable" in after
    assert "images/s" in after
    assert capfd.readouterr() == ("", "")


def other_settings(tmp_path: Path) -> dict[str, str]:
    """What is refused for `tmp_path`, made from `Noise(30)` at 16 pixels, by what differs."""
    renamed, relabelled = Noise(30), Noise(30)
    renamed.name, relabelled.labels = "photos", [0] * 30
    asked = {
        "size is 16 there and 24 was": (Noise(30), 24, True),
        "source is 'noise' there and 'photos' was": (renamed, 16, True),
        "hash of ids, labels, classes": (relabelled, 16, True),
        "images is 30 there and 31 was": (Noise(31), 16, True),
        "hash of sizes and dates": (Noise(30, seed=1), 16, True),
        "pixels is True there and False was": (Noise(30), 16, False),
    }
    said = {}
    for difference, (source, size, pixels) in asked.items():
        with pytest.raises(InputError) as caught:
            build_store(source, tmp_path, size, pixels=pixels)
        said[difference] = str(caught.value)
    return said


def test_other_settings_are_refused_and_nothing_is_deleted(tmp_path: Path) -> None:
    build_store(Noise(30), tmp_path, 16)
    before = contents(tmp_path)
    for difference, line in other_settings(tmp_path).items():
        assert difference in line
        assert "choose another data.store_dir, or delete the folder" in line
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("groups_of_8")
def test_other_settings_are_refused_by_half_a_store_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_after(monkeypatch, 3)
    with pytest.raises(InputError, match="disk is full"):
        build_store(Noise(30), tmp_path, 16)
    monkeypatch.undo()
    before = contents(tmp_path, ("images.u8", "progress.npz"))
    for difference, line in other_settings(tmp_path).items():
        assert difference in line
    assert contents(tmp_path, ("images.u8", "progress.npz")) == before


def test_changed_photos_are_noticed(tmp_path: Path) -> None:
    source = photos(tmp_path / "photos")
    build_store(source, tmp_path / "store", 24)
    Image.new("RGB", (50, 50)).save(tmp_path / "photos" / source.ids[0])
    with pytest.raises(InputError, match="hash of sizes and dates"):
        build_store(source, tmp_path / "store", 24)


def test_damaged_stores_are_named(tmp_path: Path) -> None:
    build_store(Noise(5), tmp_path, 16)
    with (tmp_path / "images.u8").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="has 3,841 bytes and 3,840 are expected"):
        ImageStore.open(tmp_path)
    (tmp_path / "mean.npy").unlink()
    with pytest.raises(
        InputError, match=r"mean\.npy: no such file; choose another data\.store_dir, or delete"
    ):
        ImageStore.open(tmp_path)
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(InputError, match=r"index.json: is damaged"):
        ImageStore.open(tmp_path)
    with pytest.raises(InputError, match="no complete image store"):
        ImageStore.open(tmp_path / "absent")


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "half": data[: len(data) // 2],
            "longer": data + b"more",
            "other": b"\x00\xff" * 50,
            "text": b"null",
        }[how]
    )


@pytest.mark.parametrize("how", ["empty", "half", "longer", "other", "text"])
@pytest.mark.parametrize("name", FILES)
def test_any_damage_is_one_line_that_says_what_to_do(tmp_path: Path, name: str, how: str) -> None:
    source = Noise(6, broken=(2,))
    expected = build_store(source, tmp_path, 16).labels
    damage(tmp_path / name, how)
    if name == "unreadable.txt":  # never read
        assert build_store(source, tmp_path, 16).labels.equal(expected)
        return
    for read in (lambda: build_store(source, tmp_path, 16), lambda: ImageStore.open(tmp_path)):
        with pytest.raises(
            InputError, match=r"choose another data\.store_dir, or delete the folder"
        ) as caught:
            read()
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


class Bomb:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("ran",)


def as_of_version_0_1(folder: Path) -> None:
    """Its index holds no hashes, so that each part has to be read."""
    index = json.loads((folder / "index.json").read_text())
    del index["hashes"]
    (folder / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("name", ["ids.txt", "labels.npy", "mean.npy"])
def test_other_bytes_of_the_same_length_are_damage(tmp_path: Path, name: str) -> None:
    build_store(Noise(3), tmp_path, 16)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-2] + b"7\n")
    with pytest.raises(
        InputError, match=rf"{name}: is damaged \(ValueError: its bytes are not those"
    ):
        ImageStore.open(tmp_path)
    as_of_version_0_1(tmp_path)
    if name != "ids.txt":
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(InputError, match=rf"{name}: is damaged"):
            ImageStore.open(tmp_path)


@pytest.mark.parametrize("name", ["labels.npy", "mean.npy"])
def test_a_malicious_array_runs_nothing(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    build_store(Noise(3), tmp_path / "store", 16)
    as_of_version_0_1(tmp_path / "store")
    np.save(tmp_path / "store" / name, np.array([Bomb()] * 3, dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=rf"{name}: is damaged"):
        ImageStore.open(tmp_path / "store")
    (tmp_path / "store" / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match=rf"{name}: is damaged"):
        ImageStore.open(tmp_path / "store")
    assert not (tmp_path / "ran").exists()


def test_a_header_that_lies_reserves_no_memory(tmp_path: Path) -> None:
    build_store(Noise(3), tmp_path, 16)
    as_of_version_0_1(tmp_path)
    labels = (tmp_path / "labels.npy").read_bytes()
    (tmp_path / "labels.npy").write_bytes(
        labels.replace(b"(3,), }          ", b"(3000000000000,),}"[:17])
    )
    with pytest.raises(InputError, match=r"labels\.npy: is damaged"):
        ImageStore.open(tmp_path)


@pytest.mark.usefixtures("groups_of_8")
@pytest.mark.parametrize(
    "how", ["empty", "half", "other", "text", "malicious", "done", "bad", "total"]
)
def test_a_damaged_safe_point_starts_the_build_again(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = Noise(30, broken=(2,))
    build_store(source, tmp_path / "whole", 16)
    fill_after(monkeypatch, 3)
    with pytest.raises(InputError, match="disk is full"):
        build_store(source, tmp_path / "cut", 16)
    monkeypatch.undo()
    path = tmp_path / "cut" / "progress.npz"
    if how in ("empty", "half", "other", "text"):
        damage(path, how)
    else:
        with np.load(path) as kept:
            state = dict(kept)
        state |= {
            "malicious": {"total": np.array([Bomb()], dtype=object)},
            "done": {"done": np.array(31)},
            "bad": {"bad": np.array(json.dumps([[2, "broken"], [999, "broken"]]))},
            "total": {"total": state["total"][1:]},
        }[how]
        np.savez(path, **state)
    monkeypatch.chdir(tmp_path)
    build_store(source, tmp_path / "cut", 16)
    assert "progress.npz: is damaged" in caplog.text
    assert "the build starts again" in caplog.text
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert not (tmp_path / "ran").exists()


def test_a_store_whose_folder_grew_or_changed_is_another_store(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is deleted by itself, what is left over is named, and what was there before is found
    again."""
    root, stores = tmp_path / "photos", tmp_path / "stores"

    def find() -> ImageStore:
        caplog.clear()
        with caplog.at_level(logging.INFO, "zfnet"):
            images = find_store(folder(root, "train", val_fraction=0), stores, "train", 24)
        assert isinstance(images, ImageStore)
        return images

    photos(root)
    first = find()
    assert first.folder.parent == stores
    assert "delete what is no longer used" not in caplog.text
    assert find().folder == first.folder
    assert caplog.messages == []
    before = contents(first.folder)
    Image.new("RGB", (30, 40)).save(root / "bee/new.png")
    second = find()
    assert (len(second), second.folder == first.folder) == (len(first) + 1, False)
    assert f"delete what is no longer used of {first.folder.name}" in caplog.text
    os.utime(root / "bee/new.png", ns=(1, 1))
    third = find()
    assert third.folder not in (first.folder, second.folder)
    (root / "bee/new.png").unlink()
    assert find().folder == first.folder
    assert contents(first.folder) == before
    assert len(list(stores.iterdir())) == 3


@pytest.mark.parametrize("pixels", [True, False])
def test_a_store_of_an_earlier_version_is_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, pixels: bool
) -> None:
    old = tmp_path / ("train-16" if pixels else "train-16-index")
    build_store(Noise(9), old, 16, pixels=pixels)
    before = contents(old, FILES[1:])
    with caplog.at_level(logging.INFO, "zfnet"):
        assert find_store(Noise(9), tmp_path, "train", 16, pixels=pixels).ids == Noise(9).ids  # type: ignore
        assert caplog.messages == []
        assert [path.name for path in tmp_path.iterdir()] == [old.name]
        assert len(find_store(Noise(10), tmp_path, "train", 16, pixels=pixels)) == 10  # type: ignore[arg-type]
    assert f"delete what is no longer used of {old.name}" in caplog.messages[0]
    assert contents(old, FILES[1:]) == before
    damage(old / "index.json", "half")
    assert len(find_store(Noise(9), tmp_path, "train", 16, pixels=pixels)) == 9  # type: ignore[arg-type]


def test_folders_that_cannot_be_and_empty_sources(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"choose another data.store_dir"):
        build_store(Noise(3), tmp_path / "file" / "store", 16)
    with pytest.raises(InputError, match="holds no images"):
        build_store(Noise(0), tmp_path, 16)


def test_the_second_builder_waits_for_the_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=build_store, args=(Noise(12), tmp_path, 16))
        with caplog.at_level(logging.INFO, "zfnet"):
            second.start()
            deadline = time.monotonic() + 20
            while "waiting for it" not in caplog.text:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        assert not (tmp_path / "images.u8").exists()
    second.join(20)
    assert len(ImageStore.open(tmp_path)) == 12


def test_two_builders_at_once_read_everything_once(tmp_path: Path) -> None:
    sources = [Noise(60), Noise(60)]
    threads = [
        threading.Thread(target=build_store, args=(source, tmp_path, 16)) for source in sources
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sum(source.reads for source in sources) <= 60 + 6
    build_store(Noise(60), tmp_path / "alone", 16)
    assert contents(tmp_path) == contents(tmp_path / "alone")


@pytest.mark.usefixtures("groups_of_8")
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_deep_pixels_of_any_shape(tmp_path: Path, dtype: str) -> None:
    """The pixels, their mean in steps of uint8, and the mean of a part."""
    deep = np.random.default_rng(0).integers(0, 65536, (20, 12, 17, 2), dtype=np.uint16)
    pixels = deep if dtype == "uint16" else (deep / 65535).astype(np.float32)
    labels = [0] * 20
    source = Arrays("deep", ["all"], [str(i) for i in range(20)], labels, pixels)
    store = build_store(source, tmp_path / "s", (12, 17), pixel_format=PixelFormat(2, dtype))
    assert isinstance(store, ImageStore)
    np.testing.assert_array_equal(store.images.numpy(), pixels)
    steps = torch.from_numpy(deep.astype(np.float64) / 257)
    expected = steps.mean(0).permute(2, 0, 1).float()
    torch.testing.assert_close(store.mean, expected, rtol=1e-6, atol=0)
    opened = ImageStore.open(tmp_path / "s")
    assert (opened.size, opened.images.dtype) == ((12, 17), store.images.dtype)
    for rows in ([3, 5], list(range(2, 20))):
        part = Subset(opened, torch.tensor(rows)).mean
        torch.testing.assert_close(
            part, steps[rows].mean(0).permute(2, 0, 1).float(), rtol=1e-5, atol=1e-5
        )


def test_settings_of_usual_images_are_those_of_earlier_versions(tmp_path: Path) -> None:
    build_store(Noise(3), tmp_path / "s", 16)
    index = json.loads((tmp_path / "s" / "index.json").read_text())
    assert not {"channels", "dtype"} & set(index)
    assert index["size"] == 16
