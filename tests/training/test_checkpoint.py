"""A checkpoint gives back the same net from plain containers, and says when it cannot."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning import LightningDataModule, Trainer

import zfnet
from tests.helpers.learning import learning
from zfnet.data import Batches
from zfnet.errors import InputError
from zfnet.training import build
from zfnet.training.checkpoint import check_model_config, read_checkpoint
from zfnet.training.networks import ModelConfig, build_net

NARROW = {f"conv{i}": {"channels": 4, "groups": 1} for i in (1, 2, 3, 4, 5)} | {
    "fc6": {"units": 6},
    "fc7": {"units": 5},
}


def card(architecture: str = "zfnet", classes: int = 3, **model: object) -> ModelConfig:
    words = {
        "_target_": "zfnet.models.convnet",
        "architecture": architecture,
        "edit": NARROW,
        "init": "he",
    }
    return {
        "model": {**words, "input_norm": "paper", **model},
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
    model, data = build(card(), **learning(lr=0.1)), tiny_data()
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
    assert checkpoint["model_config"] == card()
    assert checkpoint["global_step"] == 1


def one_line(error: pytest.ExceptionInfo[InputError], *words: str) -> None:
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (
            card("alexnet"),
            ["model.architecture=zfnet, and this run has model.architecture=alexnet"],
        ),
        (
            card(input_norm="unit"),
            ["model.input_norm=paper, and this run has model.input_norm=unit"],
        ),
        (card(classes=4), ["classes=", "class 3"]),
        (card(edit={"conv3": None}), ["model.edit"]),
        (
            {**card(), "image_size": 112, "store_size": 128},
            ["image_size=56, and this run has image_size=112", "1 more differ"],
        ),
    ],
    ids=["architecture", "input_norm", "classes", "edit", "size"],
)
def test_another_net_or_data_set_is_named(expected: ModelConfig, words: list[str]) -> None:
    check_model_config(card(), Path("a.ckpt"), card())
    with pytest.raises(InputError) as error:
        check_model_config(card(), Path("a.ckpt"), expected)
    one_line(error, "a.ckpt was made with", "name=", *words)
    assert len(str(error.value)) < 400


def test_many_classes_do_not_flood_the_message() -> None:
    with pytest.raises(InputError) as error:
        check_model_config(card(classes=1000), Path("a.ckpt"), card(classes=999))
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


def test_cut_short_missing_and_not_ours(
    saved: tuple[Path, torch.nn.Module], tmp_path: Path
) -> None:
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


def test_weights_that_do_not_fit_their_card(
    saved: tuple[Path, torch.nn.Module], tmp_path: Path
) -> None:
    checkpoint = torch.load(saved[0], weights_only=True)
    checkpoint["model_config"]["model"]["edit"]["fc7"]["units"] = 7
    torch.save(checkpoint, tmp_path / "wrong.ckpt")
    with pytest.raises(InputError) as error:
        zfnet.load(tmp_path / "wrong.ckpt")
    one_line(error, "wrong.ckpt", "do not fit")


class OwnNet(torch.nn.Module):
    """A net of the user's own code, which tells when it is made."""

    made = 0

    def __init__(self, num_classes: int, width: int = 4) -> None:
        super().__init__()
        OwnNet.made += 1
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, width, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
            torch.nn.Linear(width, num_classes),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


OWN = f"{__name__}.OwnNet"


def test_targets_of_the_users_own_config() -> None:
    """What Python itself has is never called; what is called must give a Module."""
    for target in (
        "os.system",
        "builtins.print",
        "zfnet.models.nowhere",
        "nowhere.at.all",
        "zfnet.models.ALEXNET",
        "zfnet.training.fit.instantiate",
    ):
        with pytest.raises(InputError, match=target):
            build_net({"_target_": target}, 3, 56)
    net = build_net(
        {"_target_": "torchvision.models.SqueezeNet", "version": "1_1", "input_norm": "unit"}, 3, 56
    )
    assert net.eval()(torch.zeros(1, 3, 56, 56)).shape == (1, 3)
    net = build_net({"_target_": "timm.create_model", "model_name": "resnet10t"}, 3, 56)
    assert net.eval()(torch.zeros(1, 3, 56, 56)).shape == (1, 3)
    with pytest.raises(InputError, match=r"gives Tensor, not a torch Module"):
        build_net({"_target_": "torch.nn.functional.relu", "input": torch.zeros(1)}, None, 56)


