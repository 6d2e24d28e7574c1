"""A study that was stopped goes on with the same net, images and settings only."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from zfnet import progress_file
from zfnet.data.batches import Batch
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData
from zfnet.models.snapshot import net_fingerprint
from zfnet.progress_file import ProgressFile
from zfnet.studies import layer_probe, overlap, top_activations
from zfnet.studies.inputs import load_data, load_model

Compose = Callable[..., DictConfig]
Look = Callable[..., ModelOnData]


@pytest.fixture
def look(composed: Compose, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Look:
    """What analyze.py looks at with some words."""
    stores = tmp_path_factory.getbasetemp() / "stores"

    def subject(*words: str, ckpt: Path = checkpoint) -> ModelOnData:
        few = "data=creatures_few" in words
        counts = [] if few else ["data.source.train=14", "data.source.val=14"]
        # A store for each number of images.
        own = "-".join(word for word in words if "source" in word)
        small = [f"data.store_dir='{stores}/{own}'", f"ckpt={ckpt}", *counts]
        return load_model(composed(*small, "data.batch_size=4", *words, root="analyze"))

    return subject


@pytest.fixture
def other(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint of the same net with one weight changed."""
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["net.conv1.conv.weight"][0, 0, 0, 0] += 1
    torch.save(content, tmp_path / "other.ckpt")
    return tmp_path / "other.ckpt"


