"""Figure 4's winners are those of a search by hand, and a stopped run goes on exactly."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

import callbacks.feature_evolution
from callbacks import DeconvnetDump, FeatureEvolution
from tests.helpers.commands import Commands
from zfnet.data.batches import Batches
from zfnet.deconv import convolutions, random_subset
from zfnet.errors import InputError
from zfnet.training import Classifier
from zfnet.viz import evolution_sheet, figure_epochs

Runs = Callable[..., tuple[Trainer, Classifier]]


@pytest.fixture
def run(
    tiny_classifier: Callable[..., Classifier],
    tiny_data: Callable[..., LightningDataModule],
    tiny_trainer: Callable[..., Trainer],
) -> Runs:
    def go(
        *extra: Callback,
        net: nn.Module | None = None,
        data: LightningDataModule | None = None,
        resume: Path | None = None,
        **options: Any,
    ) -> tuple[Trainer, Classifier]:
        model = tiny_classifier(lr=0.3, seed=2)
        model.net = net or model.net
        trainer = tiny_trainer(callbacks=list(extra), **options)
        trainer.fit(model, datamodule=data or tiny_data(), ckpt_path=resume, weights_only=True)
        return trainer, model

    return go


def evaluation(folder: Path, epoch: int) -> dict[str, Any]:
    return torch.load(folder / "evolution" / f"epoch_{epoch:03d}.pt", weights_only=True)["winners"]


def told(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return json.loads((folder / "evolution.json").read_text())


def logged(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    return events


@torch.no_grad()
def first_layer(model: Classifier, images: Any) -> Tensor:
    """The units of conv1 for all pictures at the centre crop, (N, 4, H, W)."""
    rows = torch.arange(len(images))
    inputs = model.prepare(images.images, rows, torch.tensor([[2, 2, 0]]).expand(len(rows), 3))
    return model.net.conv1.conv(inputs).relu()


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_winners_are_those_of_a_search_by_hand(run: Runs, tmp_path: Path, share: float) -> None:
    """For half of the pictures, half of them by lot; each with its place, its filter and its
    pixels."""
    trainer, model = run(FeatureEvolution(str(tmp_path), channels=3, share=share))
    found = evaluation(tmp_path, 1)["conv1"]
    images = trainer.datamodule.images["train"]
    among = random_subset(12, round(12 * share))
    assert found["searched"] == len(among) == len(set(among.tolist()))
    units = first_layer(model, images)[among].flatten(2)  # (N, 4, H * W)
    for m in range(4):
        best = int(units[:, m].amax(1).argmax())
        place = int(units[best, m].argmax())
        assert found["ids"][m] == images.ids[int(among[best])]
        assert (found["y"][m], found["x"][m]) == (place // 6, place % 6)
        torch.testing.assert_close(found["values"][m], units[best, m, place])
    assert found["channels"].tolist() == random_subset(4, 3).tolist()
    assert found["projections"].shape == found["patches"].shape == (3, 1, 3, 3, 3)
    for m, picture, patch in zip(
        found["channels"], found["projections"][:, 0], found["patches"][:, 0], strict=True
    ):
        weight = model.net.conv1.conv.weight[m].detach()
        torch.testing.assert_close(
            picture.float(), weight / weight.abs().max(), rtol=0, atol=2**-11
        )
        y, x, pixels = found["y"][m] + 2, found["x"][m] + 2, images.images[int(found["ids"][m])]
        assert torch.equal(patch, pixels[y : y + 3, x : x + 3].permute(2, 0, 1))


def test_the_search_runs_in_the_trainers_precision_and_the_projection_does_not(
    run: Runs, tmp_path: Path
) -> None:
    _, model = run(FeatureEvolution(str(tmp_path)), precision="bf16-mixed")
    found = evaluation(tmp_path, 1)["conv1"]
    assert torch.equal(found["values"], found["values"].bfloat16().float())
    weights = model.net.conv1.conv.weight.detach()
    expected = weights / weights.abs().amax((1, 2, 3), keepdim=True)
    torch.testing.assert_close(found["projections"][:, 0].float(), expected, rtol=0, atol=2**-11)


def test_what_is_logged(run: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips and costs each epoch; from the second on the share of all maps that changed, and those
    drawn by name. The same ones are framed, in the strips and in the figure."""
    framed: list[list[list[bool]]] = []

    def sheet(*arguments: Any) -> Tensor:
        framed.append(arguments[5].tolist())
        return evolution_sheet(*arguments)

    monkeypatch.setattr(callbacks.feature_evolution, "evolution_sheet", sheet)
    logger = TensorBoardLogger(tmp_path, name="", version="")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 3))
    run(FeatureEvolution(str(tmp_path), ["1"], channels=6), net=net, logger=logger, max_epochs=4)
    events, winners = logged(tmp_path), [evaluation(tmp_path, epoch)["1"] for epoch in (1, 2, 3, 4)]
    assert [event.step for event in events.Images("evolution/1")] == [3, 6, 9, 12]
    assert [event.step for event in events.Scalars("evolution_seconds")] == [3, 6, 9, 12]
    assert all(event.value > 0 for event in events.Scalars("evolution_seconds"))
    changed, lines, frames = {}, {}, [[False] * 6]
    for step, before, now in zip((6, 9, 12), winners[:-1], winners[1:], strict=True):
        pairs = list(zip(before["ids"], now["ids"], strict=True))
        changed[step] = sum(a != b for a, b in pairs) / 16
        frames.append([pairs[m][0] != pairs[m][1] for m in now["channels"].tolist()])
        jumps = [
            f"channel {m}: {a} → {b}"
            for m, (a, b) in enumerate(pairs)
            if a != b and m in now["channels"]
        ]
        if jumps:
            lines[step] = jumps
    assert {event.step: event.value for event in events.Scalars("evolution_changed/1")} == changed
    texts = {
        event.step: event.tensor_proto.string_val[0].decode().split("  \n")
        for event in events.Tensors("evolution_jumps/1/text_summary")
    }
    assert texts == lines
    assert lines  # some did
    *strips, figure = framed
    assert strips == [[[frame] for frame in column] for column in frames]
    assert figure == [list(row) for row in zip(*frames, strict=True)]


