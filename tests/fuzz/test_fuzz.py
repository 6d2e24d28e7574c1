"""Wrong command lines and damaged files: each ends soon, with one line and a non-zero status."""

import re
import shutil
from collections import Counter
from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from tests.fuzz.commands import Case, bases, sample, wrong
from tests.fuzz.damage import Kept, copy, damages
from tests.fuzz.laboratory import SECONDS, UNUSED, Laboratory, checksums
from tests.helpers.commands import Commands, Ended

Compose = Callable[..., DictConfig]
SEED = 15
COMMANDS, DAMAGES = 400, 150  # of the full size

# Words that are right after all, and why. Any other that is accepted is a fault.
RIGHT = {
    r"=(null|\{\}|\[\])$": "nothing is chosen, which is the default, or nothing to draw",
    r"=true$|(trust|resume|test|store|channels_last)=": "a switch",
    r"name=": "a folder's name is made of any text",
    r"(folder|dirpath|filename|store_dir)=": "a place to write to",
    r"(data\.seed|fold|patience|max_bad|weight_decay|momentum|fill)=(0|-1|1\.5|9*)$": (
        "a number in its range"
    ),
    r"(test_per_class|max_epochs|permutations|draws|maps|k|images|every_n_epochs)=9*$": (
        "at most so many"
    ),
    r"(shifts|scales|angles|radius|optimizer\.lr|minutes|threshold)=": "a number in its range",
    r"(monitor|logging_interval|refresh_rate|save_|enable_|auto_)": "Lightning's own",
    r"(against|runs)=": "a folder with images or runs in it",
    r"\+seed=0$": "a seed",
}


@pytest.fixture(scope="module")
def laboratory(
    tmp_path_factory: pytest.TempPathFactory, composed: Compose, commands: Commands
) -> Laboratory:
    return Laboratory(tmp_path_factory.mktemp("fuzz"), composed, commands)


def fault(done: Ended) -> str | None:
    """What is wrong with how a command has ended; None for success, or one clear line and a status
    of 1."""
    output = done.output + done.errors
    if done.status is None or done.seconds > SECONDS:
        return "it does not end"
    if "Traceback (most recent call last)" in output or "Logging error" in output:
        return "a traceback"
    if done.status == 0:
        return None
    said = [line for line in output.splitlines() if line.strip()]
    # Before there is a log, the line is all.
    errors = [line for line in said if "[ERROR]" in line] or said
    if len(errors) == 1 and "the run failed" not in errors[0]:
        return None
    return f"{len(errors)} lines"


def check_commands(laboratory: Laboratory, composed: Compose, count: int) -> None:
    all_bases = bases(laboratory.checkpoint, laboratory.photos, laboratory.stores)
    file = laboratory.trained / "history.json"

    def config(case: Case) -> DictConfig:
        return composed(*case.words, root=case.script.removesuffix(".py"))

    cases = list(wrong(all_bases, config, laboratory.photos, file))
    before, faults, counted = checksums(laboratory.trained), [], Counter[str]()
    for case in sample(cases, count, SEED):
        out = laboratory.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        done = laboratory.run(Case(case.script, (*case.words, f"hydra.run.dir={out}")))
        counted["valid" if done.status == 0 else "refused"] += 1
        reason = fault(done)
        if done.status == 0 and not any(re.search(pattern, case.words[-1]) for pattern in RIGHT):
            reason = "it is accepted"
        if reason:
            faults.append(f"{reason}: {case}\n{(done.output + done.errors)[-600:]}")
            print(faults[-1], flush=True)
    print(dict(counted))
    assert checksums(laboratory.trained) == before
    assert not faults, "\n\n".join(faults)


def check_damages(laboratory: Laboratory, kept: list[Kept], count: int) -> None:
    cases = [
        (each, name, damage)
        for each in kept
        for name, damage in damages(laboratory.folder / "lab" / each.file)
    ]
    at, faults, counted = laboratory.folder / "copy", [], Counter[str]()
    for each, name, damage in sample(cases, count, SEED):
        copy(laboratory.folder / "lab", at)
        damage(at / each.file)
        before = checksums(at)
        words = tuple(word.replace("{at}", str(at)) for word in each.words)
        done = laboratory.run(Case(each.script, words))
        reason = fault(done)
        if done.status == 0 and not {"*", name} & each.survives:
            reason = "it is read as if it were whole"
        elif done.status and any(checksums(at).get(file) != hash for file, hash in before.items()):
            reason = "something is lost"
        counted["read over" if done.status == 0 else "refused"] += 1
        if reason:
            faults.append(f"{reason}: {name}: {each}\n{(done.output + done.errors)[-600:]}")
            print(faults[-1], flush=True)
    print(dict(counted))
    assert not faults, "\n\n".join(faults)


@pytest.mark.timeout(1800)
def test_some_wrong_command_lines(laboratory: Laboratory, composed: Compose) -> None:
    check_commands(laboratory, composed, 15)


@pytest.mark.timeout(1800)
def test_some_damaged_files_of_a_run(laboratory: Laboratory) -> None:
    out = f"hydra.run.dir={laboratory.folder}/copy/out"
    words = ("analysis=doctor", "layers=[conv1]", "images=2", "data.source.val=16", out)
    assert laboratory.trained
    store = "data.store_dir={at}/stores"
    check_damages(
        laboratory,
        [
            Kept(
                "run/checkpoints/last.ckpt",
                "analyze.py",
                (*words, store, "ckpt={at}/run/checkpoints/last.ckpt"),
                UNUSED,
            ),
            Kept("run/result.json", "train.py", ("resume=true", store, "hydra.run.dir={at}/run")),
        ],
        8,
    )


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_wrong_command_lines(laboratory: Laboratory, composed: Compose) -> None:
    check_commands(laboratory, composed, COMMANDS)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_damaged_files(laboratory: Laboratory) -> None:
    assert laboratory.lab
    check_damages(laboratory, laboratory.kept(), DAMAGES)