@pytest.fixture
def stopped_search(look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a search that was stopped after two batches."""
    folder, read, shown = tmp_path / "search", ModelOnData.preprocess, []
    folder.mkdir()

    def preprocess(self: ModelOnData, batch: Batch) -> torch.Tensor:
        shown.append(batch)
        if len(shown) == 3:
            raise KeyboardInterrupt
        return read(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(progress_file, "SAVED_EVERY", -1)
        patch.setattr(ModelOnData, "preprocess", preprocess)
        with pytest.raises(KeyboardInterrupt):
            top_activations.TopActivationSearch(["conv1"], channels=2, k=3).run(look(), folder)
    return folder


def search(subject: ModelOnData, folder: Path, layer: str = "conv1", k: int = 3) -> None:
    top_activations.TopActivationSearch([layer], channels=2, k=k).run(subject, folder)


def test_a_search_goes_on_with_the_same_only(look: Look, other: Path, stopped_search: Path) -> None:
    state = (stopped_search / "search_0.begun.pt").read_bytes()
    for subject, change, says in (
        (look(ckpt=other), {}, "was made with net=ConvNet "),
        (look("split=train"), {}, r"was made with data\.images=14 of creatures"),
        (look("data.source.val=13"), {}, r"was made with data\.images=14 of creatures"),
        (
            look(),
            {"k": 4},
            "was made with k=3, and this run has k=4; give the same settings, or delete it",
        ),
        (look(), {"layer": "conv2"}, r"was made with layers=\['conv1'\]"),
    ):
        with pytest.raises(InputError, match=says):
            search(subject, stopped_search, **change)  # type: ignore[arg-type]
        assert (stopped_search / "search_0.begun.pt").read_bytes() == state
    search(look(), stopped_search)
    assert not (stopped_search / "search_0.begun.pt").exists()


def test_other_weights_at_the_same_path(
    look: Look, other: Path, stopped_search: Path, checkpoint: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.ckpt"
    copy.write_bytes(checkpoint.read_bytes())
    before = look(ckpt=copy).fingerprint()
    copy.write_bytes(other.read_bytes())
    with pytest.raises(InputError, match="was made with net="):
        search(look(ckpt=copy), stopped_search)
    copy.write_bytes(checkpoint.read_bytes())
    assert look(ckpt=copy).fingerprint() == before
    search(look(ckpt=copy), stopped_search)  # the weights count, not the path


DAMAGED: list[Callable[[dict[str, Any]], Any]] = [
    lambda kept: kept["found"].pop("tops"),
    lambda kept: kept["found"].update(seen=-1),
    lambda kept: kept["found"].update(seen=10**6),
    lambda kept: kept["found"].update(seen="8"),
    lambda kept: kept["found"]["tops"].pop("conv1"),
    lambda kept: kept["found"]["tops"]["conv1"].pop("y"),
    lambda kept: kept["found"]["tops"]["conv1"]["values"].fill_(torch.nan),
    lambda kept: kept["found"]["tops"]["conv1"].update(values=torch.zeros(3)),
    lambda kept: kept["found"]["tops"]["conv1"]["images"].fill_(10**6),
    lambda kept: kept["found"]["tops"]["conv1"].update(x=torch.zeros(8, 3)),
    lambda kept: kept.update(fingerprint=3),
    lambda kept: kept.pop("found"),
]


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_search_is_one_line(
    look: Look, stopped_search: Path, damage: Callable[[dict[str, Any]], Any]
) -> None:
    kept = torch.load(stopped_search / "search_0.begun.pt", weights_only=True)
    damage(kept)
    torch.save(kept, stopped_search / "search_0.begun.pt")
    with pytest.raises(
        InputError, match=r"search_0\.begun\.pt: is damaged \(.*\); delete it to start again"
    ):
        search(look(), stopped_search)


def test_a_probe_goes_on_with_the_same_only(
    look: Look, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ["data=creatures_few", "data.images_per_class=3", "data.test_per_class=6"]
    words = [*few, "data.classes=[dog,car]"]

    def probe(
        subject: ModelOnData, seed: int = 0, strengths: tuple[float, ...] = (0.1, 10)
    ) -> None:
        layer_probe.LayerProbe([3], 1, ["fc7"], None, ["svm"], list(strengths), seed).run(
            subject, tmp_path
        )

    with monkeypatch.context() as patch:
        patch.setattr(
            layer_probe, "draw_probe", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            probe(look(*words))
    for subject, change, says in (
        (look(*words, ckpt=other), {}, "was made with net="),
        (look(*few, "data.classes=[dog,fish]"), {}, r"was made with data\.classes="),
        (look(*words), {"seed": 1}, "was made with seed=0, and this run has seed=1"),
        (look(*words), {"strengths": (1,)}, "was made with strengths="),
    ):
        with pytest.raises(InputError, match=says):
            probe(subject, **change)  # type: ignore[arg-type]
    probed = tmp_path / "probed_0.json"
    whole = probed.read_text()
    probed.write_text(whole.replace('"accuracy": ', '"accuracy": 1'))
    with pytest.raises(InputError, match=r"probed_0\.json: is damaged"):
        probe(look(*words))
    probed.write_text(whole)
    monkeypatch.setattr(layer_probe, "fit_linear_probe", None)  # nothing is left to fit
    probe(look(*words))
    assert not probed.exists()


def test_small_images_are_of_one_data_set(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compare(*words: str, threshold: float = 0.8) -> None:
        small = [
            f"data.store_dir={tmp_path}/stores{len(words)}",
            "data.image_size=48",
            "data.source.val=6",
        ]
        data = load_data(composed("data.source.train=9", *small, *words, root="analyze"))
        overlap.Overlap(None, threshold).run(data, tmp_path)

    with monkeypatch.context() as patch:
        patch.setattr(overlap, "overlap_sheet", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            compare()
    with pytest.raises(
        InputError, match=r"was made with train\.images=9 of train.*run has train\.images=8 of"
    ):
        compare("data.source.train=8")
    with pytest.raises(
        InputError, match=r"was made with threshold=0\.8, and this run has threshold=0\.7"
    ):
        compare(threshold=0.7)
    begun = (tmp_path / "search.json").read_bytes()
    (tmp_path / "search.json").unlink()
    with pytest.raises(
        InputError, match=r"train\.small: search\.json, which says what it is of, is missing"
    ):
        compare()
    (tmp_path / "search.json").write_bytes(begun)
    state = torch.load(tmp_path / "search_train_0.pt", weights_only=True)
    for found in (9, [], [torch.zeros(2)] * 4, [torch.tensor([99])] * 4):
        torch.save({**state, "found": found}, tmp_path / "search_train_0.pt")
        with pytest.raises(InputError, match=r"search_train_0\.pt: is damaged"):
            compare()
    torch.save(state, tmp_path / "search_train_0.pt")
    compare()
    assert not list(tmp_path.glob("search*"))


def test_what_a_net_is() -> None:
    """Its modules, their plain attributes and all tensors count."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    before = net_fingerprint(net)
    assert net_fingerprint(net.eval()) == before
    changes: list[Callable[[], Any]] = [
        lambda: setattr(net[0], "stride", (2, 2)),
        lambda: setattr(net[1], "eps", 1e-3),
        lambda: net[1].running_mean.add_(1),  # type: ignore[operator, union-attr]
        lambda: net[0].weight.data.mul_(2),  # type: ignore[operator, union-attr]
        lambda: net.append(torch.nn.ReLU()),
    ]
    for change in changes:
        change()
        after = net_fingerprint(net)
        assert after != before
        before = after


def test_an_earlier_versions_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "probed_0.json").write_text('{"settings": {}, "found": {}}')
    with pytest.raises(InputError, match="it does not say what it was made with"):
        ProgressFile(tmp_path / "probed_0.json", {}).load(dict)
    assert ProgressFile(tmp_path / "nothing.pt", {}).load(dict) is None
    file = ProgressFile(tmp_path / "a.pt", {"k": 1})
    file.save({"x": torch.ones(2)})
    assert file.load(dict)["x"].tolist() == [1, 1]  # type: ignore[index]