def test_the_story_and_the_figure(run: Runs, tmp_path: Path) -> None:
    run(FeatureEvolution(str(tmp_path), channels=3, epochs=[1, 3, 9]), max_epochs=4)
    files = {path.name for path in (tmp_path / "evolution").iterdir()}
    assert files == {"epoch_001.pt", "epoch_003.pt", "conv1.png"}
    first, third = (evaluation(tmp_path, epoch)["conv1"] for epoch in (1, 3))
    story = told(tmp_path)["conv1"]
    assert [entry["epoch"] for entry in story] == [1, 3]
    different = [a != b for a, b in zip(first["ids"], third["ids"], strict=True)]
    assert [entry["changed"] for entry in story] == [None, sum(different) / 4]
    for entry, found in zip(story, (first, third), strict=True):
        assert list(map(int, entry["maps"])) == found["channels"].tolist()
        for m, winner in entry["maps"].items():
            assert winner == {
                "image": found["ids"][int(m)],
                **{
                    name: found[name[:6] + "s" * (name == "value")][int(m)].item()
                    for name in ("y", "x", "value")
                },
            }
    nothing = torch.zeros(3, 2, 3, 3, 3)
    title = "conv1: the strongest activation among 12 images"
    size = evolution_sheet(
        title, [1, 3], [0, 1, 2], nothing, nothing, torch.zeros(3, 2, dtype=torch.bool)
    )
    with Image.open(tmp_path / "evolution" / "conv1.png") as picture:
        assert np.asarray(picture).shape == size.shape


@pytest.mark.parametrize(
    ("evaluated", "shown"),
    [
        ([3], [3]),
        (range(1, 11), range(1, 11)),
        (range(1, 71), [1, 2, 5, 10, 20, 30, 40, 64, 70]),
        (range(1, 13), [1, 2, 5, 10, 12]),
        (range(3, 46, 3), [3, 9, 12, 18, 21, 27, 30, 36, 39, 45]),
    ],
)
def test_a_figure_has_at_most_ten_columns(evaluated: range, shown: range) -> None:
    assert figure_epochs(evaluated) == list(shown)


# Training does not notice

BOTH = [
    lambda folder: FeatureEvolution(folder, share=0.5),
    lambda folder: DeconvnetDump(folder, every_n_epochs=1),
]


def draw(*_: object) -> None:
    """A forward hook: random numbers in whatever pass."""
    torch.rand(3)


class Draws(Callback):
    """What the generator gives after each epoch."""

    def __init__(self) -> None:
        self.drawn: list[float] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.drawn.append(torch.rand(()).item())


