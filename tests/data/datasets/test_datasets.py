"""Data sets written to a temporary folder in each layout, and every way it can be wrong."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import datasets

from zfnet.data.datasets import (
    Arrays,
    Photos,
    cifar10,
    folder,
    imagenet,
    imagenette,
    modification_stamp,
    photos,
)
from zfnet.data.datasets.folders import split_by_hash
from zfnet.errors import InputError


def write(path: Path, shade: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 12), (shade, 2, 3)).save(path)


def one_folder(root: Path, **counts: int) -> Path:
    for label, count in counts.items():
        for number in range(count):
            write(root / label / f"{number:03d}.png", number)
    return root


def test_train_and_val_folders(tmp_path: Path) -> None:
    for name in ("train/cat/b.JPG", "train/cat/a.png", "train/ant/x.Tiff", "val/cat/y.webp"):
        write(tmp_path / name)
    (tmp_path / "train/cat/.hidden.png").write_bytes(b"")
    (tmp_path / "train/cat/notes.txt").write_text("")
    (tmp_path / "train/.cache").mkdir()
    train, val = folder(tmp_path, "train"), folder(tmp_path, "val")
    assert train.classes == val.classes == ["ant", "cat"]
    assert train.ids == ["train/ant/x.Tiff", "train/cat/a.png", "train/cat/b.JPG"]
    assert train.labels == [0, 1, 1]
    assert (val.ids, val.labels, len(val)) == (["val/cat/y.webp"], [1], 1)
    assert train.read(1).shape == (3, 12, 16)


def test_one_folder_is_split_by_class(tmp_path: Path) -> None:
    one_folder(tmp_path, ant=40, bee=10, cat=2, dog=1)
    train, val = folder(tmp_path, "train"), folder(tmp_path, "val")
    assert [val.labels.count(label) for label in range(4)] == [4, 1, 1, 0]
    assert [train.labels.count(label) for label in range(4)] == [36, 9, 1, 1]
    assert folder(tmp_path, "val").ids == val.ids
    assert folder(tmp_path, "val", seed=1).ids != val.ids
    assert val.ids != sorted(train.ids)[: len(val)]


def test_photos_are_all_below_a_folder_at_any_depth(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "trip/day 2/c.JPEG", "trip/notes.txt", ".thumbnails/d.png"):
        write(tmp_path / name) if name.endswith(("g", "G")) else (tmp_path / name).write_text("")
    found = photos(tmp_path, "val")
    assert found.ids == ["a.jpg", "b.png", "trip/day 2/c.JPEG"]
    assert (found.labels, len(found.classes), found.ids) == (
        [0, 0, 0],
        1,
        photos(tmp_path, "train").ids,
    )
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image"):
        photos(tmp_path / "empty", "val")


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 60), fraction=st.floats(0, 0.99), seed=st.integers(0, 5))
def test_halves_are_disjoint_complete_and_hardly_moved_by_new_photos(
    count: int, fraction: float, seed: int
) -> None:
    files = [f"c/{number}.jpg" for number in range(count)]
    train, val = (split_by_hash(files, split, fraction, seed) for split in ("train", "val"))
    assert sorted(train + val) == sorted(files)
    assert train
    assert (len(val) >= 1) == (count > 1 and fraction > 0)
    later = split_by_hash([*files, "c/new.jpg"], "val", fraction, seed)
    assert len(set(val) ^ set(later)) <= 2


def test_layouts_that_are_wrong_are_named(tmp_path: Path) -> None:
    def refused(root: Path, split: str = "train", **options: float) -> str:
        with pytest.raises(InputError) as caught:
            folder(root, split, **options)  # type: ignore[arg-type]
        line = str(caught.value)
        assert "\n" not in line
        return line

    assert "no such folder" in refused(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    assert "no class folders" in refused(tmp_path / "empty")
    write(tmp_path / "flat/a.jpg")
    assert "without class folders" in refused(tmp_path / "flat")
    (one_folder(tmp_path / "hole", ant=3) / "bee").mkdir()
    assert f"{tmp_path}/hole: class folder 'bee' has no images" in refused(tmp_path / "hole")
    one_folder(tmp_path / "single", ant=1)
    assert "no image is left" in refused(tmp_path / "single", "val")
    assert "data.val_fraction=1" in refused(tmp_path / "single", "val", val_fraction=1.0)
    one_folder(tmp_path / "strange/train", ant=1)
    assert "has no val/" in refused(tmp_path / "strange", "val")
    one_folder(tmp_path / "strange/val", bee=1)
    assert "'bee'" in refused(tmp_path / "strange", "val")
    one_folder(tmp_path / "onlyval/val", bee=1)
    assert "no train/" in refused(tmp_path / "onlyval")
    write(tmp_path / "lines/ant/a\nb.png")
    assert "line break" in refused(tmp_path / "lines")
    assert "split='test' is unknown" in refused(tmp_path / "single", "test")


def test_stamps_follow_the_files_and_the_pixels(tmp_path: Path) -> None:
    source = folder(one_folder(tmp_path, ant=3), "train")
    before = modification_stamp(source)
    assert modification_stamp(folder(tmp_path, "train")) == before
    os.utime(tmp_path / source.ids[1], ns=(1, 1))
    touched = modification_stamp(source)
    assert touched != before
    Image.new("RGB", (30, 30)).save(tmp_path / source.ids[0])
    assert modification_stamp(source) not in (before, touched)
    (tmp_path / source.ids[0]).unlink()
    modification_stamp(source)
    images = np.zeros((2, 8, 8, 3), np.uint8)
    arrays = Arrays("a", ["x"], ["0", "1"], [0, 0], images)
    first = modification_stamp(arrays)
    images[1, 2, 3, 0] = 1
    assert modification_stamp(arrays) != first


def test_every_file_counts(tmp_path: Path) -> None:
    """A store that is stale is worse than one that is built again: no file is left out, however
    many there are."""
    names = [f"ant/{number:05d}.png" for number in range(12_000)]
    (tmp_path / "ant").mkdir()
    for name in names:
        (tmp_path / name).touch()
    source = Photos("own", tmp_path, ["ant"], names, [0] * len(names))
    before = modification_stamp(source)
    for name in (names[1], names[-2]):
        (tmp_path / name).write_bytes(b"x")
        assert modification_stamp(source) != before
        before = modification_stamp(source)


def test_a_source_of_another_kind_is_stamped_by_some_pixels() -> None:
    class Drawn:
        name, classes, ids, labels = "drawn", ["x"], ["0", "1", "2"], [0, 0, 0]

        def __init__(self, shade: int) -> None:
            self.shade = shade

        def __len__(self) -> int:
            return 3

        def read(self, index: int) -> torch.Tensor:
            return torch.full((3, 8, 8), self.shade + index, dtype=torch.uint8)

    assert (
        modification_stamp(Drawn(1)) == modification_stamp(Drawn(1)) != modification_stamp(Drawn(2))
    )


META = ({"n01": ("tench", "Tinca tinca"), "n02": ("crane",), "n03": ("crane",)}, ["n01", "n02"])


def test_imagenet_as_torchvision_lays_it_out(tmp_path: Path) -> None:
    torch.save(META, tmp_path / "meta.bin")
    for name in ("train/n01/a.JPEG", "train/n02/b.JPEG", "train/n03/c.JPEG", "val/n01/d.JPEG"):
        write(tmp_path / name)
    source = imagenet(tmp_path, "train")
    assert source.classes == ["n01 tench", "n02 crane", "n03 crane"]
    assert source.ids == ["train/n01/a.JPEG", "train/n02/b.JPEG", "train/n03/c.JPEG"]
    assert source.labels == [0, 1, 2]
    assert source.read(2).shape == (3, 12, 16)
    write(tmp_path / "val/n09/e.JPEG")
    with pytest.raises(InputError, match="n09"):
        imagenet(tmp_path, "val")


def test_imagenet_validation_has_the_numbers_of_training(tmp_path: Path) -> None:
    torch.save(META, tmp_path / "meta.bin")
    for name in ("train/n01/a.JPEG", "train/n02/b.JPEG", "val/n02/d.JPEG"):
        write(tmp_path / name)
    val = imagenet(tmp_path, "val")
    assert [val.classes[label] for label in val.labels] == ["n02 crane"]
    assert val.classes == imagenet(tmp_path, "train").classes
    assert val.labels == [1]


def test_imagenet_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        imagenet(tmp_path / "absent", "train")
    with pytest.raises(InputError, match="no ImageNet here"):
        imagenet(tmp_path, "train")
    write(tmp_path / "train/n01/a.JPEG")
    for damage in (b"", b"x", pickle.dumps(os.system, protocol=2), pickle.dumps(7, protocol=2)):
        (tmp_path / "meta.bin").write_bytes(damage)
        with pytest.raises(InputError, match=r"/meta\.bin: is damaged; delete it"):
            imagenet(tmp_path, "train")


def test_imagenette(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "imagenette2-320"
    for name in ("train/n01440764/a.JPEG", "train/n02102040/b.JPEG", "val/n02102040/c.JPEG"):
        write(root / name)
    for number, wnid in enumerate(("n01440764", "n02102040")):
        write(root / f"val/{wnid}/{number}.JPEG")
    val = imagenette(tmp_path, "val")
    assert isinstance(val, Photos)
    assert val.classes == ["n01440764 tench", "n02102040 English springer"]
    assert val.labels == [0, 1, 1]
    assert val.read(0).shape == (3, 12, 16)
    write(root / "train/n02102040/more/d.png")
    (root / "train/n02102040/loop").symlink_to(root)
    assert imagenette(tmp_path, "train").ids[-1] == "train/n02102040/more/d.png"
    write(root / "train/mine/d.png")
    with pytest.raises(InputError, match="'mine' is no class of Imagenette"):
        imagenette(tmp_path, "train")

    def offline(*_args: object, **_options: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(datasets.imagenette, "download_and_extract_archive", offline)
    with pytest.raises(InputError, match="cannot be downloaded: network is unreachable"):
        imagenette(tmp_path, "train", "full")


def test_cifar10_from_its_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "cifar-10-batches-py"
    base.mkdir()
    data = np.random.default_rng(0).integers(0, 256, (6, 3 * 32 * 32), dtype=np.uint8)
    for name in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]:
        (base / name).write_bytes(pickle.dumps({"data": data, "labels": [3, 1, 0, 2, 1, 0]}))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": ["a", "b", "c", "d"]}))
    monkeypatch.setattr(datasets.cifar, "check_integrity", lambda *_args: True)
    train, val = cifar10(tmp_path, "train"), cifar10(tmp_path, "val")
    assert (len(train), len(val)) == (30, 6)
    assert val.labels == [3, 1, 0, 2, 1, 0]
    assert val.classes == ["a", "b", "c", "d"]
    assert len({*train.ids, *val.ids}) == 36
    np.testing.assert_array_equal(val.read(4).numpy(), data[4].reshape(3, 32, 32))


def test_cifar10_that_cannot_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_args: object, **_options: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(datasets.cifar, "download_and_extract_archive", offline)
    with pytest.raises(InputError, match="cannot be downloaded: network is unreachable"):
        cifar10(tmp_path, "train")
