"""torchvision's nets load whole, in part or with another head, and say what does not fit."""

import io
import logging
import math
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from zfnet.errors import InputError
from zfnet.models import timm_model, torchvision_model
from zfnet.models.pretrained import class_names, expected_input, input_of, with_transforms

NAMES = ["squeezenet1_1", "resnet18"]


@pytest.fixture(scope="module")
def nets() -> dict[str, nn.Module]:
    """torchvision's own nets, with classes of their own, as a stranger's file would hold them."""
    torch.manual_seed(0)
    return {name: models.get_model(name, weights=None, num_classes=7).eval() for name in NAMES}


def saved(net: nn.Module, path: Path, keep: str = "") -> str:
    torch.save(
        {key: value for key, value in net.state_dict().items() if key.startswith(keep)}, path
    )
    return str(path)


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(
    nets: dict[str, nn.Module], tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    net = torchvision_model(
        name, weights=saved(nets[name], tmp_path / "w.pth"), num_classes=7
    ).eval()
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(net(x), nets[name](x))
    assert not caplog.records


@pytest.mark.parametrize(("name", "head"), [("squeezenet1_1", "classifier.1"), ("resnet18", "fc")])
def test_a_head_of_other_classes_stays_fresh(
    nets: dict[str, nn.Module],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    head: str,
) -> None:
    net = torchvision_model(name, weights=saved(nets[name], tmp_path / "w.pth"), num_classes=4)
    own, given = net.state_dict(), nets[name].state_dict()
    assert net.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 4)
    assert all(torch.equal(own[key], given[key]) for key in own if not key.startswith(head))
    assert caplog.text.rstrip().endswith(f"fresh: {head}.bias, {head}.weight")


