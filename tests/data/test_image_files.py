"""Which files below a folder are images: parts judged, links followed once, the rest counted."""

import logging
import os
import random
import shutil
import socket
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from zfnet.data import image_files
from zfnet.data.datasets import caltech101, class_folders, folder, photos
from zfnet.data.decoding import decode, image_extensions, image_formats
from zfnet.data.image_files import find_images, subfolders
from zfnet.errors import InputError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_folders_at_any_depth_and_every_component_judged(tmp_path: Path) -> None:
    taken = ["a.jpg", "b.JPEG", "trip/c.png", "trip/day 2/night/d.Tif", "trip.jpg/e.webp"]
    left_out = [
        *(".venv/lib/x.png", "trip/.git/x.png", "._a.jpg", "trip/.thumbnails/x.jpg"),
        *(
            "__MACOSX/x.jpg",
            "trip/@eaDir/a.jpg/x.jpg",
            "$RECYCLE.BIN/x.jpg",
            "thumbnails/x.jpg",
            "trip/Thumbs/x.jpg",
        ),
        *(
            "Thumbs.db",
            "desktop.ini",
            "trip/notes.txt",
            "README",
            "film.MP4",
            "trip/drawing.svg",
            "a.jpg.part",
        ),
    ]
    found = find_images(touch(tmp_path, *taken, *left_out))
    assert found.files == taken
    assert found.passed_over.counts == {
        "hidden": 4,
        "of the system": 3,
        "thumbnails": 2,
        "not images": 7,
    }
    line = found.summary()
    assert line.startswith(f"{tmp_path}: 5 images; passed over: ")
    assert "4 hidden (" in line
    assert "\n" not in line


def test_the_root_may_be_called_anything(tmp_path: Path) -> None:
    for name in (".cache", "thumbnails", "__MACOSX"):
        assert find_images(touch(tmp_path / name, "a.jpg", "b/c.jpg")).files == ["a.jpg", "b/c.jpg"]


def test_the_line_counts_and_gives_examples(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *(f"{n}.jpg" for n in range(1200)),
        *(f"n.{n}" for n in range(5)),
        "x.txt",
        "y.txt",
    )
    shown = find_images(tmp_path)
    assert shown.summary().startswith(f"{tmp_path}: 1,200 images; passed over: 7 not images (.")
    assert shown.summary().endswith(", ...)")
    assert find_images(touch(tmp_path / "only", "a.jpg")).summary() == f"{tmp_path}/only: 1 images"


def test_it_is_said_once_for_both_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(
        tmp_path,
        *(f"{label}/deep/{n}.png" for label in "ab" for n in range(9)),
        "a/x.txt",
        "stray.png",
    )
    with caplog.at_level(logging.INFO, "zfnet"):
        ids = [folder(tmp_path, split).ids for split in ("train", "val")]
    assert sorted([*ids[0], *ids[1]]) == [
        f"{label}/deep/{n}.png" for label in "ab" for n in range(9)
    ]
    assert caplog.messages == [
        f"{tmp_path}: 18 images; passed over: 1 not images (.txt), 1 outside class folders "
        "(stray.png)"
    ]


def test_folders_beside_the_splits_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "train/a/x/1.png", "val/a/2.png", "test/a/3.png")
    with caplog.at_level(logging.INFO, "zfnet"):
        assert folder(tmp_path, "train").ids == ["train/a/x/1.png"]
        assert folder(tmp_path, "val").ids == ["val/a/2.png"]
    assert [line.partition(": ")[2] for line in caplog.messages] == [
        "1 images; passed over: 1 folders beside train/ and val/ (test/)"
    ] * 2


@pytest.mark.parametrize("read", ["folder", "class_folders", "photos", "caltech101"])
def test_nested_files_move_no_id_of_those_that_were_there(tmp_path: Path, read: str) -> None:
    root = (
        tmp_path / "caltech101/101_ObjectCategories" if read == "caltech101" else tmp_path / "own"
    )
    sources: dict[str, Callable[[], list[str]]] = {
        "folder": lambda: folder(root, "train", val_fraction=0).ids,
        "class_folders": lambda: class_folders(root, "train", 1, 0, 1).whole.ids,
        "photos": lambda: photos(root, "val").ids,
        "caltech101": lambda: caltech101(tmp_path, "train", 1).whole.ids,
    }
    touch(root, *(f"{label}/{n}.jpg" for label in ("ant", "bee", "bee2") for n in range(3)))
    before = sources[read]()
    touch(root, "ant/0/deep/x.jpg", "bee/a/z.jpg", "bee/1.jpg.d/y.jpg")
    after = sources[read]()
    assert set(after) - set(before) == {"ant/0/deep/x.jpg", "bee/a/z.jpg", "bee/1.jpg.d/y.jpg"}
    assert [id_ for id_ in after if id_ in before] == before
    assert after.index("bee/a/z.jpg") > after.index("bee/2.jpg")


