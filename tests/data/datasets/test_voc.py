"""PASCAL VOC 2012 in torchvision's layout: difficult classes, and broken annotations."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torchvision import datasets

from zfnet.data.datasets.voc import CLASSES, first_class, voc2012
from zfnet.data.image_data import ImageData
from zfnet.data.subset import Selection
from zfnet.errors import InputError

Written = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path, paint: Callable[..., None]) -> Written:
    """`written("train", photo=[(class, difficult), ...])` adds photos to a split; returns the
    root."""

    def write(split: str, **photos: list[tuple[str, int]]) -> Path:
        base = tmp_path / "VOCdevkit/VOC2012"
        for folder in ("ImageSets/Main", "Annotations"):
            (base / folder).mkdir(parents=True, exist_ok=True)
        with (base / "ImageSets/Main" / f"{split}.txt").open("a") as file:
            file.writelines(f"{name}\n" for name in photos)
        for seed, (name, objects) in enumerate(photos.items()):
            paint(base / f"JPEGImages/{name}.jpg", seed)
            boxes = "".join(
                f"<object><name>{label}</name><difficult>{difficult}</difficult>"
                "<part><name>head</name></part></object>"
                for label, difficult in objects
            )
            (base / f"Annotations/{name}.xml").write_text(
                f"<annotation><filename>{name}.jpg</filename>{boxes}</annotation>"
            )
        return tmp_path

    return write


@pytest.fixture
def root(written: Written) -> Path:
    written("val", d=[("cat", 0)])
    return written(
        "train",
        a=[("person", 0), ("dog", 0), ("person", 0)],
        b=[("sheep", 1), ("sheep", 0), ("bird", 1)],
        c=[("tvmonitor", 1), ("sofa", 1)],
    )


def test_what_is_present_absent_and_difficult(root: Path) -> None:
    train = voc2012(root, "train")
    assert (train.name, train.classes, len(train)) == ("voc2012", CLASSES, 3)
    assert train.targets.dtype == torch.int8
    named = [
        {CLASSES[label]: value for label, value in enumerate(row) if value}
        for row in train.targets.tolist()
    ]
    assert named == [
        {"dog": 1, "person": 1},
        {"sheep": 1, "bird": -1},
        {"sofa": -1, "tvmonitor": -1},
    ]
    assert [CLASSES[label] for label in train.labels] == ["dog", "sheep", "sofa"]
    assert train.ids == ["JPEGImages/a.jpg", "JPEGImages/b.jpg", "JPEGImages/c.jpg"]
    assert train.read(2).shape == (3, 20, 24)
    assert voc2012(root, "val").ids == ["JPEGImages/d.jpg"]
    assert Selection(train, [2, 0], "train").targets.tolist() == train.targets[[2, 0]].tolist()


def test_it_is_what_torchvision_reads(root: Path) -> None:
    """Its parser's objects, class by class."""
    train = voc2012(root, "train")
    for row, (_, known) in enumerate(datasets.VOCDetection(str(root), "2012", "train")):
        objects = known["annotation"]["object"]
        certain = {item["name"] for item in objects if item["difficult"] == "0"}
        named = {item["name"] for item in objects}
        target = train.targets[row].tolist()
        assert [name in certain for name in CLASSES] == [value == 1 for value in target]
        assert [name in named for name in CLASSES] == [value != 0 for value in target]


def test_the_twenty_classes_are_in_alphabetical_order() -> None:
    assert len(CLASSES) == 20
    assert sorted(CLASSES) == CLASSES


def test_a_photo_without_objects_is_a_negative_of_all(written: Written) -> None:
    train = voc2012(written("train", a=[]), "train")
    assert train.targets.tolist() == [[0] * 20]
    assert first_class([0] * 20) == 0


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "is missing"),
        ("", "is broken"),
        ("<annotation><object>", "is broken"),
        ("<annotation><object><name>unicorn</name></object></annotation>", "class 'unicorn'"),
        ("<annotation><object></object></annotation>", "class ''"),
        (
            "<annotation><object><name>cat</name><difficult>x</difficult></object></annotation>",
            "difficult 'x'",
        ),
    ],
)
def test_a_missing_or_broken_annotation_is_named(
    root: Path, content: str | None, line: str
) -> None:
    path = root / "VOCdevkit/VOC2012/Annotations/b.xml"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InputError, match=line) as caught:
        voc2012(root, "train")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_there(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_args: object, **_options: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(datasets.voc, "download_and_extract_archive", offline)
    with pytest.raises(
        InputError, match="VOC2012: VOC 2012 cannot be downloaded: network is unreachable"
    ):
        voc2012(tmp_path / "absent", "train")
    (root / "VOCdevkit/VOC2012/ImageSets/Main/train.txt").unlink()
    with pytest.raises(InputError, match=r"cannot be downloaded.*train\.txt"):
        voc2012(root, "train")
    with pytest.raises(InputError, match="split='test' is unknown"):
        voc2012(root, "test")  # type: ignore[arg-type]


def test_training_end_to_end_refuses_several_classes_a_picture(root: Path, tmp_path: Path) -> None:
    data = ImageData(lambda split: voc2012(root, split), 14, 2, str(tmp_path / "stores"))
    assert [len(data.open(split)) for split in ("train", "val")] == [3, 1]
    with pytest.raises(InputError, match=r"voc2012: .*several classes.*transfer=frozen"):
        data.setup("fit")
