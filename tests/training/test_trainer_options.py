"""Each argument of Lightning's Trainer works, or is refused before training starts."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer

from zfnet.data import ImageData
from zfnet.data.batches import Augmentation, Batches
from zfnet.data.image_store import ImageStore
from zfnet.errors import InputError
from zfnet.training import Classifier
from zfnet.training.trainer_options import OPTIONS, batches_used, check_trainer_options

pytestmark = pytest.mark.filterwarnings("ignore:You requested to overfit")
Fit = Callable[..., tuple[Trainer, Classifier, "Watch"]]


def test_every_argument_has_a_rule() -> None:
    assert set(OPTIONS) == set(inspect.signature(Trainer.__init__).parameters) - {"self"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logger", False),
        ("logger", {"_target_": "no.such.Logger"}),
        ("callbacks", []),
        ("default_root_dir", "/elsewhere"),
        ("plugins", []),
        ("max_time", "00:01:00:00"),
        ("max_epochs", None),
        ("max_epochs", -1),
        ("max_epochs", 0),
        ("max_epochs", 1.5),
        ("max_epochs", True),
        ("max_steps", 0),
        ("max_steps", -2),
        ("min_epochs", 13),
        ("limit_train_batches", 0),
        ("limit_train_batches", 1.5),
        ("limit_train_batches", -1),
        ("limit_train_batches", float("nan")),
        ("limit_train_batches", True),
        ("limit_val_batches", 0),
        ("limit_val_batches", 0.0),
        ("limit_test_batches", "all"),
        ("limit_predict_batches", 3),
        ("overfit_batches", -1),
        ("overfit_batches", 1.5),
        ("val_check_interval", 0.5),
        ("val_check_interval", 1),
        ("check_val_every_n_epoch", 0),
        ("check_val_every_n_epoch", None),
        ("num_sanity_val_steps", -2),
        ("log_every_n_steps", -1),
        ("enable_checkpointing", False),
        ("accumulate_grad_batches", 0),
        ("accumulate_grad_batches", 1.5),
        ("gradient_clip_val", -1),
        ("gradient_clip_val", float("inf")),
        ("use_distributed_sampler", True),
        ("barebones", True),
        ("reload_dataloaders_every_n_epochs", 1),
        ("model_registry", "mine"),
        ("strategy", "fsdp"),
        ("strategy", "ddp_spawn"),
        ("strategy", {"_target_": "lightning.pytorch.strategies.FSDPStrategy"}),
        ("precision", "bf16-true"),
        ("precision", "16-true"),
        ("precision", "16-mixed"),
        ("fast_dev_run", -1),
        ("fast_dev_run", "yes"),
        ("num_nodes", 0),
        ("epochs", 3),
    ],
)
def test_what_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"trainer\.{name}") as caught:
        check_trainer_options({"accelerator": "cpu", "max_epochs": 12, name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gpu", "cuda"])
def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        InputError,
        match=rf"trainer\.accelerator={name}: PyTorch finds no such GPU here; give trainer=cpu",
    ):
        check_trainer_options({"accelerator": name, "max_epochs": 1})


def test_two_words_that_contradict_each_other() -> None:
    with pytest.raises(
        InputError, match=r"limit_train_batches: trainer\.overfit_batches sets it too"
    ):
        check_trainer_options({"max_epochs": 1, "overfit_batches": 2, "limit_train_batches": 3})


@pytest.mark.parametrize(
    "words",
    [
        {"max_epochs": 12, "max_steps": 5},
        {"max_epochs": None, "max_steps": 5},
        {
            "max_epochs": 1,
            "limit_train_batches": 0.5,
            "limit_val_batches": 3,
            "limit_test_batches": 0,
        },
        {"max_epochs": 1, "precision": 64, "strategy": "ddp", "val_check_interval": 1.0},
        {"max_epochs": 1, "precision": "16-mixed", "accelerator": "gpu", "gradient_clip_val": 0.5},
        {"fast_dev_run": True, "max_epochs": None},
    ],
)
def test_what_is_taken(monkeypatch: pytest.MonkeyPatch, words: dict[str, Any]) -> None:
    """On a machine with a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_trainer_options(words)