def test_the_background_of_caltech_is_counted_and_its_folders_nested(tmp_path: Path) -> None:
    root = tmp_path / "caltech101/101_ObjectCategories"
    touch(
        root,
        "BACKGROUND_Google/x/1.jpg",
        "ant/BACKGROUND_Google/1.jpg",
        "ant/2.jpg",
        "bee/1.jpg",
        "bee/2.jpg",
    )
    whole = caltech101(tmp_path, "train", 1).whole
    assert (whole.classes, len(whole)) == (["ant", "bee"], 4)


# Links


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "pool", "one.jpg", "deep/two.png", "deep/down/three.png", "blob", "x.txt")
    root = touch(tmp_path / "root", "cat/0.jpg")
    (root / "cat/linked").symlink_to(tmp_path / "pool/deep")
    (root / "dog").symlink_to("../pool/deep/down")
    (root / "ant").mkdir()
    (root / "ant/1.jpg").symlink_to(tmp_path / "pool/one.jpg")
    (root / "ant/2.jpg").symlink_to(
        tmp_path / "pool/blob"
    )  # the link's name counts, as in Hugging Face's cache
    (root / "ant/3.txt").symlink_to(tmp_path / "pool/one.jpg")
    found = find_images(root)
    assert found.files == [
        "ant/1.jpg",
        "ant/2.jpg",
        "cat/0.jpg",
        "cat/linked/two.png",
        "cat/linked/down/three.png",
    ]
    assert found.passed_over.counts == {"not images": 1, "folders reached twice": 1}
    assert "1 folders reached twice (dog/)" in found.summary()
    with pytest.raises(
        InputError, match=r"class folder 'dog' has no images .*reached twice \(dog/\)"
    ):
        folder(root, "train")
    (root / "cat/linked").unlink()
    assert folder(root, "train", val_fraction=0).ids[-1] == "dog/three.png"


def test_a_link_never_takes_what_lies_there_itself(tmp_path: Path) -> None:
    touch(tmp_path, "b/real/1.jpg", "c/2.jpg")
    before = find_images(tmp_path).files
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b/aa").symlink_to("../c")
    found = find_images(tmp_path)
    assert found.files == before
    assert found.passed_over.counts["folders reached twice"] == 2


def test_loops_end(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "cat/1.jpg", "cat/deep/2.jpg")
    touch(tmp_path / "outside", "3.jpg")
    (root / "self").symlink_to(".")
    (root / "cat/deep/up").symlink_to("../..")
    (root / "cat/everything").symlink_to("/")
    (root / "cat/away").symlink_to(tmp_path / "outside")
    (tmp_path / "outside/back").symlink_to(root)
    (tmp_path / "outside/parent").symlink_to(tmp_path)
    (root / "cat/itself.jpg").symlink_to("itself.jpg")
    (root / "cat/a").symlink_to("b")
    (root / "cat/b").symlink_to("a")
    found = find_images(root)
    assert found.files == ["cat/1.jpg", "cat/away/3.jpg", "cat/deep/2.jpg"]
    assert found.passed_over.counts == {"links that lead back": 5, "links to nothing": 3}
    assert subfolders(root) == ["cat"]
    assert folder(root, "train", val_fraction=0).classes == ["cat"]


