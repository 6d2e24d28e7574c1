"""The house stands as designed: who may import whom, a docstring a file, a conf that composes."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import ConfigCompositionException, HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf

import callbacks
from tests.helpers.commands import ROOT
from zfnet.config import Analysis, Training, check_config
from zfnet.errors import InputError
from zfnet.models.architectures import ARCHITECTURES, apply_edit
from zfnet.studies import Analysis as AnalysisProtocol
from zfnet.studies.inputs import complete_data
from zfnet.studies.run import LOADERS

PACKAGE = ROOT / "src" / "zfnet"
CONF = ROOT / "conf"

BELOW = {
    "errors",
    "progress",
    "io",
    "fingerprint",
    "sizes",
    "validation",
    "metrics",
    "versions",
    "json_output",
    "progress_file",
    "ranks",
    "parts",
}  # rooms that all others may know

# Each room knows those on its line, itself, and those below: no arrow up, no circle.
KNOWS = {
    "errors": set(),
    "progress": set(),
    "io": set(),
    "fingerprint": set(),
    "sizes": set(),
    "validation": set(),
    "metrics": set(),
    "versions": set(),
    "json_output": set(),
    "progress_file": set(),
    "ranks": set(),
    "parts": {"ranks"},
    "config": set(),
    "launch": set(),
    "models": set(),
    "data": set(),
    "viz": set(),
    "deconv": {"models"},
    "analysis": {"models", "deconv"},
    "model_on_data": {"models", "data", "deconv"},
    "search": {"deconv", "analysis", "model_on_data"},
    "atlas": {"models", "data", "viz", "deconv", "analysis", "model_on_data", "search"},
    "probing": {"models", "data", "model_on_data"},
    "training": {"config", "models", "data", "model_on_data", "probing", "launch"},
    "studies": {
        *("config", "models", "data", "viz", "deconv", "analysis"),
        *("model_on_data", "search", "atlas", "probing", "training", "launch"),
    },
    "callbacks": {
        *("models", "data", "viz", "deconv", "analysis", "model_on_data", "atlas", "training"),
    },
}
KNOWS_LIGHTNING = {"metrics", "data", "launch", "training", "studies", "callbacks"}
KNOW_HYDRA = {
    "train.py",
    "analyze.py",
    "src/zfnet/training/fit.py",
    "src/zfnet/training/frozen_transfer.py",
    "src/zfnet/training/trainer.py",
    *(
        f"src/zfnet/launch/{name}.py"
        for name in (
            *("command_line", "distributed", "entry_point", "error_messages"),
            *("resolvers", "run_dirs", "sweep", "sweep_job"),
        )
    ),
    "src/zfnet/studies/run.py",
    "src/zfnet/studies/inputs.py",
}

FILES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "callbacks").rglob("*.py"), *ROOT.glob("*.py")])


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module that a file imports, at the top or in a function, in full; `from x import y` is
    x.y."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def room(path: Path) -> str:
    """The package below zfnet, or callbacks; a file at the top of zfnet is a room of its own."""
    if path.is_relative_to(PACKAGE):
        return path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def rooms_of(modules: frozenset[str]) -> Iterator[str]:
    for module in modules:
        first, *rest = module.split(".")
        if first == "zfnet":
            yield rest[0] if rest else "zfnet"
        elif first == "callbacks":
            yield "callbacks"


LIBRARY = [path for path in FILES if room(path) not in ("__init__", "train", "analyze")]


@pytest.mark.parametrize("path", LIBRARY, ids=named)
def test_rooms_know_only_those_to_their_left(path: Path) -> None:
    own = room(path)
    assert own in KNOWS, f"{own} has no place in the house: give it one here and in the design"
    assert set(rooms_of(imports(path))) <= KNOWS[own] | {own} | BELOW


def test_there_is_no_circle() -> None:
    """Taking away, again and again, the rooms that know none of those left takes away all."""
    left = dict(KNOWS)
    while left:
        lowest = [name for name, known in left.items() if not known & set(left)]
        assert lowest, f"a circle among {sorted(left)}"
        for name in lowest:
            del left[name]


@pytest.mark.parametrize("path", FILES, ids=named)
def test_lightning_and_hydra_stay_where_they_belong(path: Path) -> None:
    roots = {module.split(".")[0] for module in imports(path)}
    if room(path) not in KNOWS_LIGHTNING:
        assert not roots & {"lightning", "pytorch_lightning", "torchmetrics"}
    if named(path) not in KNOW_HYDRA:
        assert "hydra" not in roots
    if path.is_relative_to(PACKAGE):
        assert "callbacks" not in roots
    assert "sys.path" not in path.read_text()


@pytest.mark.parametrize("path", [*FILES, *sorted((ROOT / "tests").rglob("*.py"))], ids=named)
def test_every_file_opens_with_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring
    assert docstring.splitlines()[0].strip().endswith((".", ":", "`", "?"))


# The configs, as the command line composes them

WITH = {  # what a choice needs beside it
    "model=custom": ["model._target_=timm.create_model", "model.model_name=resnet18"],
    "model=timm": ["model.name=resnet18"],
    "model=torchvision": ["model.name=resnet18"],
    "data=class_folders": ["data.root=/photos"],
    "data=csv": ["data.root=/photos.csv"],
    "data=few_per_class": ["data.source=null"],
    "data=folder": ["data.root=/photos"],
    "data=huggingface": ["data.dataset=pets"],
    "data=images": ["data.source=null"],
    "data=parquet": ["data.root=/tables"],
    "data=photos": ["data.root=/photos"],
    "data=webdataset": ["data.root=/shards"],
}
GROUPS = {
    path.name: sorted(f.stem for f in path.glob("*.yaml"))
    for path in sorted(CONF.iterdir())
    if path.is_dir()
}
CHOICES = [
    f"{group}={name}"
    for group, names in GROUPS.items()
    for name in names
    if group not in ("ablation", "analysis", "callbacks", "hparams_search", "run", "hydra")
]


def nodes(config: Any) -> Iterator[DictConfig]:
    """Every mapping of a config that names a `_target_`."""
    if isinstance(config, DictConfig):
        if "_target_" in config:
            yield config
        for key in config:
            if not OmegaConf.is_missing(config, key) and not OmegaConf.is_interpolation(
                config, key
            ):
                yield from nodes(config[key])
    elif isinstance(config, ListConfig):
        for item in config:
            yield from nodes(item)


def check(config: DictConfig) -> None:
    """Each target exists and takes the arguments given."""
    for node in nodes(config):
        words = {key for key in node if key not in ("_target_", "_partial_", "input_norm")}
        target = get_object(node["_target_"])
        if target.__module__ == "datetime":  # has no signature to ask
            target(**{word: node[word] for word in words})
        else:
            inspect.signature(target).bind_partial(**dict.fromkeys(words))


@pytest.mark.usefixtures("run_folder")
@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes(composed: Callable[..., DictConfig], choice: str) -> None:
    """And passes the one check, for analyze.py as well; what others start from has no source."""
    config = composed(choice, *WITH.get(choice, []))
    check(config)
    if config.data.source is None:
        return
    check_config(config, Training)
    if choice.startswith("data="):
        words = [choice, "analysis=doctor", *WITH.get(choice, [])]
        check_config(composed(*words, root="analyze"), Analysis)


@pytest.mark.usefixtures("run_folder")
@pytest.mark.parametrize("name", GROUPS["analysis"])
def test_every_analysis_composes(composed: Callable[..., DictConfig], name: str) -> None:
    config = composed(f"analysis={name}", root="analyze")
    complete_data(config)
    check_config(config, Analysis)
    kind = get_object(config._target_)
    assert is_dataclass(kind)
    assert AnalysisProtocol in kind.__mro__
    assert kind.takes in LOADERS
    head = (CONF / "analysis" / f"{name}.yaml").read_text().splitlines()[1]
    assert f"python analyze.py analysis={name}" in head


@pytest.mark.usefixtures("run_folder")
@pytest.mark.parametrize("name", sorted({*GROUPS["callbacks"]} - {"none"}))
def test_every_callback_composes_alone(composed: Callable[..., DictConfig], name: str) -> None:
    config = composed(f"callbacks=[{name}]")
    assert config.callbacks
    check(config)
    check_config(config, Training)


def test_the_whole_default_config(composed: Callable[..., DictConfig]) -> None:
    config = composed()
    check(config)
    assert composed("callbacks=[]").callbacks == composed("callbacks=none").callbacks == {}
    targets = {node["_target_"] for node in nodes(config.callbacks)}
    assert {f"callbacks.{name}" for name in callbacks.__all__} - {
        "callbacks.Atlas",
        "callbacks.OperatorProfile",
        "callbacks.WeightHistograms",
    } <= targets


@pytest.mark.parametrize("name", GROUPS["ablation"])
def test_every_ablation_edits_both_nets(composed: Callable[..., DictConfig], name: str) -> None:
    edit = OmegaConf.to_container(composed(f"ablation={name}").model.edit)
    assert bool(edit) == (name != "none")
    for plain in ARCHITECTURES.values():
        result = apply_edit(plain, edit)
        assert list(result)[-1] == "fc8"
        assert name in ("none", "dense") or result != plain


@pytest.mark.parametrize("typo", ["sead=1", "path.data_dir=1", "data.batchsize=2"])
def test_a_misspelt_key_fails(composed: Callable[..., DictConfig], typo: str) -> None:
    with pytest.raises(ConfigCompositionException, match=re.escape(typo.split("=")[0])):
        composed(typo)


@pytest.mark.usefixtures("run_folder")
@pytest.mark.parametrize(
    "typo",
    [
        "optimizer.learning_rate=1",
        "scheduler.patients=1",
        "trainer.epochs=3",
        "model.edt=null",
        "callbacks.a=1",
        "logger.b=1",
    ],
)
def test_a_misspelt_key_of_an_object_fails(composed: Callable[..., DictConfig], typo: str) -> None:
    with pytest.raises(InputError, match=re.escape(typo.split("=")[0])):
        check_config(composed(typo), Training)


@pytest.mark.parametrize(
    "typo", ["model=zfnett", "datta=creatures", "ablation=remove_9", "callbacks=[progres]"]
)
def test_a_misspelt_choice_fails(composed: Callable[..., DictConfig], typo: str) -> None:
    with pytest.raises(HydraException, match=re.escape(typo.split("=")[0])):
        composed(typo)


def test_experiments_say_their_command() -> None:
    """An experiment opens with its command, what it costs and what to expect."""
    for path in (CONF / "experiment").glob("*.yaml"):
        head = [line for line in path.read_text().splitlines() if line.startswith("#")]
        assert any(f"experiment={path.stem}" in line for line in head), path


def test_no_test_calls_a_private_function() -> None:
    private = {
        node.name
        for path in LIBRARY
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and re.fullmatch("_[a-z](.*[^_])?", node.name)
    }
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            others = isinstance(node, ast.Attribute) and ast.unparse(node.value) != "self"
            used = [node.attr] if others and not hasattr(torch.Tensor, node.attr) else []
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("zfnet"):
                used = [alias.name for alias in node.names]
            called = sorted(name for name in used if name in private)
            assert not called, f"{named(path)}: {called}"
