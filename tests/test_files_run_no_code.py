"""No file that is read back runs code, even when a file was tampered with."""

import ast
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.commands import ROOT
from zfnet.data import Creatures, build_store
from zfnet.errors import InputError
from zfnet.io import read_json, read_torch
from zfnet.models.weights import load_plain, read_state_dict
from zfnet.studies.report.discovery import find_runs

SOURCES = sorted(
    [*(ROOT / "src").rglob("*.py"), *(ROOT / "callbacks").rglob("*.py"), *ROOT.glob("*.py")]
)
LOCATES = {  # what the user's own config names, or trusts
    "src/zfnet/studies/run.py",
    "src/zfnet/studies/score_option.py",
    "src/zfnet/training/networks.py",
}
RUNS = {"pickle", "cPickle", "dill", "marshal", "shelve", "joblib", "cloudpickle"}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a file by its dotted name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def word(call: ast.Call, name: str) -> str | None:
    return next((ast.unparse(each.value) for each in call.keywords if each.arg == name), None)


def assigned(path: Path, name: str) -> str | None:
    """What a file's constant `name` is."""
    nodes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign)]
    return next(
        (ast.unparse(each.value) for each in nodes if ast.unparse(each.targets[0]) == name), None
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_read_that_could_run(path: Path) -> None:
    for name, call in calls(path):
        assert name not in ("eval", "exec", "__import__"), name
        assert name.partition(".")[0] not in RUNS, name
        if name.endswith(("torch.load", "load_from_checkpoint")):
            assert word(call, "weights_only") == "True"
        if name in ("np.load", "numpy.load", "np.memmap"):
            assert word(call, "allow_pickle") in (None, "False")
        if name in ("yaml.load", "yaml.load_all"):
            loader = word(call, "Loader") or ""
            assert "SafeLoader" in (assigned(path, loader) or loader)
        assert not name.startswith(
            ("yaml.unsafe", "yaml.full", "torch.serialization.add_safe_globals")
        ), name
        if name in ("pydoc.locate", "get_class", "get_method", "get_object", "locate"):
            assert path.relative_to(ROOT).as_posix() in LOCATES
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] not in RUNS


class Payload:
    """What a pickle would call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def ran(tmp_path: Path) -> Iterator[Path]:
    """What the payload makes; it must not be there at the end."""
    yield tmp_path / "ran"
    assert not (tmp_path / "ran").exists()


def test_the_payload_would_run(tmp_path: Path) -> None:
    torch.save({"a": Payload(tmp_path / "made")}, tmp_path / "a.pt")
    torch.load(tmp_path / "a.pt", weights_only=False)
    assert (tmp_path / "made").exists()


def test_torch_files(ran: Path, tmp_path: Path) -> None:
    """Searches, features of evolution, weights and checkpoints are read by these."""
    torch.save({"state_dict": {"a": torch.zeros(1)}, "seen": Payload(ran)}, tmp_path / "a.pt")
    for read in (load_plain, read_state_dict, lambda path: read_torch(path, "delete it")):
        with pytest.raises(InputError):
            read(tmp_path / "a.pt")


def test_the_progress_of_a_store(
    ran: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is damaged, and the build starts again."""
    folder = tmp_path / "store"
    folder.mkdir()
    buffer = io.BytesIO()
    np.savez(
        buffer,
        **{
            name: np.array([Payload(ran)], dtype=object)
            for name in ("settings", "done", "total", "bad")
        },
    )
    (folder / "progress.npz").write_bytes(buffer.getvalue())
    assert len(build_store(Creatures(2, size=16), folder, 16, workers=1)) == 2
    assert "Object arrays cannot be loaded" in caplog.text


def test_the_labels_of_a_store(ran: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    build_store(Creatures(2, size=16), folder, 16, workers=1)
    np.save(folder / "labels.npy", np.array([Payload(ran)] * 2, dtype=object), allow_pickle=True)
    with pytest.raises(InputError):
        build_store(Creatures(2, size=16), folder, 16, workers=1)


def test_a_runs_config_in_the_report(ran: Path, tmp_path: Path) -> None:
    """A tag that would call is a damaged file, an interpolation stays a word."""
    hydra = tmp_path / "runs" / "a" / ".hydra"
    hydra.mkdir(parents=True)
    about = {
        "hydra": {"runtime": {"choices": {}}, "overrides": {"task": []}, "job": {"name": "train"}}
    }
    (hydra / "hydra.yaml").write_text(json.dumps(about))
    (hydra / "config.yaml").write_text(f"seed: !!python/object/apply:os.system ['touch {ran}']\n")
    found = find_runs([str(tmp_path / "runs")])
    assert (len(found.runs), len(found.problems)) == (0, 1)
    (hydra / "config.yaml").write_text("seed: ${oc.env:HOME}\n_target_: os.system\n")
    assert find_runs([str(tmp_path / "runs")]).runs[0].get("seed") == "${oc.env:HOME}"


def test_json_is_data(ran: Path, tmp_path: Path) -> None:
    """The index of kept features, a manifest and a result are read by this."""
    (tmp_path / "a.json").write_text(
        json.dumps({"_target_": "os.system", "command": f"touch {ran}"})
    )
    assert read_json(tmp_path / "a.json", "delete it")["_target_"] == "os.system"
