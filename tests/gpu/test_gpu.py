"""A GPU gives what the CPU gives (make test-gpu); without one, the CPU is compared with itself."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from tests.helpers.compare_runs import same
from tests.helpers.learning import learning
from zfnet.analysis.occlusion.sweep import occlusion_sweep
from zfnet.data.image_store import ImageStore
from zfnet.data.preprocessing import Preprocessing
from zfnet.deconv import Deconvnet, Unit, top_activations
from zfnet.models import Conv, ConvNet, Linear, Pool
from zfnet.probing.feature_extraction import cached_features
from zfnet.training.classifier import Classifier
from zfnet.training.compilation import compile_for_training

SIDE = 24
TABLE = {
    "conv1": Conv(8, kernel=5, stride=2, padding=1, pool=Pool(3, 2), normalize=True),
    "conv2": Conv(12, kernel=3, padding=1, pool=Pool(3, 2)),
    "fc3": Linear(16),
    "fc4": Linear(activation=False),
}
LAYERS = ["conv1", "conv2"]
TRAINED = {
    "conv1": Conv(8, kernel=3, pool=Pool(3, 2), normalize=True),
    "fc2": Linear(8),
    "fc3": Linear(activation=False),
}


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The device that is compared with the CPU; float32 is not rounded to TF32 there."""
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no GPU")
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
        monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    return request.param


def network() -> ConvNet:
    torch.manual_seed(3)
    return ConvNet(TABLE, 3, SIDE, init="he").eval()


def noise(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, SIDE, SIDE, generator=generator, dtype=dtype)


def on_both(device: str, run: Callable[[nn.Module, Tensor], Any]) -> tuple[Any, Any]:
    """What `run` gives on the device and on the CPU, in float64."""
    return tuple(run(network().double().to(where), noise(6).to(where)) for where in (device, "cpu"))  # type: ignore[return-value]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("options", [{}, {"relu": "guided"}, {"contrast": 3}])
def test_projections(device: str, layer: str, options: dict[str, Any]) -> None:
    units = [Unit(image, channel, 1, 2) for image in range(3) for channel in (0, 3)]
    found, expected = on_both(
        device, lambda net, images: Deconvnet(net, **options).project(images, layer, units)
    )
    assert found.device.type == device
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-9, atol=1e-11)
    assert expected.abs().sum() > 0


def test_top_activations(device: str) -> None:
    def search(net: nn.Module, images: Tensor) -> list[Tensor]:
        top = top_activations(net, images.split(2), LAYERS, k=4, progress=False)
        return [part.cpu() for layer in LAYERS for part in vars(top[layer]).values()]

    found, expected = on_both(device, search)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)
    again, _ = on_both(device, search)
    assert same(found, again)


@pytest.mark.parametrize("exhaustive", [True, False])
def test_occlusion(device: str, exhaustive: bool) -> None:
    found, expected = on_both(
        device,
        lambda net, images: occlusion_sweep(
            net, images[:2], size=8, stride=4, layer="conv2", exhaustive=exhaustive
        ),
    )
    for name in ("logits", "clean_logits", "activity", "target"):
        torch.testing.assert_close(
            getattr(found, name).cpu(), getattr(expected, name), rtol=1e-9, atol=1e-11
        )


def test_features(device: str, memory_images: Callable[..., ImageStore], tmp_path: Path) -> None:
    images = memory_images(7, size=28)
    kept = []
    for number, where in enumerate((device, "cpu")):
        prepare = Preprocessing(28, SIDE, "unit")
        prepare.set_mean(images.mean)
        net, prepare = network().to(where), prepare.to(where)
        kept.append(cached_features(net, prepare, images, LAYERS, tmp_path / str(number)))
    for layer in LAYERS:
        torch.testing.assert_close(kept[0][layer], kept[1][layer], rtol=1e-4, atol=1e-5)


