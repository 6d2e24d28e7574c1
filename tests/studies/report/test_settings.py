"""Which runs are averaged: those that differ in a seed, or in what changes no number."""

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.studies.report.conftest import RunFolders
from tests.studies.report.written import errors, few, report, table
from zfnet.fingerprint import flat
from zfnet.studies.report.ablations import VARIED
from zfnet.studies.report.discovery import find_runs
from zfnet.studies.report.runs import HARMLESS, Run
from zfnet.studies.report.settings import SEEDS, ablation_of, describe, group_by_setting
from zfnet.studies.report.transfer import few_image_settings

TOLD = (*HARMLESS, "seed", "data.seed")


def changed(run: Run, key: str, value: Any) -> Run:
    """Another run, whose config has `value` at `key`, there or new."""
    config = copy.deepcopy(run.config)
    *above, last = key.split(".")
    node = config
    for part in above:
        node = node[part]
    node[last] = value
    return Run(
        run.folder / "other", run.script, [*run.overrides, f"{key}={value}"], run.choices, config
    )


def apart(one: Run, other: Run) -> bool:
    return len(group_by_setting([one, other], VARIED, ablation_of)) == 2


@pytest.fixture
def run(runs: RunFolders) -> Run:
    runs.train("a", "model=alexnet", result=errors(0.1))
    return find_runs(["outputs"]).runs[0]


def test_every_word_keeps_apart_but_those_that_are_known_not_to(run: Run) -> None:
    """Each key of the config, also those that a table's rows are made of; none is left out of a
    list by chance."""
    told = []
    for key in flat(run.config):
        harmless = any(key == name or key.startswith(f"{name}.") for name in TOLD)
        of_rows = key.startswith(VARIED)
        if not of_rows:
            assert apart(run, changed(run, key, "another")) is not harmless, key
        told += [key] if harmless else []
    assert {"seed", "name", "callbacks.progress._target_", "data.store_dir", "data.seed"} <= set(
        told
    )


@pytest.mark.parametrize(
    "word",
    [
        *(
            "limit_train_batches",
            "limit_val_batches",
            "max_steps",
            "overfit_batches",
            "val_check_interval",
        ),
        *(
            "accumulate_grad_batches",
            "gradient_clip_val",
            "max_time",
            "min_epochs",
            "precision",
            "devices",
        ),
        *(
            "check_val_every_n_epoch",
            "plugins",
            "strategy",
            "accelerator",
            "sync_batchnorm",
            "max_epochs",
        ),
    ],
)
def test_words_of_the_trainer_keep_apart(run: Run, word: str) -> None:
    other = changed(run, f"trainer.{word}", 0.5)
    assert apart(run, other)
    if word != "max_epochs":
        assert describe(other).endswith(f", trainer.{word}=0.5")


def test_no_edit_is_an_empty_edit(run: Run) -> None:
    assert not apart(changed(run, "model.edit", {}), changed(run, "model.edit", None))


def test_callbacks_that_change_the_weights_keep_apart(run: Run) -> None:
    assert apart(run, changed(run, "callbacks.filter_renormalization.radius", 0.2))
    assert apart(run, changed(run, "callbacks.mine", {"_target_": "mine.Averaging"}))
    assert not apart(run, changed(run, "callbacks.progress", None))


def test_two_edits_by_hand_are_two_rows(run: Run) -> None:
    one, other = (changed(run, "model.edit", {layer: None}) for layer in ("conv3", "conv4"))
    assert len({ablation_of(each) for each in (run, one, other)}) == 3
    assert ablation_of(one)[1] == 'none, edited: {"conv3": null}'
    (setting,) = group_by_setting([run, one, other], VARIED, ablation_of)
    assert len(setting.runs) == 3


def test_a_conf_file_that_changed_keeps_its_row_apart(run: Run) -> None:
    """The same word of `ablation=`, and another net."""
    named = [
        Run(each.folder, each.script, [], each.choices | {"ablation": "remove_7"}, each.config)
        for each in (
            changed(run, "model.edit", {"fc7": None}),
            changed(run, "model.edit", {"fc6": None}),
        )
    ]
    assert {ablation_of(each) for each in named} == {("alexnet", "remove_7")}
    assert [len(each.runs) for each in group_by_setting(named, VARIED, ablation_of)] == [1, 1]


def test_other_strengths_of_the_fit_are_no_other_folds(runs: RunFolders) -> None:
    for fold in (0, 1):
        few(runs, "caltech101", "frozen", 15, fold, 0.8)
        few(runs, "caltech101", "scratch", 15, fold, 0.4)
    words = (
        "data=caltech101",
        "transfer=frozen",
        "ckpt=six.ckpt",
        "data.images_per_class=15",
        "data.fold=2",
    )
    runs.train("other", *words, "transfer.C=[1]", result={"val/class_accuracy": 0.1})
    found = few_image_settings(find_runs(["outputs"]))
    assert [len(each.runs) for each in found] == [4, 1]
    assert "data.fold" in SEEDS


def test_what_enters_no_table(runs: RunFolders, tmp_path: Path) -> None:
    """A repeated seed counts once, finished first; trials, diverged and unfinished runs do not
    count."""
    words = ("model=zfnet", "ablation=fc_2048")
    runs.train("a", *words, "seed=1")
    runs.train("b", *words, "seed=1", result=errors(0.1))
    runs.train("c", *words, "seed=1", "name=c", result=errors(0.5))
    runs.train("d", *words, "seed=2", result=errors(0.3))
    runs.train("nan", *words, "seed=3", result=errors(float("nan")))
    runs.train("null", *words, "seed=4", result=errors(0.2) | {"val/top1_error": None})
    runs.train("trial", *words, "seed=5", "trainer.fast_dev_run=true", result=errors(0.9))
    runs.train("part", *words, "seed=6", "trainer.limit_train_batches=0.01", result=errors(0.8))
    runs.train("per_cent", *words, "seed=7", result=errors(0.2) | {"val/top1_error": 33.0})
    text = report(tmp_path / "report")
    rows = table(text, "**Table 3 on creatures, 112 pixels, 12 epochs**")
    assert rows["adjust layers 6,7: 2048 units"][3:] == [
        *("20.0 ± 14.1", "40.2", "−20.2"),
        *("5.0 ± 3.5", "17.6", "−12.6"),
        "2",
    ]
    assert (
        "**Table 3 on creatures, 112 pixels, 12 epochs, trainer.limit_train_batches=0.01**" in text
    )
    problems = text.split("## Not finished")[1]
    for name, reason in {
        "a": "has the settings and the seed of outputs/b and is not counted again",
        "c": "has the settings and the seed of outputs/b and is not counted again",
        "trial": "is a trial (fast_dev_run) and is in no table",
        "nan/result.json": "is damaged (ValueError: val/top1_error is nan: the training diverged)",
        "null/result.json": (
            "is damaged (ValueError: val/top1_error is None: the training diverged)"
        ),
        "per_cent/result.json": "is damaged (ValueError: val/top1_error is 33.0, not a fraction)",
    }.items():
        assert f"| `outputs/{name}` | {reason}" in problems, name
