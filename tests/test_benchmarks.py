"""Every benchmark runs at tiny size.

Its speeds mean nothing there; its claims of equality hold all the same."""

import math
import os
import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

import benchmarks
from benchmarks.__main__ import main
from tests.helpers.commands import ROOT


def test_every_benchmark_runs_at_tiny_size() -> None:
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        "OMP_NUM_THREADS": "1",
    }
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--tiny"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    head, *lines = (line.split(" | ") for line in run.stdout.splitlines() if " | " in line)
    assert head == ["name", "ours", "peer", "ratio", "goal"]
    assert all(len(line) == 5 and math.isfinite(float(line[3])) for line in lines)
    for name, *_, ratio, goal in lines:
        if "difference" in name:
            assert float(ratio) <= float(goal.removeprefix("<= "))
        if "predictions" in name:
            assert float(ratio) >= float(goal.removeprefix(">= "))
    subjects = [
        module.name
        for module in pkgutil.iter_modules(benchmarks.__path__)
        if module.name != "__main__"
        and hasattr(import_module(f"benchmarks.{module.name}"), "bench")
    ]
    assert len(lines) >= len(subjects) >= 11


def test_an_unknown_benchmark_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "nothing"])
    with pytest.raises(
        SystemExit, match=r"^no benchmark named nothing: choose from any_net, atlas, "
    ):
        main()