def test_compiled_preparation(device: str) -> None:
    images = torch.randint(256, (9, 16, 16, 3), generator=torch.Generator().manual_seed(0))
    rows, crops = torch.tensor([8, 0, 3]), torch.tensor([[0, 2, 1], [2, 0, 0], [1, 1, 1]])
    prepared = []
    for where in (device, "cpu"):
        prepare = Preprocessing(16, 14, "unit").to(where)
        compile_for_training(nn.Identity(), prepare, where)
        inputs = [each.to(where) for each in (images.to(torch.uint8), rows, crops)]
        prepared.append(prepare(*inputs).cpu())
    torch.testing.assert_close(*prepared)


Train = Callable[..., tuple[Classifier, Trainer]]


def new_classifier() -> Classifier:
    torch.manual_seed(4)
    net = ConvNet(TRAINED, 3, 8, init="he")
    return Classifier(net, 12, 8, ["a", "b", "c"], input_norm="unit", **learning(momentum=0.9))


@pytest.fixture
def train(tiny_data: Callable[..., Any], tiny_trainer: Callable[..., Trainer]) -> Train:
    """Trains a net without dropout, whose random numbers depend on the device."""

    def run(device: str, resume: Path | None = None, **options: Any) -> tuple[Classifier, Trainer]:
        classifier = new_classifier()
        accelerator = "gpu" if device == "cuda" else "cpu"
        trainer = tiny_trainer(accelerator=accelerator, max_epochs=2, **options)
        trainer.fit(classifier, datamodule=tiny_data(), ckpt_path=resume, weights_only=True)
        return classifier, trainer

    return run


def weights(classifier: Classifier) -> list[Tensor]:
    return [each.detach().cpu() for each in classifier.parameters()]


@pytest.mark.parametrize(("precision", "close"), [("32-true", 1e-4), ("bf16-mixed", 0.05)])
def test_training(device: str, train: Train, precision: str, close: float) -> None:
    (mine, here), (theirs, there) = (train(where, precision=precision) for where in (device, "cpu"))
    assert mine.validated["step"] == theirs.validated["step"] == 6
    assert mine.validated["val/loss"] == pytest.approx(theirs.validated["val/loss"], rel=close)
    for a, b in zip(weights(mine), weights(theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=close, atol=close)
    assert here.global_step == there.global_step


def test_a_checkpoint_goes_on(device: str, train: Train, tmp_path: Path) -> None:
    """Written in the middle of the first epoch, on the device and read there."""
    path = tmp_path / "middle.ckpt"

    class Save(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == 2:
                trainer.save_checkpoint(path)

    whole, _ = train(device, callbacks=[Save()])
    resumed, _ = train(device, resume=path)
    for a, b in zip(weights(whole), weights(resumed), strict=True):
        if device == "cpu":
            assert torch.equal(a, b)
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_checkpoint_moves(device: str, train: Train, tmp_path: Path) -> None:
    """A run on the device, whose checkpoint a CPU reads."""
    classifier, trainer = train(device)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    state = torch.load(tmp_path / "last.ckpt", map_location="cpu", weights_only=True)
    other = new_classifier()
    other.load_state_dict(state["state_dict"])
    for a, b in zip(weights(classifier), weights(other), strict=True):
        assert torch.equal(a, b)


class NoSynchronization(Callback):
    """Makes waiting for the GPU an error from the start of a step to its end.

    At the first step the loss is read."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step > 0:
            torch.cuda.set_sync_debug_mode("error")
            self.steps = trainer.global_step

    def on_train_batch_end(self, *_: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def sync_debug_mode(device: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The modes that were set; on a CPU nothing else happens."""
    modes: list[str] = []
    if device == "cpu":
        monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    yield modes
    torch.cuda.set_sync_debug_mode("default")


def test_a_step_does_not_wait_for_the_gpu(
    device: str, train: Train, sync_debug_mode: list[str]
) -> None:
    watch = NoSynchronization()
    train(device, callbacks=[watch])
    assert watch.steps == 5
    if device == "cpu":
        assert sync_debug_mode.count("error") == 5