@pytest.mark.parametrize(
    ("count", "limit", "used"),
    [(8, 1.0, 8), (8, 0.5, 4), (8, 0.3, 2), (8, 3, 3), (8, 20, 8), (8, 0, 0)],
)
def test_batches_used(count: int, limit: float, used: int) -> None:
    assert batches_used(count, limit, "limit_train_batches") == used


class Watch(Callback):
    """The rate and the images of each batch, and the errors of each validation, with their
    steps."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.images: list[list[int]] = []
        self.validations: list[int] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.images.append(batch.indices.tolist())

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.validations.append(trainer.global_step)


@pytest.fixture
def fit(
    tiny_classifier: Callable[..., Classifier],
    tiny_data: Callable[..., LightningDataModule],
    tiny_trainer: Callable[..., Trainer],
) -> Fit:
    """6 batches of 2 an epoch; 4 batches of validation."""

    def run(
        recipe: dict[str, Any] | None = None, **words: Any
    ) -> tuple[Trainer, Classifier, Watch]:
        watch, model = (
            Watch(),
            tiny_classifier(**{"schedule": "cosine", "lr": 0.2, **(recipe or {})}),
        )
        trainer = tiny_trainer(callbacks=[watch], **words)
        trainer.fit(model, datamodule=tiny_data(batch_size=2))
        return trainer, model, watch

    return run


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        ({"max_epochs": 2}, 12),
        ({"max_epochs": 2, "limit_train_batches": 4}, 8),
        ({"max_epochs": 2, "limit_train_batches": 0.5}, 6),
        ({"max_epochs": 2, "limit_train_batches": 100}, 12),
        ({"max_epochs": 2, "overfit_batches": 2}, 4),
        ({"max_epochs": 2, "max_steps": 7}, 7),
        ({"max_epochs": 2, "max_steps": 100}, 12),
        ({"max_epochs": None, "max_steps": 8}, 8),
        ({"max_epochs": 2, "accumulate_grad_batches": 4}, 4),
        (
            {
                "max_epochs": 2,
                "accumulate_grad_batches": 4,
                "limit_train_batches": 5,
                "max_steps": 3,
            },
            3,
        ),
    ],
)
def test_a_cosine_ends_at_0_with_the_last_step(fit: Fit, words: dict[str, Any], steps: int) -> None:
    trainer, _, watch = fit(**words)
    assert trainer.global_step == steps
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)
    fall = 0.1 * (1 + torch.cos(torch.pi * torch.arange(steps, dtype=torch.float64) / steps))
    assert sorted(set(watch.rates), reverse=True) == pytest.approx(fall.tolist(), rel=1e-9)


def test_a_validation_that_is_rarer_keeps_its_patience_in_epochs(fit: Fit) -> None:
    """Validated after epochs 2, 4, ... Where no error is below the first, patience 3 bears epoch 4,
    2 since the best, and not epoch 6, 4 since."""
    plateau = {"schedule": "plateau", "patience": 3, "lr": 1e-30}
    _, _, watch = fit(plateau, max_epochs=8, check_val_every_n_epoch=2)
    assert watch.validations == [12, 24, 36, 48]
    assert watch.rates[::6] == pytest.approx([1e-30] * 6 + [1e-31] * 2)


@pytest.mark.parametrize(
    ("words", "steps"),
    [({"max_epochs": 3, "check_val_every_n_epoch": 2}, 12), ({"max_epochs": 2, "max_steps": 8}, 6)],
)
def test_the_latest_validation_knows_its_step(fit: Fit, words: dict[str, Any], steps: int) -> None:
    """So that a net trained further is validated again before its result is written."""
    trainer, model, _ = fit(**words)
    assert model.validated["step"] == steps < trainer.global_step
    trainer.validate(model, datamodule=trainer.datamodule, verbose=False)  # type: ignore[attr-defined]
    assert model.validated["step"] == trainer.global_step
    values = {key: value.item() for key, value in trainer.callback_metrics.items()}
    assert {key: value for key, value in model.validated.items() if key != "step"} == values


def test_overfitting_sees_the_same_images_each_epoch(
    memory_images: Callable[..., ImageStore],
    tiny_classifier: Callable[..., Classifier],
    tiny_trainer: Callable[..., Trainer],
) -> None:
    """By ImageData, in the order of the first epoch; without it another in each."""
    images = {"train": memory_images(12), "val": memory_images(7, seed=1)}
    data = ImageData.__new__(ImageData)
    LightningDataModule.__init__(data)
    data.image_size, data.store_size, data.batch_size, data.seed, data.crops = 8, 12, 2, 5, "random"
    data.images, data.sources = images, {"train": None, "val": None}
    data.prepare_data = data.setup = lambda *_, **__: None  # type: ignore[assignment, method-assign]
    seen = {}
    for words in ({"overfit_batches": 2}, {"limit_train_batches": 2}):
        watch = Watch()
        trainer = tiny_trainer(callbacks=[watch], max_epochs=3, **words)
        trainer.fit(tiny_classifier(), datamodule=data)
        seen[next(iter(words))] = [watch.images[i : i + 2] for i in (0, 2, 4)]
    first, second, third = seen["overfit_batches"]
    assert first == second == third == seen["limit_train_batches"][0]
    assert seen["limit_train_batches"][0] != seen["limit_train_batches"][1]


def test_batches_of_the_same_order_still_cut_elsewhere(
    memory_images: Callable[..., ImageStore],
) -> None:
    batches = Batches(
        memory_images(12), 8, 4, Augmentation(12, 8, random=True), seed=3, same_order=True
    )
    first = list(batches)
    batches.set_epoch(1)
    second = list(batches)
    assert [b.indices.tolist() for b in first] == [b.indices.tolist() for b in second]
    assert [b.crops.tolist() for b in first] != [b.crops.tolist() for b in second]


def test_64_bits_are_64_bits(fit: Fit) -> None:
    """The same training in twice the precision: equal to float32's within what float32 rounds."""
    runs = [fit(max_epochs=1, precision=precision)[1] for precision in ("64-true", "32-true")]
    long, short = (run.net.state_dict() for run in runs)
    for name in long:
        assert long[name].dtype == torch.float64
        assert not torch.equal(long[name].float(), short[name])
        torch.testing.assert_close(long[name].float(), short[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            {"limit_train_batches": 0.1},
            r"trainer\.limit_train_batches=0\.1: of 6 batches that leaves none",
        ),
        (
            {"limit_val_batches": 0.1},
            r"trainer\.limit_val_batches=0\.1: of 4 batches that leaves none",
        ),
        (
            {"limit_test_batches": 0.1},
            r"trainer\.limit_test_batches=0\.1: of 4 batches that leaves none",
        ),
    ],
)
def test_a_share_that_leaves_no_batch(fit: Fit, words: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(max_epochs=1, **words)


def test_clipping_reaches_the_optimizer(fit: Fit) -> None:
    """One step of plain SGD at the rate 0.5 on a gradient of norm 1e-3, which moves the weights by
    0.5e-3."""

    def weights(lr: float) -> torch.Tensor:
        recipe = {"momentum": 0.0, "lr": lr, "schedule": "plateau"}
        _, model, _ = fit(recipe, gradient_clip_val=1e-3, max_epochs=1, max_steps=1)
        return torch.cat([parameter.detach().flatten() for parameter in model.net.parameters()])

    assert (weights(0.5) - weights(1e-30)).norm().item() == pytest.approx(0.5e-3, rel=1e-2)
