"""Features of a frozen trunk: what a plain pass gives, kept once, and across a kill."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from zfnet.data.image_store import ImageStore
from zfnet.data.preprocessing import Preprocessing, center_crop, ten_crops
from zfnet.errors import InputError
from zfnet.models import Conv, ConvNet, Linear, Pool, set_axes
from zfnet.probing import feature_cache, feature_extraction
from zfnet.probing.feature_extraction import cached_features

STORED, CROP = 12, 8
TABLE = {
    "conv1": Conv(4, kernel=3, normalize=True),
    "conv2": Conv(5, kernel=3, padding=1, pool=Pool(3, 2)),
    "fc3": Linear(8, dropout=0.5),
    "fc4": Linear(activation=False),
}
Images = Callable[..., ImageStore]


def net(classes: int = 3, **edits: Conv) -> ConvNet:
    """The same weights up to fc3, whatever the number of classes."""
    made = ConvNet({**TABLE, **edits}, classes, CROP)
    torch.manual_seed(7)
    made.reset_parameters("he")
    return made


def prepared(images: ImageStore) -> Preprocessing:
    prepare = Preprocessing(STORED, CROP, "unit")
    prepare.set_mean(images.mean)
    return prepare


def plainly(
    model: ConvNet, images: ImageStore, layer: str, pool: int | None, cut: Tensor
) -> Tensor:
    """The definition, one picture at a time: the stages by hand, up to the layer's units."""
    rows = []
    for row in range(len(images)):
        x = prepared(images)(images.images, torch.tensor([row]), cut[None])
        for name, stage in model.eval().named_children():
            for part, module in stage.named_children():
                x = module(x)
                if f"{name}.{part}" == model.units(layer):
                    break
            if name == layer:
                break
        if pool and x.dim() == 4 and x.shape[2] > pool:
            x = F.adaptive_avg_pool2d(x, pool)
        rows.append(x.flatten(1))
    return torch.cat(rows)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The layers of every pass over the pictures."""
    seen: list[list[str]] = []
    run = feature_extraction.FeatureExtractor.run

    def counting(self: Any, missing: dict[str, Any], batch_size: int) -> None:
        seen.append(list(missing))
        run(self, missing, batch_size)

    monkeypatch.setattr(feature_extraction.FeatureExtractor, "run", counting)
    return seen


@settings(max_examples=30)
@given(batch_size=st.integers(1, 25), pool=st.sampled_from([None, 1, 2, 3, 99]), ten=st.booleans())
def test_they_are_those_of_a_plain_pass(
    memory_images: Images,
    tmp_path_factory: pytest.TempPathFactory,
    batch_size: int,
    pool: int | None,
    ten: bool,
) -> None:
    images, model, folder = memory_images(7), net().train(), tmp_path_factory.mktemp("features")
    layers, crops = ["fc3", "conv1", "conv2"], "ten" if ten else "center"
    kept = cached_features(model, prepared(images), images, layers, folder, pool, crops, batch_size)  # type: ignore[arg-type]
    assert model.training
    assert list(kept) == layers
    for layer in layers:
        cuts = ten_crops(STORED, CROP) if ten else center_crop(STORED, CROP)[None]
        whole = torch.stack([plainly(model, images, layer, pool, cut) for cut in cuts], 1)
        torch.testing.assert_close(kept[layer], whole if ten else whole[:, 0])


class Columns(nn.Module):
    """Tokens in columns of a grid, which are not recognized."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 2, stride=(2, 4))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x).transpose(2, 3).flatten(2).transpose(1, 2))


def test_axes_that_were_given(memory_images: Images, tmp_path: Path) -> None:
    """Maps are pooled along them: here a grid of 2 columns with 4 rows."""
    images, model = memory_images(3), Columns()

    def ask(pool: int) -> Tensor:
        return cached_features(model, prepared(images), images, ["act"], tmp_path, pool)["act"]

    with pytest.raises(InputError, match="is unknown: give them"):
        ask(2)
    offsets = center_crop(STORED, CROP).expand(3, -1)
    with torch.no_grad():
        tokens = model(prepared(images)(images.images, torch.arange(3), offsets))
    for axes, grid in (("BTC@2x4", (2, 4)), ("BTC@4x2", (4, 2))):
        set_axes(model, "act", axes)
        expected = F.adaptive_avg_pool2d(tokens.transpose(1, 2).unflatten(2, grid), 2)
        torch.testing.assert_close(ask(2), expected.flatten(1))


def test_one_pass_for_what_is_missing_and_none_for_what_is_kept(
    memory_images: Images, tmp_path: Path, passes: list[list[str]]
) -> None:
    images = memory_images(9)

    def ask(
        model: nn.Module, *layers: str, seen: ImageStore = images, **options: Any
    ) -> dict[str, Tensor]:
        return cached_features(
            model, prepared(seen), seen, layers, tmp_path, batch_size=4, **options
        )

    first = ask(net(), "conv1", "conv2")
    again = ask(net(classes=12), "conv2", "fc3", "conv1")  # another head is behind all of them
    assert torch.equal(first["conv2"], again["conv2"])
    ask(net(), "conv1", pool=99)  # no map is larger
    assert passes == [["conv1", "conv2"], ["fc3"]]
    ask(net(), "conv2", pool=1)
    ask(net(), "conv2", crops="ten")
    other = net()
    with torch.no_grad():
        other.conv2.conv.weight[0, 0, 0, 0] += 1
    ask(other, "conv1", "conv2", "fc3")
    assert passes[2:] == [["conv2"], ["conv2"], ["conv2", "fc3"]]  # conv1 is before what changed
    ask(net(conv1=Conv(4, kernel=3)), "conv2")  # the same weights without the normalisation
    ask(net(), "conv2", seen=memory_images(9, seed=1))
    ask(net(), "conv2", seen=memory_images(8))
    assert passes[5:] == [["conv2"]] * 3


