"""A command line is read whichever habit it was typed from."""

import pytest

from zfnet.launch.command_line import last_of_each, normalize_words
from zfnet.launch.run_dirs import run_name


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("+experiment=demo", "experiment=demo"),
        ("+debug=fast", "debug=fast"),
        ("+mine=1", "+mine=1"),
        ("model.edit.conv3=null", "++model.edit.conv3=null"),
        ("+trainer.max_steps=5", "++trainer.max_steps=5"),
        ("++optimizer.nesterov=true", "++optimizer.nesterov=true"),
        ("~callbacks.progress", "~callbacks.progress"),
        ("trainer=ddp", "trainer=ddp"),
        ("data.batch_size=8", "data.batch_size=8"),
        ("ckpt_path=a.ckpt", "ckpt=a.ckpt"),
        ("--multirun", "--multirun"),
        ("name=recipe.lr=1", "name=recipe.lr=1"),
    ],
)
def test_habits(typed: str, read: str) -> None:
    assert normalize_words([typed]) == ([read], [])
    assert normalize_words([read])[0] == [read]


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        ("recipe.lr=0.1", "++optimizer.lr=0.1", "recipe.lr is called optimizer.lr now"),
        ("recipe.schedule=cosine", "scheduler=cosine", "recipe.schedule is called scheduler now"),
        ("data.crops=any,ten", "data.crops=random,ten", "data.crops=any,ten is called data.crops="),
        ("callbacks.deconvnet_dump.maps=2", "++callbacks.deconvnet_dump.channels=2", "callbacks."),
        ("model.edit.conv1.maps=9", "++model.edit.conv1.channels=9", "model.edit.conv1.maps is"),
    ],
)
def test_old_names(old: str, new: str, note: str) -> None:
    words, notes = normalize_words([old])
    assert words == [new]
    assert len(notes) == 1
    assert notes[0].startswith(note)


def test_a_name_of_a_run_does_not_depend_on_the_habit() -> None:
    assert run_name(["trainer.max_epochs=2"]) == "trainer.max_epochs-2"
    assert run_name(["+trainer.max_epochs=2"]) == run_name(["++trainer.max_epochs=2"])
    assert run_name(["+experiment=demo"]) == run_name(["experiment=demo"]) == "experiment-demo"
    assert run_name(["recipe.lr=0.1"]) == run_name(["optimizer.lr=0.1"]) == "optimizer.lr-0.1"


def test_the_last_of_a_key_counts_whatever_stands_before_it() -> None:
    found = last_of_each(["+trainer.max_steps=1", "trainer.max_steps=2", "++trainer.max_steps=3"])
    assert [each.value() for each in found.values()] == [3]
