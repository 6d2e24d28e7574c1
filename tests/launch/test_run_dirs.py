"""A run's folder has a safe name that depends on what was asked for, and belongs to one run."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.errors import HydraException
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.helpers.commands import Commands
from zfnet.errors import InputError
from zfnet.launch.command_line import parse, quoted, with_words
from zfnet.launch.project import config_folder, project_root
from zfnet.launch.run_dirs import (
    check_sweep,
    claim,
    fixed_words,
    hold,
    job_name,
    run_name,
    slug,
)

SAFE = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_.+-]*")
KEYS = ("a", "a.b", "b_c", "+d", "++e.f", "model")
VALUES = (
    "1",
    "-1",
    "x",
    "x_b",
    "x_2",
    "x-b",
    "x/b",
    "y/b",
    "1e-3",
    "'q r'",
    "'é'",
    "[1,2]",
    "{k:1}",
    "${a}",
    "null",
)


@given(
    text=st.text(st.characters(codec=None))
    | st.text(alphabet="./=,-~$ab\n", max_size=12)
    | st.just("é" * 300)
)
def test_slugs_are_one_safe_path_component(text: str) -> None:
    """No separator, no leading dot or dash (hidden files, options), nothing that a shell or Hydra
    reads."""
    name = slug(text)
    assert SAFE.fullmatch(name)
    assert len(name.encode()) <= 200
    assert (Path("/parent") / name).resolve() == Path("/parent") / name
    assert slug(text) == name


@given(one=st.text(), other=st.text())
def test_different_names_stay_different(one: str, other: str) -> None:
    assert (slug(one) == slug(other)) == (one == other)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "default"),
        (["seed=2", "model=alexnet"], "model-alexnet_seed-2"),
        (["optimizer.lr=3e-4"], "optimizer.lr-3e-4"),
        (["ablation=fc_2048", "seed=1"], "ablation-fc_2048_seed-1"),
        (["ablation=no_contrast_normalization"], "ablation-no_contrast_normalization"),
        (
            ["+x=1", "hydra.verbose=true", "hydra/launcher=joblib", "++resume=true", "name=null"],
            "+x-1",
        ),
    ],
)
def test_simple_command_lines_stay_readable(words: list[str], name: str) -> None:
    assert run_name(words) == name


def test_what_a_name_loses_is_in_its_hash() -> None:
    for one, other in (
        (["data.root=/a/photos"], ["data.root=/b/photos"]),
        (["x=a/b"], ["x=a-b"]),
        (["x=1,2"], ["x=1-2"]),
        (["a=x", "b_c=1"], ["a=x_b", "c=1"]),  # joined by an underscore
        (["seed=1", "seed=2"], ["seed=2", "seed=1"]),  # the last one counts
        (["~x"], ["x=1"]),
        (["x='1'"], ["x=1"]),
    ):
        assert run_name(one) != run_name(other)


def test_a_name_is_what_the_config_has() -> None:
    assert run_name(["seed=2", "name=demo"], "demo") == "demo"
    assert run_name(["name=1"], 1) == "1"
    assert SAFE.fullmatch(run_name([], "../../etc"))


words = st.builds(
    lambda key, value: f"{key}={value}", st.sampled_from(KEYS), st.sampled_from(VALUES)
)


@settings(max_examples=40)
@given(
    words=st.lists(words, unique_by=lambda word: word.partition("=")[0].lstrip("+")),
    others=st.lists(words, unique_by=lambda word: word.partition("=")[0].lstrip("+")),
    data=st.data(),
)
def test_names_tell_command_lines_apart_whatever_their_order(
    words: list[str], others: list[str], data: st.DataObject
) -> None:
    name = run_name(words)
    assert SAFE.fullmatch(name)
    assert len(name.encode()) <= 200
    assert (
        run_name(data.draw(st.permutations([*words, "resume=true", "hydra.verbose=true"]))) == name
    )
    assert (run_name(others) == name) == (sorted(others) == sorted(words))


sweeps = st.builds(
    lambda key, values: f"{key}={','.join(values)}",
    st.sampled_from((*KEYS, "seed", "~g")),
    st.lists(st.sampled_from((*VALUES, "0.001", "a-b", "a_b")), min_size=1, max_size=3)
    | st.just(["range(1,4)"]),
)


@settings(max_examples=40)
@given(words=st.lists(sweeps, max_size=5))
def test_a_sweep_has_as_many_folders_as_jobs(words: list[str]) -> None:
    """For any grid, with keys given twice, as Hydra's own sweeper takes it apart; or it is
    refused."""
    try:
        overrides = parse(words)
    except HydraException:
        assume(False)
    try:
        check_sweep(words)
    except InputError:
        return
    [jobs] = BasicSweeper.split_arguments(overrides, None)
    assert len({job_name(job, fixed_words(words)) for job in jobs}) == len(jobs)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (
            ["seed=0", "optimizer.lr=0.01", "optimizer.lr=0.01,0.001"],
            {"optimizer.lr-0.01", "optimizer.lr-0.001"},
        ),
        (["seed=range(1,4)"], {"seed-1", "seed-2", "seed-3"}),
        (["model=choice(a,b)", "x=1"], {"model-a", "model-b"}),
        (["+x=1,2", "~y"], {"+x-1", "+x-2"}),
        (["seed=1,2", "seed=3"], {"default"}),
    ],
)
def test_jobs_are_named_by_what_differs(words: list[str], names: set[str]) -> None:
    check_sweep(words)
    [jobs] = BasicSweeper.split_arguments(parse(words), None)
    assert {job_name(job, fixed_words(words)) for job in jobs} == names


def test_a_value_listed_twice_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"optimizer\.lr=1e-3,0\.001: optimizer\.lr=0\.001 is listed twice"
    ):
        check_sweep(["optimizer.lr=1e-3,0.001"])
    check_sweep(["optimizer.lr=1,1", "optimizer.lr=2,3"])  # the last one counts


@settings(max_examples=40)
@given(text=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1))
def test_any_text_can_be_quoted(text: str) -> None:
    """Hydra's parser gives it back, save that OmegaConf reads the escape of an interpolation."""
    [override] = parse([f"x={quoted(text)}"])
    assert override.value() == text.replace("${", r"\${")