def test_nothing_behind_the_last_layer_runs(memory_images: Images, tmp_path: Path) -> None:
    images, model = memory_images(40), net()
    runs = []
    model.conv1.conv.register_forward_hook(lambda *_: runs.append("conv1"))
    model.conv2.pool.register_forward_hook(lambda *_: runs.append("behind conv2"))
    cached_features(model, prepared(images), images, ["conv2"], tmp_path, batch_size=4)
    assert runs.count("conv1") == runs.count("behind conv2") + 10


class Stopped(Exception):
    pass


@pytest.mark.parametrize("stop", [1, 2, 5])
def test_a_pass_that_was_stopped_goes_on(
    memory_images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    images = memory_images(22)
    monkeypatch.setattr(feature_extraction, "SAVED_EVERY", -1)
    write, batches = feature_extraction.FeatureExtractor.write, []

    def stopping(self: Any, batch: Any, *rest: Any) -> None:
        if len(batches) == stop:
            raise Stopped
        batches.append(batch.indices.tolist())
        write(self, batch, *rest)

    monkeypatch.setattr(feature_extraction.FeatureExtractor, "write", stopping)

    def ask(where: Path, *layers: str) -> dict[str, Tensor]:
        return cached_features(net(), prepared(images), images, layers, where, batch_size=4)

    with pytest.raises(Stopped):
        ask(tmp_path, "conv1", "fc3")
    monkeypatch.setattr(feature_extraction.FeatureExtractor, "write", write)
    starts = []
    monkeypatch.setattr(
        feature_extraction.FeatureExtractor,
        "write",
        lambda self, batch, *rest: (
            starts.append(int(batch.indices[0])),
            write(self, batch, *rest),
        ),
    )
    kept = ask(tmp_path, "conv1", "fc3")
    assert starts[0] == 4 * stop
    whole = ask(tmp_path / "whole", "conv1", "fc3")
    assert all(torch.equal(kept[layer], whole[layer]) for layer in kept)
    (lost, *_) = sorted(tmp_path.glob("*.f32"))
    lost.unlink()
    again = ask(tmp_path, "conv1", "fc3")
    assert all(torch.equal(again[layer], whole[layer]) for layer in kept)


def test_bad_input(memory_images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, model = memory_images(5), net()
    with pytest.raises(InputError, match="layer 'conv9' is not in ConvNet"):
        cached_features(model, prepared(images), images, ["conv9"], tmp_path)
    with pytest.raises(InputError, match="pool=0"):
        cached_features(model, prepared(images), images, ["conv1"], tmp_path, pool=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/features: Not a directory"):
        cached_features(model, prepared(images), images, ["conv1"], tmp_path / "file" / "features")
    monkeypatch.setattr(
        feature_cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100})
    )
    with pytest.raises(InputError, match=r"need 2,880 bytes and 100 are free"):
        cached_features(model, prepared(images), images, ["conv1"], tmp_path)
    monkeypatch.undo()
    with torch.no_grad():
        model.conv1.conv.bias[1] = torch.nan
    with pytest.raises(InputError, match="layer 'conv2' is not a number for image 0"):
        cached_features(model, prepared(images), images, ["conv2"], tmp_path)


class Odd(nn.Module):
    """Depends on plain attributes, a function, an object, a global and a tensor that is no
    buffer."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)
        self.gain, self.options, self.f, self.shift = 1.0, {"power": [1]}, F.relu, torch.zeros(1)
        for name, value in given.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x * self.gain + self.shift) ** self.options["power"][0] * SCALE["now"]
        return self.f(x).mean((2, 3))


SCALE = {"now": 1.0}
ODD: dict[str, dict[str, Any]] = {
    "a number": {"gain": 5.0},
    "a number that shows little": {"gain": 1.00001},
    "within a dict": {"options": {"power": [2]}},
    "a tensor": {"shift": torch.ones(1)},
}


@pytest.mark.parametrize("name", ODD)
def test_plain_attributes_are_in_the_name(memory_images: Images, tmp_path: Path, name: str) -> None:
    images = memory_images(6)

    def ask(model: nn.Module, where: Path) -> Tensor:
        return cached_features(model, prepared(images), images, ["conv"], where)["conv"]

    plain, changed = ask(Odd(), tmp_path).clone(), ask(Odd(**ODD[name]), tmp_path)
    assert torch.equal(changed, ask(Odd(**ODD[name]), tmp_path / "other"))
    assert torch.equal(plain, ask(Odd(), tmp_path))


def test_what_no_attribute_says_shows_in_the_first_picture(
    memory_images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: list[list[str]]
) -> None:
    """A global: another file, found again; a hook is an attribute."""
    images = memory_images(6)

    def ask(where: Path = tmp_path) -> Tensor:
        model = nn.Sequential(Odd())
        return cached_features(model, prepared(images), images, ["0"], where)["0"]

    first = ask().clone()
    monkeypatch.setitem(SCALE, "now", 2.0)
    second = ask().clone()
    assert torch.equal(second, ask(tmp_path / "other"))
    assert not torch.equal(first, second)
    monkeypatch.setitem(SCALE, "now", 1.0)
    assert torch.equal(ask(), first)
    monkeypatch.setitem(SCALE, "now", 2.0)
    assert torch.equal(ask(), second)
    assert len(passes) == 3
