"""A checkpoint gives back the same net from plain containers alone, and says in one line when it cannot."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning import LightningDataModule, Trainer

import zfnet
from zfnet.data import Batches
from zfnet.errors import InputError
from zfnet.training import build
from zfnet.training.checkpoint import Card, build_net, check_card, read_checkpoint

NARROW = {f"conv{i}": {"maps": 4, "groups": 1} for i in (1, 2, 3, 4, 5)} | {
    "fc6": {"units": 6},
    "fc7": {"units": 5},
}


def card(architecture: str = "zfnet", classes: int = 3, **model: object) -> Card:
    words = {"_target_": "zfnet.models.convnet", "architecture": architecture, "edit": NARROW, "init": "he"}
    return {
        "model": {**words, "pixels": "paper", **model},
        "classes": [f"class {number}" for number in range(classes)],
        "image_size": 56,
        "store_size": 64,
    }


@pytest.fixture
def saved(
    tmp_path: Path,
    memory_images: Callable[..., object],
    tiny_data: Callable[..., LightningDataModule],
    tiny_trainer: Callable[..., Trainer],
) -> tuple[Path, torch.nn.Module]:
    """A checkpoint of a real step of training, and what was trained."""
    torch.manual_seed(1)
    model, data = build(card(), lr=0.1), tiny_data()
    data.images = {split: memory_images(4, 64) for split in ("train", "val")}
    data.train_dataloader = lambda: Batches(data.images["train"], 56, 4)
    data.val_dataloader = lambda: Batches(data.images["val"], 56, 4)
    trainer = tiny_trainer()
    trainer.fit(model, datamodule=data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt", model.eval()


def test_round_trip(saved: tuple[Path, torch.nn.Module]) -> None:
    path, model = saved
    loaded = zfnet.load(str(path))
    assert not loaded.training
    assert loaded.classes == ["class 0", "class 1", "class 2"]
    assert torch.equal(loaded.prepare.mean, model.prepare.mean)
    assert loaded.prepare.mean.any()
    inputs = 50 * torch.randn(2, 3, 56, 56)
    assert torch.equal(loaded.net(inputs), model.net(inputs))


def test_plain_containers_only(saved: tuple[Path, torch.nn.Module]) -> None:
    checkpoint = torch.load(saved[0], weights_only=True)
    assert checkpoint["card"] == card()
    assert checkpoint["global_step"] == 1


def one_line(error: pytest.ExceptionInfo[InputError], *words: str) -> None:
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (card("alexnet"), ["model.architecture=zfnet, and this run has model.architecture=alexnet"]),
        (card(pixels="unit"), ["model.pixels=paper, and this run has model.pixels=unit"]),
        (card(classes=4), ["classes=", "class 3"]),
        (card(edit={"conv3": None}), ["model.edit"]),
        (
            {**card(), "image_size": 112, "store_size": 128},
            ["image_size=56, and this run has image_size=112", "1 more differ"],
        ),
    ],
    ids=["architecture", "pixels", "classes", "edit", "size"],
)
def test_another_net_or_data_set_is_named(expected: Card, words: list[str]) -> None:
    check_card(card(), Path("a.ckpt"), card())
    with pytest.raises(InputError) as error:
        check_card(card(), Path("a.ckpt"), expected)
    one_line(error, "a.ckpt was made with", "name=", *words)
    assert len(str(error.value)) < 400


def test_many_classes_do_not_flood_the_message() -> None:
    with pytest.raises(InputError) as error:
        check_card(card(classes=1000), Path("a.ckpt"), card(classes=999))
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"X\x01\0\0\0\xff", b"\x80\x02", b"PK\x03\x04"], ids=repr
)
def test_files_that_are_no_checkpoints(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.ckpt"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        zfnet.load(path)
    one_line(error, str(path), "torch file")


def test_cut_short_missing_and_not_ours(saved: tuple[Path, torch.nn.Module], tmp_path: Path) -> None:
    content = saved[0].read_bytes()
    for length in (10, len(content) // 2, len(content) - 10):
        (tmp_path / "cut.ckpt").write_bytes(content[:length])
        with pytest.raises(InputError) as error:
            read_checkpoint(tmp_path / "cut.ckpt")
        one_line(error, "cut.ckpt", "not a torch file")
    with pytest.raises(InputError) as error:
        zfnet.load(tmp_path / "none.ckpt")
    one_line(error, "none.ckpt", "no such")
    for stranger in ({"state_dict": {}, "epoch": 3}, [1, 2], torch.zeros(3)):
        torch.save(stranger, tmp_path / "other.ckpt")
        with pytest.raises(InputError) as error:
            zfnet.load(tmp_path / "other.ckpt")
        one_line(error, "other.ckpt", "train.py")


def test_weights_that_do_not_fit_their_card(saved: tuple[Path, torch.nn.Module], tmp_path: Path) -> None:
    checkpoint = torch.load(saved[0], weights_only=True)
    checkpoint["card"]["model"]["edit"]["fc7"]["units"] = 7
    torch.save(checkpoint, tmp_path / "wrong.ckpt")
    with pytest.raises(InputError) as error:
        zfnet.load(tmp_path / "wrong.ckpt")
    one_line(error, "wrong.ckpt", "do not fit")


def test_targets() -> None:
    """zfnet's functions and Module classes; nothing else is called, whatever a file's card says."""
    for target in (
        "os.system",
        "builtins.print",
        "zfnet.models.nowhere",
        "nowhere.at.all",
        "zfnet.models.ALEXNET",
    ):
        with pytest.raises(InputError, match=target):
            build_net({"_target_": target}, 3, 56)
    net = build_net({"_target_": "torchvision.models.SqueezeNet", "version": "1_1", "pixels": "unit"}, 3, 56)
    assert net.eval()(torch.zeros(1, 3, 56, 56)).shape == (1, 3)


def test_load_needs_no_weights_file_of_long_ago(tmp_path: Path) -> None:
    """A net that started from a file of weights is whole in its checkpoint."""
    words = {"_target_": "zfnet.models.torchvision_model", "name": "squeezenet1_1", "weights": None}
    made = build({**card(), "model": {**words, "pixels": "torchvision"}})
    gone = {**card(), "model": {**words, "weights": "/gone/weights.pth", "pixels": "torchvision"}}
    torch.save({"card": gone, "state_dict": made.state_dict()}, tmp_path / "a.ckpt")
    assert torch.equal(zfnet.load(tmp_path / "a.ckpt").net.features[0].weight, made.net.features[0].weight)