def test_further_words_stand_behind_the_others() -> None:
    more = {"hydra.run.dir": "/a b", "hydra.output_subdir": None}
    added = ["hydra.run.dir='/a b'", "hydra.output_subdir=null"]
    assert with_words(["train.py", "a=1", "a=1", "-m"], more) == [
        "train.py",
        "a=1",
        "a=1",
        *added,
        "-m",
    ]
    assert with_words(["train.py", "--config-name", "x"], more) == [
        "train.py",
        "--config-name",
        "x",
        *added,
    ]
    with pytest.raises(InputError, match="unrecognized arguments"):
        with_words(["train.py", "a=1", "-m", "b=1"], more)


def test_a_run_holds_its_folder(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process is refused while this one lives; a child of ours leaves it to its parent."""
    hold(tmp_path)
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from zfnet.launch.run_dirs import hold\n"
        "from zfnet.launch.processes import follow_parent\n"
        "follow_parent()\n"
        f"hold(Path({str(tmp_path)!r}))\n"
    )
    done = commands.run(str(script), [])
    assert done.status == 1
    assert "another process works in it" in done.errors
    monkeypatch.setenv("ZFNET_PARENT", f"{commands.pid} 9")
    assert commands.run(str(script), []).status == 0


Claim = Callable[[str, bool], str]


@pytest.fixture(name="claim")
def _claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Claim:
    for variable in ("TORCHELASTIC_RUN_ID", "SLURM_PROCID"):
        monkeypatch.delenv(variable, raising=False)

    def call(name: str, resume: bool) -> str:
        folder = claim(tmp_path / "runs" / name, resume)
        assert folder.parent == tmp_path / "runs"
        return folder.name

    return call


def test_each_fresh_run_claims_a_folder_of_its_own(claim: Claim, tmp_path: Path) -> None:
    assert [claim("a", False) for _ in range(3)] == ["a", "a.2", "a.3"]
    assert claim("b", False) == "b"
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["a", "a.2", "a.3", "b"]


def test_resume_finds_the_latest(claim: Claim) -> None:
    assert claim("a", True) == "a"  # nothing to go on with yet
    assert claim("a", True) == "a"
    assert claim("a", False) == "a.2"
    assert [claim("a", True), claim("a", True)] == ["a.2", "a.2"]
    assert claim("a", False) == "a.3"


@pytest.mark.parametrize("options", [["--help"], ["--cfg", "all", "--resolve"], ["--info", "all"]])
def test_a_look_at_the_config_makes_no_folder(
    commands: Commands, tmp_path: Path, options: list[str]
) -> None:
    """Resolvers have no side effects."""
    for script in ("train.py", "analyze.py"):
        done = commands.run(script, [f"paths.log_dir={tmp_path}/outputs", *options])
        assert done.status == 0, done
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("value", ["yes", "1", "null", "[true]"])
def test_resume_is_a_bool(commands: Commands, tmp_path: Path, value: str) -> None:
    done = commands.run("train.py", [f"paths.log_dir={tmp_path}/outputs", f"resume={value}"])
    assert done.status == 1
    assert "must be true or false" in done.errors
    assert not (tmp_path / "outputs").exists()


def test_a_folder_claimed_in_between_is_left_to_its_owner(
    claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process makes the folder after we looked and before we make it."""
    make = Path.mkdir

    def late(self: Path, *args: object, **options: object) -> None:
        if self.name == "a" and not self.exists():
            make(self, parents=True)
        make(self, *args, **options)

    monkeypatch.setattr(Path, "mkdir", late)
    assert claim("a", False) == "a.2"


@pytest.mark.parametrize("variable", ["TORCHELASTIC_RUN_ID", "SLURM_PROCID"])
def test_processes_started_from_outside_share_the_name(
    claim: Claim, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    claim("a", False)
    monkeypatch.setenv(variable, "0")
    assert [claim("a", False), claim("a", False), claim("a", True)] == ["a", "a", "a"]
    (tmp_path / "runs" / "a" / "filters.png").touch()
    assert claim("a", True) == "a"
    with pytest.raises(InputError, match="runs/a holds results: resume=true goes on with them"):
        claim("a", False)


@pytest.mark.parametrize("word", ["data.option_{i}=some_value_{i}", "+x{i}='é{i}'"])
def test_very_long_names_fit_a_file_system(claim: Claim, word: str) -> None:
    """With their number, too: 255 bytes."""
    name = run_name([word.format(i=i) for i in range(60)])
    assert [claim(name, False) for _ in range(3)] == [name, f"{name}.2", f"{name}.3"]
    assert claim(name, True) == f"{name}.3"
    assert len(name.encode()) <= 200


def test_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "outputs").touch()
    with pytest.raises(InputError, match="outputs/train/a: cannot be"):
        claim(tmp_path / "outputs" / "train" / "a", False)


def test_the_checkout_is_found() -> None:
    assert (project_root() / "pyproject.toml").is_file()
    assert (config_folder() / "train.yaml").is_file()