def test_a_part_loads_and_the_log_names_the_rest(
    nets: dict[str, nn.Module], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved(nets["squeezenet1_1"], tmp_path / "features.pth", keep="features.")
    with caplog.at_level(logging.WARNING):
        net = torchvision_model("squeezenet1_1", weights=path, num_classes=7)
    assert torch.equal(net.features[0].weight, nets["squeezenet1_1"].features[0].weight)
    (record,) = caplog.records
    assert (
        record.getMessage()
        == f"{path}: 50 of 52 tensors loaded; fresh: classifier.1.bias, classifier.1.weight"
    )


def one_line(error: pytest.ExceptionInfo[InputError], *words: str) -> None:
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_what_does_not_fit(nets: dict[str, nn.Module], tmp_path: Path) -> None:
    state = nets["squeezenet1_1"].state_dict()
    path = tmp_path / "w.pth"
    torch.save(state | {"features.0.weight": torch.zeros(64, 3, 5, 5)}, path)
    with pytest.raises(InputError) as error:
        torchvision_model("squeezenet1_1", str(path), 7)
    one_line(error, str(path), "features.0.weight is (64, 3, 5, 5)", "needs (64, 3, 3, 3)")
    torch.save(state | {"backbone.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError) as error:
        torchvision_model("squeezenet1_1", str(path), 7)
    one_line(error, str(path), "backbone.weight (1 such)", "SqueezeNet")


def pickled(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"\xff\xd8\xff\xe0 a photo, say",
        b"X\x01\0\0\0\xff",
        b"version https://git-lfs.github.com/spec/v1\n",
        pickled({"a": torch.zeros(9)})[:-40],
        pickled([torch.zeros(1)]),
        pickled({"state_dict": {"a": torch.zeros(1)}, "epoch": 3}),
        pickled(nn.Linear(1, 1)),
    ],
    ids=[
        "empty",
        "text",
        "photo",
        "a string of no UTF-8",
        "git-lfs",
        "cut short",
        "list",
        "checkpoint",
        "module",
    ],
)
def test_files_that_are_no_weights(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        torchvision_model("squeezenet1_1", str(path), 7)
    one_line(error, str(path))


def test_missing_files_and_names(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        torchvision_model("resnet18", weights=str(tmp_path / "none.pth"))
    one_line(error, "none.pth", "no such")
    with pytest.raises(InputError) as error:
        torchvision_model("squeezenet1_1", weights="IMAGENET2K")
    one_line(error, "IMAGENET2K", "squeezenet1_1")
    with pytest.raises(InputError) as error:
        torchvision_model("resnet17")
    one_line(error, "resnet17", "resnet18")
    with pytest.raises(InputError):  # torchvision knows it, but it takes videos
        torchvision_model("r3d_18")


@pytest.mark.parametrize(
    ("name", "classes", "side", "mean"),
    [
        ("lraspp_mobilenet_v3_large", 21, 520, 0.485),
        ("ssdlite320_mobilenet_v3_large", 91, 320, 0.0),
    ],
)
def test_segmentation_and_detection(name: str, classes: int, side: int, mean: float) -> None:
    """Inputs of a detector are not normalized: it does so itself."""
    model = {"_target_": "zfnet.models.torchvision_model", "name": name}
    assert isinstance(torchvision_model(name), torch.nn.Module)
    known = class_names(model)
    assert known is not None
    assert (len(known), known[0]) == (classes, "__background__")
    expected = input_of({**model, "input_norm": "pretrained"})
    assert expected is not None
    assert (expected.crop, expected.mean[0]) == (side, mean)


def test_weights_of_a_segmenter(tmp_path: Path) -> None:
    made = torchvision_model("lraspp_mobilenet_v3_large", num_classes=3)
    torch.save(made.state_dict(), tmp_path / "net.pth")
    again = torchvision_model("lraspp_mobilenet_v3_large", str(tmp_path / "net.pth"), num_classes=3)
    for key, value in made.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


def test_googlenet_gives_plain_logits_in_training() -> None:
    net = torchvision_model("googlenet", num_classes=3).train()
    logits = net(torch.randn(2, 3, 64, 64))
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (2, 3)
    assert not any("aux" in name for name, _ in net.named_parameters())


def test_class_names_are_imagenets() -> None:
    names = class_names({"_target_": "zfnet.models.torchvision_model", "name": "squeezenet1_1"})
    assert len(names) == 1000
    assert (names[0], names[207]) == ("tench", "golden retriever")


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "resnet18"])
@pytest.mark.parametrize("how", ["name", "file"])
def test_weights_make_torchvisions_own_function(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, how: str
) -> None:
    """Bit for bit, with what the weights imply for the constructor."""
    enum = models.get_model_weights(name)
    torch.manual_seed(0)
    words = {} if name == "resnet18" else {"init_weights": False, "aux_logits": True}
    state = models.get_model(name, weights=None, **words).state_dict()
    monkeypatch.setattr(type(enum.DEFAULT), "get_state_dict", lambda *_, **__: state)
    theirs = models.get_model(name, weights="DEFAULT").eval()
    torch.save(state, tmp_path / "w.pth")
    ours = torchvision_model(name, "DEFAULT" if how == "name" else str(tmp_path / "w.pth")).eval()
    x = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))
    assert not any("aux" in name.lower() for name, _ in ours.named_parameters())


def test_a_net_is_rebuilt_without_its_weights() -> None:
    """A checkpoint's config says whose inputs the net takes; an old one, that said nothing, means
    what it did."""
    target = {"_target_": "zfnet.models.torchvision_model", "input_norm": "pretrained"}
    model = {**target, "name": "googlenet", "weights": "DEFAULT"}
    kept = with_transforms(model)
    assert kept == {**model, "transforms": "IMAGENET1K_V1"}
    assert torchvision_model("googlenet", None, 3, kept["transforms"]).transform_input
    assert not torchvision_model("googlenet", None, 3).transform_input
    assert not torchvision_model("googlenet", None, 3, "none").transform_input
    for other in (
        {**model, "weights": None},
        {**model, "name": "resnet18"},
        {**model, "name": "vit_b_16"},
    ):
        assert with_transforms(other) == other
    large = {**model, "name": "vit_b_16", "weights": "IMAGENET1K_SWAG_E2E_V1"}
    assert with_transforms(large)["transforms"] == "IMAGENET1K_SWAG_E2E_V1"
    assert torchvision_model("vit_b_16", None, 3, "IMAGENET1K_SWAG_E2E_V1").image_size == 384
    assert (
        with_transforms({"_target_": "zfnet.models.convnet", "architecture": "zfnet"})[
            "architecture"
        ]
        == "zfnet"
    )