@pytest.mark.parametrize("make", BOTH)
def test_weights_and_random_numbers_are_those_of_training_alone(
    run: Runs,
    tiny_classifier: Callable[..., Classifier],
    tmp_path: Path,
    make: Callable[..., Callback],
) -> None:
    results = []
    for extra in ([], [make(str(tmp_path))]):
        net = tiny_classifier().net
        net.conv1.register_forward_hook(draw)
        draws = Draws()
        _, model = run(*extra, draws, net=net, max_epochs=3, precision="bf16-mixed")
        results.append((draws.drawn, model.state_dict()))
    (alone, plain), (beside, watched) = results
    assert alone == beside
    assert len(set(alone)) == 3
    assert plain.keys() == watched.keys()
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


@pytest.mark.parametrize("make", BOTH)
def test_nothing_is_left_on_the_net(
    run: Runs, tmp_path: Path, make: Callable[..., Callback]
) -> None:
    trainer, model = run()
    model.train()
    model.net.fc2.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    model.zero_grad()
    callback = make(str(tmp_path))
    callback.on_fit_start(trainer, model)
    callback.on_train_epoch_end(trainer, model)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in model.net.modules()
    )
    assert torch.is_grad_enabled()
    assert list(tmp_path.iterdir())


# A run that stops and goes on


