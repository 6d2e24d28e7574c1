"""A run's folder has a safe name that depends on what was asked for, and belongs to one run alone."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zfnet.training.folders import (
    LONGEST,
    config_folder,
    project_root,
    run_folder,
    run_name,
    slug,
    sweep_folder,
    wants_resume,
)

SAFE = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_.+-]*")

overrides = st.lists(
    st.sampled_from(
        ["seed=1", "model=alexnet", "recipe.lr=3e-4", "ablation=fc_2048", "data.root=/a b/c=d", "+x=1"]
    ),
    unique=True,
)


@given(text=st.text() | st.text(alphabet="./=,-~$ab\n", max_size=12))
def test_slugs_are_one_safe_path_component(text: str) -> None:
    """No separator, no leading dot or dash (hidden files, options), nothing that a shell or Hydra reads."""
    name = slug(text)
    assert SAFE.fullmatch(name)
    assert len(name) <= LONGEST + 7
    assert (Path("/parent") / name).resolve() == Path("/parent") / name
    assert slug(text) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("seed=2", "seed-2"),
        ("model=alexnet", "model-alexnet"),
        ("recipe.lr=3e-4", "recipe.lr-3e-4"),
        ("", "default"),
    ],
)
def test_simple_texts_stay_readable(text: str, name: str) -> None:
    assert slug(text) == name


@given(one=st.text(), other=st.text())
def test_different_texts_that_lose_something_keep_different_names(one: str, other: str) -> None:
    def plain(text: str) -> str:
        return re.sub("[=,]", "-", text)

    if plain(one) != plain(other):
        assert slug(one) != slug(other) or {one, other} == {"", "default"}


IGNORED = ["resume=true", "hydra.verbose=true", "hydra/launcher=joblib", "-m", "name=null"]


@given(given=overrides, data=st.data())
def test_run_names_ignore_order_and_resume(given: list[str], data: st.DataObject) -> None:
    extra = data.draw(
        st.lists(
            st.sampled_from(IGNORED),
            unique=True,
        )
    )
    shuffled = data.draw(st.permutations(given + extra))
    assert run_name(shuffled) == run_name(given)
    if "seed=1" in given:
        assert run_name(given) != run_name([a for a in given if a != "seed=1"])


def test_run_names() -> None:
    assert run_name([]) == "default"
    assert run_name(["seed=2", "model=alexnet"]) == "model-alexnet_seed-2"
    assert run_name(["seed=2", "name=demo", "resume=true"]) == "demo"
    assert SAFE.fullmatch(run_name(["name=../../etc"]))
    assert run_name(["data.root=/a/photos"]) != run_name(["data.root=/b/photos"])


@pytest.mark.parametrize(
    ("line", "resume"),
    [
        ("seed=1", False),
        ("resume=true", True),
        ("resume=True seed=1", True),
        ("resume=1", True),
        ("resume=false", False),
        ("resume=true resume=false", False),
    ],
)
def test_wants_resume(line: str, resume: bool) -> None:
    assert wants_resume(line.split()) == resume


Claim = Callable[[str, bool], str]


@pytest.fixture
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Claim:
    """Each call as a process of its own would make it (within one process the answer is kept)."""
    for variable in ("TORCHELASTIC_RUN_ID", "SLURM_PROCID"):
        monkeypatch.delenv(variable, raising=False)

    def call(name: str, resume: bool) -> str:
        run_folder.cache_clear()
        folder = run_folder(tmp_path / "runs", name, resume)
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


def test_within_a_process_the_answer_stays(claim: Claim, tmp_path: Path) -> None:
    first = tmp_path / "runs" / claim("a", False)
    assert run_folder(tmp_path / "runs", "a", False) == first


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
    claim: Claim, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    claim("a", False)
    monkeypatch.setenv(variable, "0")
    assert [claim("a", False), claim("a", False), claim("a", True)] == ["a", "a", "a"]


def test_very_long_names_fit_a_file_system(claim: Claim) -> None:
    name = claim(run_name([f"data.option_{i}=some_value_{i}" for i in range(60)]), False)
    assert len(name) <= 255


def test_a_sweep_has_one_folder(tmp_path: Path) -> None:
    for name in ("seed-1-2", "x" * 1000):
        folder = sweep_folder(tmp_path, name)
        folder.mkdir()
        assert sweep_folder(tmp_path, name) == folder
    assert sweep_folder(tmp_path, "seed-1-2").name == "seed-1-2"


def test_the_checkout_is_found() -> None:
    assert (project_root() / "pyproject.toml").is_file()
    assert (config_folder() / "train.yaml").is_file()
