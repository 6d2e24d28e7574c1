"""A run goes on only as the run that it is: each setting that changes numbers is compared."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import EarlyStopping, StochasticWeightAveraging
from omegaconf import DictConfig, OmegaConf

from callbacks import FilterRenormalization
from zfnet.errors import InputError
from zfnet.training.resume import (
    ResumePoint,
    check_callbacks,
    check_same_run,
    is_longer,
    newest_checkpoint,
    run_fingerprint,
)

Composed = Callable[..., DictConfig]
ALWAYS = (
    "callbacks=[checkpoint,filter_renormalization,progress]",
    "trainer.precision=32-true",
    "recipe=paper",
)
MODEL = {"_target_": "zfnet.models.convnet", "architecture": "zfnet", "input_norm": "unit"}
CARD = {"model": MODEL, "classes": ["cat", "dog"], "image_size": 8, "store_size": 12}
ALEXNET = CARD | {"model": MODEL | {"architecture": "alexnet"}}


def fingerprint(
    composed: Composed, *overrides: str, card: Any = CARD, ids: str = "abc", **callbacks: Any
) -> dict[str, Any]:
    """What `python train.py OVERRIDES` would compare, for three training images."""
    cfg = composed(*ALWAYS, *overrides)
    source = SimpleNamespace(ids=list(ids), labels=[0, 1, 0])
    data: Any = SimpleNamespace(sources={"train": source, "val": source})
    words = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = instantiate(cfg.trainer, **words)
    radius = cfg.callbacks.filter_renormalization.radius
    chosen = {"filter_renormalization": FilterRenormalization(radius), **callbacks}
    return run_fingerprint(cfg, card, data, trainer, chosen)


def kept(found: dict[str, Any] | None, epochs: int = 1) -> ResumePoint:
    return ResumePoint(Path("last.ckpt"), 4 * epochs, epochs, found, {})


@pytest.mark.parametrize(
    "override",
    [
        "optimizer.lr=0.1",
        "optimizer.momentum=0.8",
        "optimizer.weight_decay=0.1",
        "scheduler.patience=1",
        "scheduler=step",
        "seed=1",
        "channels_last=false",
        "data.batch_size=16",
        "data.image_size=64",
        "data.crops=ten",
        "data.seed=3",
        "data.exclude=exclude.csv",
        "data.source.train=2000",
        "data.classes=[bear,bird]",
        "trainer.precision=bf16-mixed",
        "trainer.accumulate_grad_batches=2",
        "+trainer.gradient_clip_val=1",
        "+trainer.limit_train_batches=5",
        "+trainer.limit_val_batches=0.5",
        "+trainer.overfit_batches=2",
        "+trainer.check_val_every_n_epoch=2",
        "+trainer.max_steps=100",
        "callbacks.filter_renormalization.radius=0.2",
    ],
)
def test_another_setting_is_named(composed: Composed, override: str) -> None:
    found = fingerprint(composed)
    asked = fingerprint(composed, override.replace("trainer.accumulate", "+trainer.accumulate"))
    key, _, value = override.lstrip("+").partition("=")
    key, value = {"scheduler": ("scheduler._target_", "steplr")}.get(key, (key, value))
    with pytest.raises(
        InputError, match=rf"last\.ckpt was made with .*{key}=.*; give the same settings"
    ) as caught:
        check_same_run(kept(found), asked)
    assert "\n" not in str(caught.value)
    assert value.strip("[]").split(",")[0] in str(caught.value).lower()
    check_same_run(kept(asked), asked)


def test_other_images_another_net_and_other_callbacks_are_named(composed: Composed) -> None:
    found = fingerprint(composed)
    changes = {
        r"data\.train_images": fingerprint(composed, ids="abd"),
        r"model\.architecture=zfnet": fingerprint(composed, card=ALEXNET),
    }
    for words, asked in changes.items():
        with pytest.raises(InputError, match=words):
            check_same_run(kept(found), asked)
    with pytest.raises(
        InputError, match=r"callbacks\.filter_renormalization\.radius=0\.1.*\(not set\)"
    ):
        check_same_run(
            kept(found), {key: value for key, value in found.items() if key != "callbacks"}
        )


def test_lightnings_own_callbacks_that_act_are_compared(composed: Composed) -> None:
    target = "_target_:lightning.pytorch.callbacks.EarlyStopping"
    config = f"+callbacks.early={{{target},monitor:val/loss,patience:%d}}"
    one, two = (
        fingerprint(composed, config % patience, early=EarlyStopping("val/loss", patience=patience))
        for patience in (2, 3)
    )
    with pytest.raises(
        InputError, match=r"callbacks\.early\.patience=2, and this run has .*patience=3"
    ):
        check_same_run(kept(one), two)


@pytest.mark.parametrize(
    "override", ["data.store=false", "data.store_dir=/elsewhere", "data.max_bad=3", "test=false"]
)
def test_what_changes_no_number_may_change(composed: Composed, override: str) -> None:
    check_same_run(kept(fingerprint(composed)), fingerprint(composed, override))


def test_a_fingerprint_is_plain(composed: Composed, tmp_path: Path) -> None:
    found = fingerprint(composed)
    torch.save(found, tmp_path / "a.pt")
    assert torch.load(tmp_path / "a.pt", weights_only=True) == found


def test_a_plateau_may_have_more_epochs_a_cosine_may_not(composed: Composed) -> None:
    few, many = (fingerprint(composed, f"trainer.max_epochs={count}") for count in (3, 5))
    check_same_run(kept(few, epochs=3), many)
    check_same_run(kept(many, epochs=3), few)
    assert is_longer(kept(few), many, {"epochs": 3})
    assert not is_longer(kept(few), few, {"epochs": 3})
    assert not is_longer(None, many, {"epochs": 3})
    with pytest.raises(InputError, match=r"4 epochs are done, more than trainer\.max_epochs=3"):
        check_same_run(kept(many, epochs=4), few)
    few, many = (
        fingerprint(composed, f"trainer.max_epochs={count}", "scheduler=cosine") for count in (3, 5)
    )
    with pytest.raises(
        InputError, match=r"CosineAnnealingLR are for trainer.max_epochs=3, and a run of 5"
    ):
        check_same_run(kept(few), many, covers_run=True)


def test_earlier_versions_had_none(composed: Composed, caplog: pytest.LogCaptureFixture) -> None:
    asked = fingerprint(composed, "trainer.max_epochs=5")
    with caplog.at_level(logging.WARNING):
        check_same_run(kept(None), asked)
    assert "its settings are not compared" in caplog.text
    assert is_longer(kept(None), asked, {"epochs": 3})
    assert not is_longer(kept(None), asked, {"epochs": 5})


def test_averages_of_weights_are_refused() -> None:
    with pytest.raises(InputError, match=r"callbacks\.swa: StochasticWeightAveraging"):
        check_callbacks({"swa": StochasticWeightAveraging(0.1)})


def _write(path: Path, step: int, processed: int = 1, **more: Any) -> None:
    progress = {"epoch_progress": {"current": {"processed": processed, "ready": processed}}}
    loops = {
        "fit_loop": {
            **progress,
            "epoch_loop.batch_progress": {"is_last_batch": True, "current": {"processed": 4}},
        }
    }
    state = {"state_dict": {}, "optimizer_states": []}
    torch.save({"model_config": CARD, **state, "global_step": step, "loops": loops, **more}, path)


def test_a_damaged_checkpoint_is_named_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _write(tmp_path / "best.ckpt", 4)
    _write(tmp_path / "last.ckpt", 8)
    whole = (tmp_path / "last.ckpt").read_bytes()
    (tmp_path / "recent.ckpt").write_bytes(whole[: len(whole) // 2])
    found = newest_checkpoint(tmp_path, CARD)
    assert found is not None
    assert (found.path.name, found.step, found.fingerprint) == ("last.ckpt", 8, None)
    assert "recent.ckpt" in caplog.text
    for path in tmp_path.glob("*.ckpt"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"no checkpoint can be read: .*best\.ckpt"):
        newest_checkpoint(tmp_path, CARD)
    assert newest_checkpoint(tmp_path / "none", CARD) is None


@pytest.mark.parametrize(
    "more",
    [
        {"loops": {}},
        {"fingerprint": {"trainer": 3}},
        {"fingerprint": 3},
        {"log": {"lengths": {"a": "b"}}},
    ],
)
def test_a_checkpoint_with_odd_content_is_passed_over(tmp_path: Path, more: Any) -> None:
    _write(tmp_path / "last.ckpt", 8, **more)
    with pytest.raises(InputError, match=r"last\.ckpt: is damaged"):
        newest_checkpoint(tmp_path, CARD)
    _write(tmp_path / "best.ckpt", 4)
    found = newest_checkpoint(tmp_path, CARD)
    assert found is not None
    assert found.path.name == "best.ckpt"


def test_weights_alone_are_nothing_to_go_on_from(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save({"model_config": CARD, "state_dict": {}}, tmp_path / "net.ckpt")
    assert newest_checkpoint(tmp_path, CARD) is None
    assert "net.ckpt: holds a net, and no state of its training" in caplog.text


def test_another_card_is_an_error(tmp_path: Path) -> None:
    _write(tmp_path / "last.ckpt", 4)
    with pytest.raises(
        InputError, match=r"model\.architecture=zfnet, .*model\.architecture=alexnet"
    ):
        newest_checkpoint(tmp_path, ALEXNET)


def test_the_kept_words_are_those_of_the_config(composed: Composed) -> None:
    found = fingerprint(composed)
    cfg = composed(*ALWAYS)
    assert found["optimizer"] == OmegaConf.to_container(cfg.optimizer)
    assert found["scheduler"] == OmegaConf.to_container(cfg.scheduler)
    assert found["trainer"] == {
        "accelerator": "cpu",
        "processes": 1,
        "precision": "32-true",
        "max_epochs": 12,
        "max_steps": -1,
        "min_epochs": None,
        "min_steps": None,
        "limit_train_batches": 1.0,
        "limit_val_batches": 1.0,
        "overfit_batches": 0.0,
        "check_val_every_n_epoch": 1,
        "accumulate_grad_batches": 1,
        "gradient_clip_val": None,
        "gradient_clip_algorithm": None,
        "sync_batchnorm": False,
    }
    assert not {"root", "store", "store_dir", "max_bad"} & set(found["data"])