def written(path: Path, **model: object) -> Path:
    """A checkpoint of a whole net, whose card then names another model."""
    made = card()
    state = build(made).state_dict()
    torch.save(
        {"model_config": {**made, "model": {**made["model"], **model}}, "state_dict": state}, path
    )
    return path


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.print",
        "builtins.eval",
        "zfnet.training.fit.instantiate",
        "zfnet.models.convnet.convnet",
        "zfnet.models.pretrained.torchvision_model.__globals__",
        "torchvision.models.SqueezeNet",
        "torch.nn.Linear",
        "a_module_that_would_run_when_imported",
        OWN,
    ],
)
def test_a_checkpoint_names_only_the_nets_of_the_table(
    tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_module_that_would_run_when_imported.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    path, made = written(tmp_path / "a.ckpt", _target_=target), OwnNet.made
    with pytest.raises(InputError) as error:
        zfnet.load(path)
    one_line(error, f"{path}: its net is {target}", f"trust=[{target}]")
    assert OwnNet.made == made


@pytest.mark.parametrize("where", ["edit", "list", "deep"])
def test_a_second_target_is_refused(tmp_path: Path, where: str) -> None:
    nested = {"_target_": "os.system", "command": f"touch {tmp_path}/ran"}
    edit = {
        "edit": nested,
        "list": {"conv1": [nested]},
        "deep": {"conv1": {"maps": {"a": (nested,)}}},
    }[where]
    path = written(tmp_path / "a.ckpt", edit=edit)
    with pytest.raises(InputError) as error:
        zfnet.load(path, trust=["os.system"])
    one_line(error, str(path), "a second _target_")
    assert not (tmp_path / "ran").exists()


def test_a_net_of_ones_own_is_rebuilt_where_it_is_trusted(tmp_path: Path) -> None:
    own = {**card(), "model": {"_target_": OWN, "width": 5, "input_norm": "unit"}}
    torch.save({"model_config": own, "state_dict": build(own).state_dict()}, tmp_path / "a.ckpt")
    for trust in (None, [], ["another.Net"], f"{OWN}2"):
        with pytest.raises(InputError, match="if you trust its code"):
            zfnet.load(tmp_path / "a.ckpt", trust=trust)
    for trust in ([OWN], OWN):
        assert isinstance(zfnet.load(tmp_path / "a.ckpt", trust=trust).net, OwnNet)


@pytest.mark.parametrize("trusted", ["os.system", "collections.OrderedDict"])
def test_trust_is_for_nets(tmp_path: Path, trusted: str) -> None:
    path = written(tmp_path / "a.ckpt", _target_=trusted)
    with pytest.raises(InputError, match="no class or function of this name that makes a net"):
        zfnet.load(path, trust=[trusted])


class Payload:
    """What a pickle would call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    torch.save(
        {"model_config": card(), "state_dict": {}, "more": Payload(ran)}, tmp_path / "a.ckpt"
    )
    with pytest.raises(
        InputError, match=r"plain containers \(UnpicklingError: it holds \S+, which is code\)"
    ):
        zfnet.load(tmp_path / "a.ckpt")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_size": "abc"}, ["model_config.image_size", "integer"]),
        ({"image_size": 56.0}, ["model_config.image_size"]),
        ({"image_size": -1}, ["model_config.image_size"]),
        ({"image_size": True}, ["model_config.image_size"]),
        ({"image_size": 10**12}, ["cannot be built"]),
        ({"image_size": 10**5}, ["do not fit"]),
        ({"image_size": 65}, ["must lie between"]),
        ({"store_size": 10**6}, ["prepare.mean is (3, 64, 64)"]),
        ({"store_size": None}, ["model_config.store_size"]),
        ({"classes": []}, ["model_config.classes"]),
        ({"classes": "abc"}, ["model_config.classes", "list"]),
        ({"classes": ["a", 3, "b"]}, ["model_config.classes.1", "string"]),
        ({"classes": ["a"] * 10**5}, ["do not fit"]),
        ({"model": "zfnet"}, ["model_config.model", "dictionary"]),
        ({"model": {}}, ["model_config.model"]),
        ({"model": None}, ["model_config.model"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_odd_card_is_one_line(
    tmp_path: Path, changes: dict[str, object], words: list[str]
) -> None:
    made = card()
    torch.save(
        {"model_config": made | changes, "state_dict": build(made).state_dict()},
        tmp_path / "odd.ckpt",
    )
    with pytest.raises(InputError) as error:
        zfnet.load(tmp_path / "odd.ckpt")
    one_line(error, "odd.ckpt", *words)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    "words",
    [
        {"_target_": 5},
        {"_target_": ["zfnet.models.convnet"]},
        {"input_norm": 5},
        {"input_norm": "grey"},
        {"architecture": 5},
        {"architecture": ["zfnet"]},
        {"edit": "conv3"},
        {"edit": {"conv3": 5}},
        {"edit": {"conv3": {"maps": "many"}}},
        {"edit": {"conv3": {"channels": 10**9}}},
        {"edit": {"conv3": {"maps": -1}}},
        {"edit": {"fc6": {"units": 10**15}}},
        {"edit": {5: None}},
        {"init": {}},
        {"num_classes": 7},
        {"unknown": 7},
    ],
    ids=str,
)
def test_odd_words_of_a_model_are_one_line(tmp_path: Path, words: dict[str, object]) -> None:
    path = written(tmp_path / "odd.ckpt", **words)
    with pytest.raises(InputError) as error:
        zfnet.load(path)
    one_line(error, "odd.ckpt")


@pytest.mark.parametrize("missing", ["model", "classes", "image_size", "store_size", "_target_"])
def test_a_card_that_lacks_something_is_one_line(tmp_path: Path, missing: str) -> None:
    made = card()
    state = build(made).state_dict()
    del (made["model"] if missing in made["model"] else made)[missing]
    torch.save({"model_config": made, "state_dict": state}, tmp_path / "odd.ckpt")
    with pytest.raises(InputError) as error:
        zfnet.load(tmp_path / "odd.ckpt")
    one_line(error, "odd.ckpt", missing, "Field required")


@pytest.mark.parametrize("state", [None, [], {"net": 5}, {5: torch.zeros(1)}, {}], ids=str)
def test_odd_weights_are_one_line(tmp_path: Path, state: object) -> None:
    torch.save({"model_config": card(), "state_dict": state}, tmp_path / "odd.ckpt")
    with pytest.raises(InputError) as error:
        zfnet.load(tmp_path / "odd.ckpt")
    one_line(error, "odd.ckpt")


def test_a_moved_data_set_is_the_same_run() -> None:
    """What the images are is compared by the run's fingerprint."""
    check_model_config(
        {**card(), "data": {"root": "/old"}}, Path("a.ckpt"), {**card(), "data": {"root": "/new"}}
    )
    check_model_config(card(), Path("a.ckpt"), {**card(), "data": {"root": "/new"}})


def test_load_needs_no_weights_file_of_long_ago(tmp_path: Path) -> None:
    """A net that started from a file of weights is whole in its checkpoint."""
    words = {"_target_": "zfnet.models.torchvision_model", "name": "squeezenet1_1", "weights": None}
    made = build({**card(), "model": {**words, "input_norm": "pretrained"}})
    gone = {
        **card(),
        "model": {**words, "weights": "/gone/weights.pth", "input_norm": "pretrained"},
    }
    torch.save({"model_config": gone, "state_dict": made.state_dict()}, tmp_path / "a.ckpt")
    assert torch.equal(
        zfnet.load(tmp_path / "a.ckpt").net.features[0].weight, made.net.features[0].weight
    )
