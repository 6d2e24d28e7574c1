"""What the wiring says of a config that cannot be used, in a line."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig

import zfnet
from tests.helpers.commands import ROOT, Commands, Ended
from zfnet.errors import InputError
from zfnet.launch.error_messages import translate_hydra_errors
from zfnet.training.fit import model_to_train, train

Compose = Callable[..., DictConfig]


def test_a_key_that_must_be_given_is_named(composed: Compose) -> None:
    with (
        pytest.raises(InputError, match=r"data\.root has no default: give data\.root="),
        translate_hydra_errors(),
    ):
        instantiate(composed("data=folder").data)


def test_a_sources_own_error_comes_out_as_it_is(composed: Compose) -> None:
    with (
        pytest.raises(InputError, match=r"^data\.root=/nowhere: no such folder"),
        translate_hydra_errors(),
    ):
        instantiate(composed("data=folder", "data.root=/nowhere").data)


def test_no_checkpoint_of_ours_has_a_name_that_hydra_parses(
    composed: Compose, tmp_path: Path
) -> None:
    """Every checkpoint that a run writes can be passed back as ckpt=PATH."""
    for name, config in composed("callbacks=[checkpoint]").callbacks.items():
        writer = instantiate(config, dirpath=str(tmp_path))
        assert isinstance(writer, ModelCheckpoint)
        metrics = {
            "epoch": torch.tensor(3),
            "step": torch.tensor(40),
            "val/top1_error": torch.tensor(0.5),
        }
        for version in (None, 2):
            path = writer.format_checkpoint_name(metrics, ver=version)
            assert re.fullmatch(r"[\w./-]+", path), name
            assert composed(f"ckpt={path}").ckpt == path


def test_a_foreign_name_is_quoted_as_the_documentation_says(composed: Compose) -> None:
    page = (ROOT / "docs" / "look.md").read_text()
    quoted = re.search(r"`'(ckpt=\"[^`]*\")'`", page)
    assert quoted is not None
    assert composed(quoted[1]).ckpt == quoted[1].removeprefix("ckpt=").strip('"')
    assert "=" in composed(quoted[1]).ckpt


def test_without_callbacks_the_net_is_kept_and_looked_at(
    command: Callable[..., Ended], commands: Commands, photos: Path, tmp_path: Path
) -> None:
    """train.py with callbacks=[], and analyze.py with nothing but its checkpoint: on the photos of
    the training."""
    run, look = tmp_path / "run", tmp_path / "look"
    done = command(f"hydra.run.dir={run}", "callbacks=[]", "trainer.max_epochs=1", "test=false")
    assert done.status == 0, done.errors
    assert "no callback writes checkpoints" in done.output
    assert [path.relative_to(run) for path in run.rglob("*.ckpt")] == [
        Path("checkpoints/last.ckpt")
    ]
    path = run / "checkpoints" / "last.ckpt"
    data = zfnet.load(path).model_config["data"]  # type: ignore[index]
    assert data["root"] == data["source"]["root"] == str(photos)
    words = [
        "analysis=occlusion",
        f"ckpt={path}",
        "images=[0]",
        "size=16",
        "stride=16",
        f"hydra.run.dir={look}",
    ]
    looked = commands.run("analyze.py", [*words, f"data.store_dir={tmp_path}/stores"])
    assert looked.status == 0, looked.output + looked.errors
    assert f"looking at the data set of {path}: folder in {photos}" in looked.output
    assert (look / "occlusion.json").exists()
    assert f"root: {photos}" in (look / ".hydra" / "config.yaml").read_text()


@pytest.mark.parametrize("trust", ["[]", "[mypackage.Net]"])
def test_a_net_to_train_anew_is_not_a_checkpoints_to_choose(
    composed: Compose, checkpoint: Path, tmp_path: Path, trust: str
) -> None:
    kept = torch.load(checkpoint, weights_only=True)
    assert (
        model_to_train(composed(f"ckpt={checkpoint}", "transfer=scratch", "data.image_size=48"))
        == kept["model_config"]["model"]
    )
    kept["model_config"]["model"]["_target_"] = "os.system"
    torch.save(kept, tmp_path / "a.ckpt")
    words = (f"ckpt={tmp_path}/a.ckpt", "transfer=scratch", "data.image_size=48", f"trust={trust}")
    with pytest.raises(InputError, match=r"its net is os\.system, which is not part of zfnet"):
        model_to_train(composed(*words))


def test_training_has_no_checkpoint_to_take_its_data_from(
    composed: Compose, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="data=checkpoint is a choice of analyze"):
        train(composed("data=checkpoint"), tmp_path)


@pytest.mark.parametrize("word", ["train=false", "transfer=frozen"])
def test_what_is_not_trained_is_not_compiled(composed: Compose, tmp_path: Path, word: str) -> None:
    with pytest.raises(InputError, match=r"trainer\.compile=true: this run trains no network"):
        train(composed(word, "ckpt=a.ckpt", "trainer.compile=true"), tmp_path)
