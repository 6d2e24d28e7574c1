"""From a config to an analysis: a user's own class, and what is not one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from zfnet.config import Analysis, check_config
from zfnet.errors import InputError
from zfnet.studies import run
from zfnet.studies.inputs import complete_data
from zfnet.studies.run import build_analysis
from zfnet.validation import Count

Compose = Callable[..., DictConfig]


@dataclass
class Own:
    """A class that has what is needed, and inherits nothing."""

    size: Count
    seed: int
    mode: str = "fast"
    takes = "data"

    def run(self, data: Any, folder: Path) -> None: ...


@dataclass
class Unknown(Own):
    takes = "photos"


@pytest.fixture
def config(composed: Compose) -> Compose:
    def compose(kind: str, *words: str) -> DictConfig:
        found = composed(f"+_target_={__name__}.{kind}", *words, root="analyze")
        complete_data(found)
        return found

    return compose


def test_the_fields_are_keys_of_the_config(config: Compose) -> None:
    words = config("Own", "+size=3", "seed=5")
    check_config(words, Analysis)
    assert build_analysis(words) == Own(3, 5)
    assert build_analysis(config("Own", "+size=3", "+mode=slow")) == Own(3, 0, "slow")


@pytest.mark.parametrize(
    ("kind", "words", "says"),
    [
        ("Own", [], "size is missing: give size=..."),
        ("Own", ["+size=0"], "size=0: must be at least 1"),
        ("Own", ["+size=1", "+sise=2"], "sise=2: there is no such key"),
        ("Count", [], r"_target_=.*Count: a class with `takes` and `run` is needed"),
        ("build_analysis", [], "a class with `takes` and `run` is needed"),
        ("Nothing", [], "a class with `takes` and `run` is needed"),
    ],
)
def test_what_does_not_fit(config: Compose, kind: str, words: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_config(config(kind, *words), Analysis)


def test_what_is_taken_must_be_known(config: Compose) -> None:
    with pytest.raises(
        InputError, match=r"Unknown\.takes='photos': choose one of model, models, data, runs"
    ):
        build_analysis(config("Unknown", "+size=3"))


def test_a_config_of_version_0_1_says_what_to_do(composed: Compose) -> None:
    with pytest.raises(InputError, match=r"an analysis is a class .* see docs/extend\.md"):
        run.analyze(composed("+study={_target_: mypackage.study}", root="analyze"))


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_process_alone_completes_the_record(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    """The record of a run says which data set it looked at, though the command line did not."""
    target = f"+_target_={__name__}.Own"
    whole = composed(target, f"hydra.runtime.output_dir={tmp_path}", root="analyze", whole=True)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", whole)
    processes = SimpleNamespace(global_rank=rank, world_size=2)
    monkeypatch.setattr(run, "start_processes", lambda *_: processes)
    record = tmp_path / ".hydra" / "config.yaml"
    record.parent.mkdir()
    record.write_text("seed: 0\n")
    run.analyze(composed(target, "+size=3", root="analyze"))
    assert ("zfnet.data.datasets.creatures" in record.read_text()) == (rank == 0)