def test_two_links_to_each_others_folders_end(tmp_path: Path) -> None:
    touch(tmp_path, "root/x/0.jpg", "one/1.jpg", "two/2.jpg")
    (tmp_path / "root/x/in").symlink_to(tmp_path / "one")
    (tmp_path / "one/to").symlink_to(tmp_path / "two")
    (tmp_path / "two/to").symlink_to(tmp_path / "one")
    found = find_images(tmp_path / "root")
    assert found.files == ["x/0.jpg", "x/in/1.jpg", "x/in/to/2.jpg"]
    assert found.passed_over.counts == {"folders reached twice": 1}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_tree_of_folders_and_links_is_walked_once(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Every image below the root is taken once, whatever links stand beside it, in any order of
    entries."""
    base = tmp_path_factory.mktemp("tree")
    folders = ["", *(f"{a}/" for a in "abc"), *(f"{a}/{b}/" for a in "ab" for b in "xy")]
    images = sorted(
        f"{where}{n}.png" for where in folders for n in range(data.draw(st.integers(0, 2)))
    )
    touch(base / "root", *images)
    for where in folders:
        (base / "root" / where).mkdir(parents=True, exist_ok=True)
    for number in range(data.draw(st.integers(0, 5))):
        at, to = data.draw(st.sampled_from(folders)), data.draw(st.sampled_from(["..", *folders]))
        (base / "root" / at / f"link{number}").symlink_to(base / "root" / to)
    listed, lot = image_files.list_entries, random.Random(data.draw(st.integers(0, 9)))

    def shuffled(folder: Path | str) -> list[os.DirEntry[str]]:
        entries = listed(folder)
        lot.shuffle(entries)
        return entries

    expected = find_images(base / "root").files
    assert sorted(expected) == images
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_files, "list_entries", shuffled)
        assert find_images(base / "root").files == expected
    shutil.rmtree(base)


# What is no file, or cannot be read


def test_pipes_sockets_and_devices_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.jpg")
        found = find_images(tmp_path)
    assert found.files == ["a.jpg"]
    assert found.passed_over.counts == {"not regular files": 4, "links to nothing": 1}


def test_a_folder_that_cannot_be_read_is_counted_and_the_root_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "ant/1.jpg", "bee/secret/2.jpg", "bee/3.jpg")
    scandir = os.scandir

    def guarded(path: str) -> object:
        if str(path).endswith(closed):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    closed = "secret"
    monkeypatch.setattr(os, "scandir", guarded)
    found = find_images(tmp_path)
    assert found.files == ["ant/1.jpg", "bee/3.jpg"]
    assert "1 folders that cannot be read (bee/secret/)" in found.summary()
    closed = "ant"
    with pytest.raises(
        InputError, match=r"class folder 'ant' has no images .*cannot be read \(ant/\)"
    ):
        folder(tmp_path, "train")
    closed = tmp_path.name
    for read in (folder, photos):
        with pytest.raises(InputError, match=r"the folder cannot be read \(Permission denied\)"):
            read(tmp_path, "train")


@pytest.mark.parametrize("root", ["x" * 300, "~nobody-of-this-name/photos", "loop"])
def test_roots_that_cannot_be(tmp_path: Path, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    for read in (folder, photos):
        with pytest.raises(InputError, match="no such folder"):
            read(root, "train")


@pytest.mark.parametrize("name", ["ant/a\nb.png", "ant/x\ny/b.png", "an\nt/b.png"])
def test_names_with_line_breaks_are_refused_by_all(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name, "ant/0.png")
    for read in (
        lambda: photos(tmp_path, "val"),
        lambda: folder(tmp_path, "train"),
        lambda: class_folders(tmp_path, "train", 1, 0, 1),
    ):
        with pytest.raises(InputError, match="a name with a line break; rename it") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_names_of_any_bytes_come_through(tmp_path: Path) -> None:
    names = [b"caf\xe9/sub/n\xff.jpg", "猫/ü.jpg".encode(), b"<b>/a&b.jpg"]
    for name in names:
        path = Path(os.fsdecode(bytes(tmp_path) + b"/" + name))
        path.parent.mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(path, "JPEG")
    touch(tmp_path, os.fsdecode(b"x.\xe9"))
    found = find_images(tmp_path)
    assert sorted(map(os.fsencode, found.files)) == sorted(names)
    assert found.summary().encode().endswith(rb"3 images; passed over: 1 not images (.\udce9)")
    source = folder(tmp_path, "train", val_fraction=0)
    assert all(source.read(index).shape == (3, 16, 16) for index in range(3))


# Formats


def save_as(path: Path, kind: str) -> None:
    mode = {"MSP": "1", "XBM": "1", "BLP": "P"}.get(kind, "RGB")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # some formats are to leave Pillow
        Image.new("RGB", (32, 32), "red").convert(mode).save(path, kind)


def savable() -> list[str]:
    """Endings of formats that Pillow writes and reads as pictures."""
    return sorted(
        ending
        for ending, name in Image.registered_extensions().items()
        if ending in image_extensions() and name in Image.SAVE
    )


def test_what_pillow_writes_and_reads_is_taken_in_any_case(tmp_path: Path) -> None:
    pictures = ".jpg .jfif .png .bmp .gif .webp .tiff .jp2 .ico .tga .pcx .mpo .ppm .avif"
    others = ".pdf .eps .ps .mpg .mpeg .h5 .hdf .grib .bufr .wmf .emf .palm .txt"
    assert set(pictures.split()) < image_extensions()
    assert not set(others.split()) & image_extensions()
    endings = savable()
    assert len(endings) > 30
    for ending in endings:
        for name in (f"x{ending}", f"y{ending.upper()}"):
            save_as(tmp_path / name, Image.registered_extensions()[ending])
    source = photos(tmp_path, "val")
    assert len(source) == 2 * len(endings)
    for index in range(len(source)):
        if not source.ids[index].lower().endswith(".pfm"):
            assert len(source.read(index)) == 3, source.ids[index]


def test_a_name_does_not_decide_what_is_run(tmp_path: Path) -> None:
    """PostScript under another name is unreadable: Pillow would start Ghostscript on it."""
    assert "EPS" not in image_formats()
    (tmp_path / "a.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(InputError, match="not an image, or one of an unknown format"):
        decode(tmp_path / "a.jpg")
