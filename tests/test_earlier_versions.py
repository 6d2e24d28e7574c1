"""Checkpoints, sweeps and results that version 0.1 wrote are still read.

`fixtures/version_0_1` holds a few."""

import importlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import zfnet
import zfnet.analysis
from tests.helpers.commands import ROOT, Commands
from zfnet.data import Creatures
from zfnet.deconv import Deconvnet, Unit
from zfnet.models import ZFNET, Conv, apply_edit
from zfnet.versions.config_names import rename_keys, translate
from zfnet.versions.python_names import MODULES, NAMES

WRITTEN = ROOT / "tests" / "fixtures" / "version_0_1"
EDIT = ",".join([*(f"conv{i}:{{maps:4}}" for i in range(1, 6)), "fc6:{units:8}", "fc7:{units:8}"])


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A copy, since runs write where they go on."""
    shutil.copytree(WRITTEN, tmp_path / "lab")
    return tmp_path / "lab"


def test_names_are_translated_at_any_depth() -> None:
    old = {"a": ["zfnet.data.sources.folder", {"b": "zfnet.data.embedded.creatures"}], "c": 3}
    new = {"a": ["zfnet.data.datasets.folder", {"b": "zfnet.data.datasets.creatures"}], "c": 3}
    assert translate(old) == new == translate(new)


def test_a_checkpoint_is_the_same_net() -> None:
    """The weights are those of the file, and the net gives finite logits for its own classes."""
    path = WRITTEN / "run" / "checkpoints" / "last.ckpt"
    classifier = zfnet.load(path)
    state = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(value, state[name]) for name, value in classifier.state_dict().items())
    assert classifier.classes == Creatures.classes
    assert classifier(torch.zeros(1, 3, 48, 48)).isfinite().all()


def test_an_analysis_looks_at_the_data_of_the_checkpoint(commands: Commands, lab: Path) -> None:
    words = [
        "analysis=doctor",
        f"ckpt={lab}/run/checkpoints/last.ckpt",
        "layers=[conv1]",
        "images=2",
    ]
    done = commands.run(
        "analyze.py", [*words, f"data.store_dir={lab}/stores", f"hydra.run.dir={lab}/out"]
    )
    assert done.status == 0, done
    assert "looking at the data set of" in done.output
    assert "does not say" not in done.output


def test_a_run_goes_on_with_the_same_settings_only(commands: Commands, lab: Path) -> None:
    words = [
        *("data.source.train=16", "data.source.val=8", "data.image_size=48", "data.batch_size=8"),
        *(
            "trainer.precision=32-true",
            f"model.edit={{{EDIT}}}",
            "callbacks=[checkpoint,learning_curves]",
        ),
        *("recipe=paper", "seed=1", "resume=true", f"data.store_dir={lab}/stores"),
        f"hydra.run.dir={lab}/sweep/seed-1",
    ]
    finished = commands.run("train.py", [*words, "trainer.max_epochs=1"])
    assert (finished.status, "has finished already" in finished.output) == (0, True), finished
    refused = commands.run("train.py", [*words, "trainer.max_epochs=2", "optimizer.lr=0.1"])
    assert "was made with optimizer.lr=0.01, and this run has optimizer.lr=0.1" in refused.output
    more = commands.run("train.py", [*words, "trainer.max_epochs=2"])
    assert more.status == 0, more
    epochs = json.loads((lab / "sweep" / "seed-1" / "history.json").read_text())
    assert epochs[:1] == json.loads((WRITTEN / "sweep" / "seed-1" / "history.json").read_text())
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]


def test_the_report_reads_everything(commands: Commands, lab: Path) -> None:
    done = commands.run(
        "analyze.py", ["analysis=report", f"runs={lab}", f"hydra.run.dir={lab}/out"]
    )
    assert done.status == 0, done
    assert "5 runs and 1 sweep below" in (lab / "out" / "report.md").read_text()
    assert "0 that cannot be read" in done.output


def test_old_modules_and_functions_answer_with_a_warning() -> None:
    """Each is the very object of today's name."""
    import zfnet.launch.run_dirs
    from zfnet.deconv import random_subset

    with pytest.warns(
        DeprecationWarning, match=r"zfnet\.training\.folders is called zfnet\.launch\.run_dirs now"
    ):
        old = importlib.import_module("zfnet.training.folders")
    assert old is zfnet.launch.run_dirs
    assert old.__spec__ is not None
    assert old.__spec__.name == "zfnet.launch.run_dirs"
    with pytest.warns(DeprecationWarning, match=r"zfnet\.deconv\.lot is called random_subset now"):
        assert zfnet.deconv.lot is random_subset
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = zfnet.deconv.nothing


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_old_name_leads_somewhere() -> None:
    exported = dict(vars(zfnet.analysis))
    for old, new in MODULES.items():
        assert importlib.import_module(old) is importlib.import_module(new)
    for name in zfnet.analysis.__all__:  # "pointing" is also an old module
        assert getattr(zfnet.analysis, name) is exported[name]
    for name, table in NAMES.items():
        module = importlib.import_module(name)
        for old, new in table.items():
            assert getattr(module, old) is getattr(module, new)


def test_old_keywords_and_attributes_answer_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="map of Unit is called channel now"):
        unit = Unit(image=1, map=5, y=2)
    assert unit == Unit(1, 5, 2) == Unit(image=1, channel=5, y=2)
    with pytest.warns(DeprecationWarning, match="map of Unit is called channel now"):
        assert unit.map == unit.channel == 5
    with pytest.warns(DeprecationWarning, match="normalise of Conv is called normalize now"):
        row = Conv(8, kernel=3, normalise=True)
    assert row == Conv(channels=8, kernel=3, normalize=True)
    with pytest.warns(
        DeprecationWarning, match="normalisation of Deconvnet is called normalization now"
    ):
        assert Deconvnet(nn.ReLU(), normalisation="gradient").rules.normalization == "gradient"
    with pytest.warns(DeprecationWarning, match='"centre" is called "center" now'):
        assert Deconvnet(nn.ReLU(), unpool="centre").rules.unpool == "center"


def test_old_fields_of_an_edit() -> None:
    edit = {"conv1": {"channels": 8, "normalize": False}, "conv3": {"channels": 9}}
    assert apply_edit(
        ZFNET, {"conv1": {"maps": 8, "normalise": False}, "conv3": {"maps": 9}}
    ) == apply_edit(ZFNET, edit)


def test_the_recipe_of_a_users_config_is_an_optimizer_and_a_scheduler() -> None:
    recipe = {"patience": 5, "schedule": "plateau", "lr": 0.1}
    config, notes = rename_keys({"scheduler": {"gamma": 1}, "recipe": recipe})
    plateau = "torch.optim.lr_scheduler.ReduceLROnPlateau"
    assert config == {
        "scheduler": {"_target_": plateau, "_partial_": True, "factor": 0.1, "patience": 5},
        "optimizer": {"lr": 0.1},
    }
    assert notes[0] == "recipe.schedule is called scheduler now"
    cosine = rename_keys({"recipe": {"schedule": "cosine"}})[0]["scheduler"]
    assert cosine["_target_"] == "torch.optim.lr_scheduler.CosineAnnealingLR"
    assert rename_keys({"recipe": {"schedule": "typo"}})[0] == {"scheduler": "typo"}
