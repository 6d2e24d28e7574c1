"""Every benchmark runs at tiny size.

Its speeds mean nothing there; its claims of equality hold all the same."""

import math
import pkgutil
import sys
from importlib import import_module

import pytest
import torch

import benchmarks
from benchmarks.__main__ import main
from benchmarks.on_gpu import Sizes, bench_on
from benchmarks.on_gpu import main as on_gpu_main
from tests.helpers.commands import Commands


def test_every_benchmark_runs_at_tiny_size(commands: Commands) -> None:
    run = commands.run("benchmarks/__main__.py", ["--tiny"])
    assert run.status == 0, run.errors[-2000:]
    head, *lines = (line.split(" | ") for line in run.output.splitlines() if " | " in line)
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


def test_the_benchmark_of_a_gpu_runs_on_a_cpu_at_tiny_size() -> None:
    edit = {f"conv{number}": {"channels": 4} for number in range(1, 6)}
    edit |= {name: {"units": 16} for name in ("fc6", "fc7")}
    few = {"images": 8, "batches": (4,), "search": 4, "units": 2, "repeats": 1}
    sizes = Sizes(side=64, stored=72, square=40, edit=edit, **few)
    rows = bench_on("cpu", sizes)
    assert [row.name for row in rows][:3] == [
        *("training, batch 4 (by hand, no data)", "top 9 of conv1-5 (forward pass)"),
        "occlusion (captum)",
    ]
    assert len(rows) == 8
    assert all(math.isfinite(row.ratio) and row.ratio > 0 for row in rows)


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match=r"^no GPU: make bench-gpu measures on one$"):
        on_gpu_main()
