"""ImageNet's archives beside its folders: the same images, and archives that are damaged."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.helpers.made_data import write_imagenet
from tests.helpers.made_shards import write_imagenet_tars, write_tar
from zfnet.data import build_store
from zfnet.data.datasets import imagenet, imagenet_tars
from zfnet.errors import InputError

VAL = "ILSVRC2012_val_0000000{}.JPEG"


@pytest.fixture
def folders(tmp_path: Path, paint: Callable[..., None]) -> Path:
    """As torchvision unpacks the archives."""
    root = write_imagenet(tmp_path / "folders", images_per_class=3)
    meta = ({"n01": ("tench",), "n02": ("crane",)}, ["n02", "n01", "n02", "n01"])
    torch.save(meta, root / "meta.bin")
    for wnid in ("n01", "n02"):
        for path in (root / "val" / wnid).iterdir():
            path.unlink()
    for number, wnid in enumerate(meta[1], 1):
        paint(root / "val" / wnid / VAL.format(number), number)
    return root


@pytest.fixture
def archives(folders: Path, tmp_path: Path) -> Path:
    return write_imagenet_tars(tmp_path / "archives", folders)


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_images_are_those_of_the_folders(folders: Path, archives: Path, split: str) -> None:
    found, expected = imagenet_tars(archives, split), imagenet(folders, split)  # type: ignore[arg-type]
    assert (found.ids, found.labels, found.classes, found.name) == (
        expected.ids, expected.labels, expected.classes, expected.name,
    )  # fmt: skip
    for index in range(len(found)):
        assert torch.equal(found.read(index), expected.read(index))


def test_validation_in_classes(folders: Path, archives: Path) -> None:
    images = sorted((folders / "val").rglob("*.JPEG"))
    files = {path.relative_to(folders).as_posix(): path.read_bytes() for path in images}
    before = imagenet_tars(archives, "val")
    write_tar(archives / "ILSVRC2012_img_val.tar", files)
    assert imagenet_tars(archives, "val").ids == before.ids


def test_a_damaged_archive_of_a_class_is_listed(archives: Path, tmp_path: Path) -> None:
    path = archives / "ILSVRC2012_img_train.tar"
    source = imagenet_tars(archives, "train")
    whole = bytearray(path.read_bytes())
    header = source.places[1, 1] - 512  # of the second image of n01, which stands before the first
    whole[header : header + 512] = b"\xff" * 512
    path.write_bytes(whole)
    store = build_store(imagenet_tars(archives, "train"), tmp_path / "store", 16, workers=1)
    assert store.ids == ["train/n01/2.JPEG", *(f"train/n02/{i}.JPEG" for i in range(3))]
    listed = (tmp_path / "store" / "unreadable.txt").read_text()
    name = "ILSVRC2012_img_train.tar/n01.tar"
    assert listed == f"{name}\t{archives}/{name}: is damaged after 1 files\n"
    path.write_bytes(b"\xff" * 2000)
    with pytest.raises(InputError, match=r"has no images of classes \(ILSVRC2012_img_train\.tar: "):
        imagenet_tars(archives, "train")


@pytest.mark.parametrize("content", [b"", b"no pickle", b"PK\x03\x04 no archive"])
def test_a_damaged_meta_file_is_named(folders: Path, archives: Path, content: bytes) -> None:
    for root, read in ((folders, imagenet), (archives, imagenet_tars)):
        (root / "meta.bin").write_bytes(content)
        with pytest.raises(InputError, match=r"/meta\.bin: is damaged; delete it, and it is made"):
            read(root, "train")


def test_what_is_missing(archives: Path) -> None:
    torch.save(({"n01": ("tench",)}, ["n01"]), archives / "meta.bin")
    with pytest.raises(InputError, match=r"n02 of an archive is not in meta\.bin"):
        imagenet_tars(archives, "train")
    with pytest.raises(InputError, match=r"00002\.JPEG is none of the 1 images of the devkit"):
        imagenet_tars(archives, "val")
    (archives / "meta.bin").unlink()
    with pytest.raises(InputError, match=r"class names need meta\.bin or ILSVRC2012_devkit"):
        imagenet_tars(archives, "train")
    (archives / "ILSVRC2012_img_val.tar").unlink()
    with pytest.raises(InputError, match=r"val\.tar: no such file; put it there"):
        imagenet_tars(archives, "val")