class Keep(Checkpoint):
    """The state after an epoch, at the moment at which ModelCheckpoint writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch + 1}.ckpt")


@pytest.fixture
def whole(run: Runs, tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """Four epochs straight, with a checkpoint after each: the folder, and the weights at its
    end."""
    folder = tmp_path / "whole"
    options = {"max_epochs": 4, "enable_checkpointing": True}
    _, model = run(FeatureEvolution(str(folder)), Keep(tmp_path), **options)
    return folder, model.state_dict()


@pytest.mark.parametrize("went_further", [False, True])
def test_a_resumed_run_tells_the_same_story(
    run: Runs, whole: tuple[Path, dict[str, Tensor]], tmp_path: Path, went_further: bool
) -> None:
    """Also where files of epochs that it repeats are there, of another course of things."""
    folder, weights = whole
    before, later = tmp_path / "resumed" / "evolution", (3, 4)
    before.mkdir(parents=True)
    for epoch in (1, 2, *later):
        shutil.copy(folder / "evolution" / f"epoch_{epoch:03d}.pt", before)
    for path in (before / f"epoch_{epoch:03d}.pt" for epoch in later):
        other = torch.load(path, weights_only=True)
        other["winners"]["conv1"]["ids"] = ["another"] * 4
        torch.save(other, path)
        if not went_further:
            path.unlink()
    logger = TensorBoardLogger(before.parent, name="", version="")
    callback = FeatureEvolution(str(before.parent))
    _, model = run(callback, max_epochs=4, resume=tmp_path / "2.ckpt", logger=logger)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert (before.parent / "evolution.json").read_text() == (folder / "evolution.json").read_text()
    assert (before / "conv1.png").read_bytes() == (folder / "evolution" / "conv1.png").read_bytes()
    changed = [entry["changed"] for entry in told(folder)["conv1"]]
    events = logged(before.parent).Scalars("evolution_changed/conv1")
    assert [event.value for event in events] == changed[2:]
    assert not list(before.glob("*.tmp"))


def test_evaluations_of_version_0_1_are_read(
    run: Runs, whole: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    folder, _ = whole
    story = (folder / "evolution.json").read_text()
    for path in (folder / "evolution").glob("*.pt"):
        content = torch.load(path, weights_only=True)
        content["settings"]["maps"] = content["settings"].pop("channels")
        winners = content["winners"]["conv1"]
        winners["maps"], winners["pictures"] = winners.pop("channels"), winners.pop("projections")
        torch.save(content, path)
    (folder / "evolution.json").unlink()
    run(FeatureEvolution(str(folder)), max_epochs=4, resume=tmp_path / "4.ckpt")
    assert (folder / "evolution.json").read_text() == story


def test_a_run_that_was_at_its_end_still_gets_its_figure(
    run: Runs, whole: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    folder, _ = whole
    story = (folder / "evolution.json").read_text()
    (folder / "evolution.json").unlink()
    run(FeatureEvolution(str(folder)), max_epochs=4, resume=tmp_path / "4.ckpt")
    assert (folder / "evolution.json").read_text() == story
    run(FeatureEvolution(str(tmp_path / "new")), max_epochs=4, resume=tmp_path / "4.ckpt")
    assert not (tmp_path / "new").exists()  # nothing was seen of that run


def test_evaluations_of_other_settings_are_not_compared(
    run: Runs, whole: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    folder, _ = whole
    run(FeatureEvolution(str(folder), channels=2), max_epochs=4, resume=tmp_path / "2.ckpt")
    assert [(entry["epoch"], len(entry["maps"])) for entry in told(folder)["conv1"]] == [
        (3, 2),
        (4, 2),
    ]


# Nets that diverge, are dead, or cannot be read


class Poison(Callback):
    """One process's convolutions give `value` times what they gave, from an epoch's validation to
    the next epoch."""

    def __init__(self, value: float, epoch: int, layer: str = "conv1", rank: int = 0) -> None:
        self.value, self.epoch, self.layer, self.rank = value, epoch, layer, rank
        self.active = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        convolution = pl_module.net.get_submodule(self.layer).conv
        convolution.register_forward_hook(lambda *io: io[-1] * self.value if self.active else None)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        here = (trainer.current_epoch + 1, trainer.global_rank) == (self.epoch, self.rank)
        self.active = here and not trainer.sanity_checking

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.active = False


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    with caplog.at_level(logging.WARNING, logger="callbacks.feature_search"):
        yield lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(("value", "what"), [(float("nan"), "not a number"), (float("inf"), "")])
def test_a_diverged_net_trains_on(
    run: Runs, tmp_path: Path, warnings: Callable[[], list[str]], value: float, what: str
) -> None:
    """Epoch 2 is left out, also where a run that went further had left its file."""
    stale = tmp_path / "evolution" / "epoch_002.pt"
    stale.parent.mkdir()
    stale.touch()
    trainer, _ = run(FeatureEvolution(str(tmp_path)), Poison(value, epoch=2), max_epochs=3)
    assert trainer.global_step == 9
    (line,) = warnings()
    assert "step 6" in line
    assert "layer 'conv1'" in line
    assert what in line
    assert not stale.exists()
    assert [entry["epoch"] for entry in told(tmp_path)["conv1"]] == [1, 3]


def test_an_infinite_activation_is_no_winner(
    run: Runs, tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    run(FeatureEvolution(str(tmp_path)), Poison(1e38, epoch=1))
    assert warnings() == [
        "feature_evolution at step 3: nothing is drawn: layer 'conv1' is infinite"
    ]
    assert not (tmp_path / "evolution.json").exists()


def test_what_excites_no_map_is_grey(run: Runs, tmp_path: Path) -> None:
    trainer, model = run()
    nn.init.zeros_(model.net.conv1.conv.weight)
    nn.init.constant_(model.net.conv1.conv.bias, -1)
    callback = FeatureEvolution(str(tmp_path))
    callback.on_fit_start(trainer, model)
    callback.on_train_epoch_end(trainer, model)
    found = evaluation(tmp_path, 2)["conv1"]
    assert found["ids"] == ["0"] * 4  # of equal ones the first
    assert not found["values"].any()
    assert not found["projections"].any()
    assert (found["patches"] == 128).all()


def test_pixels_beyond_the_border_are_grey(run: Runs, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 3))
    trainer, _ = run(FeatureEvolution(str(tmp_path), layers=["1"], channels=16), net=net)
    found = evaluation(tmp_path, 1)["1"]
    beyond = 0
    for m, patch in zip(found["channels"], found["patches"][:, 0], strict=True):
        pixels = trainer.datamodule.images["train"].images[int(found["ids"][m])][2:10, 2:10]
        padded = nn.functional.pad(pixels.permute(2, 0, 1), (2, 2, 2, 2), value=128)
        y, x = found["y"][m], found["x"][m]
        assert torch.equal(patch, padded[:, y : y + 5, x : x + 5])
        beyond += bool(y < 2 or x < 2 or y > 5 or x > 5)
    assert beyond


def test_layers_of_other_nets(run: Runs, tmp_path: Path, warnings: Callable[[], list[str]]) -> None:
    """Up to five layers evenly spread; those without a deconvnet are named and left out."""
    many = nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(12)])
    assert convolutions(many) == ["0", "3", "6", "8", "11"]
    assert convolutions(nn.Sequential(nn.Conv2d(3, 3, 1))) == ["0"]
    assert convolutions(nn.Linear(2, 2)) == []
    head = [nn.Flatten(), nn.Linear(256, 3)]
    convs = [nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)]
    net = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.Sigmoid(), *head)
    run(FeatureEvolution(str(tmp_path)), net=net)
    (line,) = warnings()
    assert "layer 3 is left out" in line
    assert "sigmoid" in line.lower()
    assert list(told(tmp_path)) == ["1"]
    with pytest.raises(InputError, match=r"(?i)sigmoid"):
        run(FeatureEvolution(str(tmp_path), layers=["3"]), net=net)


def test_a_net_without_convolutions_has_no_features(
    run: Runs, tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    run(
        FeatureEvolution(str(tmp_path)),
        DeconvnetDump(str(tmp_path)),
        net=nn.Sequential(nn.Flatten(), nn.Linear(192, 3)),
    )
    assert all("no module gives the activation of a convolution" in line for line in warnings())
    assert not list(tmp_path.iterdir())


class Unordered(LightningDataModule):
    """Batches, but no sources."""

    def __init__(self, data: Any) -> None:
        super().__init__()
        self.images, self.data = data.images, data

    def train_dataloader(self) -> Batches:
        return self.data.train_dataloader()

    def val_dataloader(self) -> Batches:
        return self.data.val_dataloader()


class Started(Callback):
    """Fails when the first batch is trained on."""

    def on_train_batch_start(self, *_: object) -> None:
        raise AssertionError("training has begun")


@pytest.mark.parametrize("callback", [FeatureEvolution, DeconvnetDump])
def test_what_cannot_be_looked_at_is_said_before_training(
    run: Runs,
    tiny_data: Callable[..., LightningDataModule],
    tmp_path: Path,
    callback: type[Callback],
) -> None:
    with pytest.raises(InputError, match="'conv7' is not in ConvNet: it has conv1, fc2, fc3"):
        run(callback(str(tmp_path), layers=["conv1", "conv7"]), Started())
    with pytest.raises(InputError, match="data module with images, sources and batch_size"):
        run(callback(str(tmp_path)), Started(), data=Unordered(tiny_data()))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layers": []}, "layers is empty"),
        ({"channels": 0}, "channels=0"),
        ({"epochs": []}, r"epochs=\[\]"),
        ({"epochs": [0, 1]}, r"epochs=\[0, 1\]"),
        ({"share": 0.0}, "share=0.0"),
        ({"share": 1.1}, "share=1.1"),
        ({"share": float("nan")}, "share=nan"),
    ],
)
def test_impossible_arguments(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"feature_evolution.{words}"):
        FeatureEvolution("folder", **arguments)


# Two processes

EDITS = [
    *(f"conv{i}:{{channels:8}}" for i in range(1, 6)),
    "fc6:{units:16,dropout:0}",
    "fc7:{units:16,dropout:0}",
]


def trained(commands: Commands, folder: Path, stores: Path, *overrides: str) -> str:
    """What train.py prints on 32 small pictures."""
    data = ["data.source.train=32", "data.source.val=13", "data.image_size=48", "data.batch_size=8"]
    few = [
        "callbacks=[checkpoint,feature_evolution,deconvnet_dump]",
        "trainer.max_epochs=2",
        "test=false",
        f"model.edit={{{','.join(EDITS)}}}",
        "optimizer.lr=0.001",
    ]
    places = [f"hydra.run.dir={folder}", f"data.store_dir={stores}"]
    done = commands.run("train.py", [*places, *data, *few, *overrides, "trainer.precision=32-true"])
    assert done.status == 0, done.output + done.errors
    return done.output


def test_two_processes_find_what_one_finds(commands: Commands, tmp_path: Path) -> None:
    """And skip an epoch together where one of them alone meets what is no number."""
    one, two = tmp_path / "one", tmp_path / "two"
    trained(commands, one, tmp_path)
    target = f"tests.callbacks.test_feature_evolution.{Poison.__name__}"
    poison = f"_target_:{target},value:nan,epoch:1,layer:conv3,rank:1"
    output = trained(commands, two, tmp_path, "trainer=ddp_cpu", f"+callbacks.poison={{{poison}}}")
    assert (
        output.count("feature_evolution at step 4: nothing is drawn: layer 'conv3' is not a number")
        == 1
    )
    alone, together = told(one), told(two)
    assert list(alone) == list(together) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    for layer in alone:
        assert [entry["epoch"] for entry in together[layer]] == [2]
        for ours, theirs in zip(together[layer], alone[layer][1:], strict=True):
            for m, winner in theirs["maps"].items():
                assert winner["value"] == pytest.approx(
                    ours["maps"][m].pop("value"), rel=1e-3, abs=1e-6
                )
                winner.pop("value")
            assert ours["maps"] == theirs["maps"]
        assert (two / "top_activations" / f"{layer}.png").exists()
    assert evaluation(two, 2)["conv1"]["searched"] == 8  # a quarter of 32