def test_every_weights_own_transforms() -> None:
    """Mean, deviation, resize, crop and interpolation of all of torchvision's weights."""
    others = set()
    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name):
            theirs, ours = weights.transforms(), expected_input(name, weights.name)
            assert [ours.size] == theirs.resize_size
            assert [ours.crop] == theirs.crop_size
            assert ours.interpolation == theirs.interpolation.value
            assert (list(ours.mean), list(ours.std)) == (list(theirs.mean), list(theirs.std))
            if ours.mean != (0.485, 0.456, 0.406):
                others.add((name, weights.name))
    assert others == {("efficientnet_v2_l", "IMAGENET1K_V1"), ("vgg16", "IMAGENET1K_FEATURES")}


def test_whose_transforms() -> None:
    default = expected_input("efficientnet_b0", "DEFAULT")
    assert (default.size, default.crop, default.interpolation) == (256, 224, "bicubic")
    assert (
        expected_input("efficientnet_b0", "mine.pth")
        == expected_input("efficientnet_b0")
        == default
    )
    assert expected_input("vgg16", "mine.pth", "IMAGENET1K_FEATURES").std == (
        1 / 255,
        1 / 255,
        1 / 255,
    )
    model = {
        "_target_": "zfnet.models.torchvision_model",
        "name": "efficientnet_v2_l",
        "input_norm": "pretrained",
    }
    found = input_of(model)
    assert found is not None
    assert found.mean == (0.5, 0.5, 0.5)
    assert input_of({**model, "input_norm": "unit"}) is None
    assert input_of({"_target_": "mine.Net", "input_norm": "pretrained"}) is None
    with pytest.raises(
        InputError,
        match=r"model\.transforms='V9' is none of alexnet's weights: IMAGENET1K_V1, DEFAULT, none",
    ):
        torchvision_model("alexnet", transforms="V9")


TIMM = {"_target_": "zfnet.models.timm_model", "name": "resnet18", "input_norm": "pretrained"}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_timm_from_a_file(tmp_path: Path, suffix: str) -> None:
    """The net is timm's own; a head of other classes stays fresh."""
    torch.manual_seed(0)
    own = timm.create_model("resnet18").eval()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(own.state_dict(), path)
    else:
        save_file(own.state_dict(), path)
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(timm_model("resnet18", str(path)).eval()(image), own(image))
    other = timm_model("resnet18", str(path), num_classes=7)
    assert torch.equal(other.conv1.weight, own.conv1.weight)
    assert other.fc.weight.shape == (7, 512)


def test_timm_says_how_images_are_prepared() -> None:
    """As timm's own config of the weights."""
    for name in ("resnet18", "vit_tiny_patch16_224", "convnext_tiny"):
        config = timm.get_pretrained_cfg(name)
        found = input_of(TIMM | {"name": name})
        assert found is not None
        assert found.crop == config.input_size[-1]
        assert found.size == math.floor(found.crop / config.crop_pct)
        assert (found.mean, found.std) == (config.mean, config.std)
        assert found.interpolation == config.interpolation
    assert input_of(TIMM | {"input_norm": "unit"}) is None


def test_a_timm_net_of_one_size_is_made_for_the_images() -> None:
    net = timm_model("vit_tiny_patch16_224", num_classes=5, image_size=64).eval()
    assert net(torch.rand(1, 3, 64, 64)).shape == (1, 5)


def test_what_timm_does_not_have_is_one_line() -> None:
    with pytest.raises(InputError, match=r"model\.name='nosuch': timm has no such classifier"):
        timm_model("nosuch")
    with pytest.raises(InputError, match="neither a file nor DEFAULT"):
        timm_model("resnet18", weights="IMAGENET1K_V1")


def test_a_damaged_safetensors_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"a\.safetensors: not a safetensors file"):
        timm_model("resnet18", str(tmp_path / "a.safetensors"))
