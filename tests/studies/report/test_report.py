"""`analysis=report` on partial, failed, stopped, damaged and absent runs, and its images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from tests.studies.report.conftest import RunFolders
from tests.studies.report.written import (
    COMMAND,
    SEEDS,
    agreement,
    errors,
    grid,
    page,
    report,
    table,
)
from zfnet.errors import InputError
from zfnet.studies.inputs import run_folders
from zfnet.studies.report import Report


def test_a_failed_job_and_a_missing_half(runs: RunFolders, tmp_path: Path) -> None:
    grid(runs, "alexnet", lacks=("remove_7",))
    text = report(tmp_path / "report")
    rows = table(text, "**Table 3 on creatures")
    assert rows["removed layer 7"] == ["", "27.4", "", "", "40.0", "", "", "18.4", "", ""]
    assert f"- failed (killed by SIGKILL): removed layer 7: `{COMMAND}`" in text
    assert (
        "- not run yet: our model (as per Fig. 3): `python train.py model=zfnet ablation=none`"
        in text
    )
    assert agreement(text, "Table 3")["Wider convolutions 3, 4, 5 help"] == [
        "not measured",
        "",
        "+0.9",
    ]
    unfinished = text.split("## Not finished")[1]
    for seed in SEEDS:
        assert (
            f"`outputs/table3_alexnet/ablation-remove_7_seed-{seed}` | failed (killed by SIGKILL)"
            in unfinished
        )
    page(tmp_path / "report")


def test_a_job_that_never_began_and_a_run_that_was_stopped(
    runs: RunFolders, tmp_path: Path
) -> None:
    runs.sweep(
        "sweep", COMMAND, [{"folder": "a", "overrides": [], "state": "running", "error": None}]
    )
    runs.train("single", "model=zfnet", "seed=4")
    text = report(tmp_path / "report")
    assert f"`outputs/sweep/a` | running (it did not start) | `{COMMAND}`" in text
    assert (
        "`outputs/single` | not finished | `python train.py model=zfnet seed=4 resume=true`" in text
    )


def test_images_of_analyses_and_training(runs: RunFolders, tmp_path: Path) -> None:
    demo = runs.train("demo", "experiment=demo", "name=demo", result=errors(0.05))
    for name in ("curves", "evolution/conv1", "evolution/conv2"):
        runs.image(demo / f"{name}.png")
    (demo / "filters.png").write_text("no image")
    numbers: dict[str, Any] = {
        "layers": {"conv1": {"maps": [], "energy_on_object": 0.75, "energy_by_chance": 0.4}}
    }
    net = f"ckpt={demo}/checkpoints/last.ckpt"
    runs.analysis("top", "analysis=top_activations", net, numbers=numbers, images=("conv1",))
    runs.analysis("broken", "analysis=invariance", net, numbers={"other": 1})
    text = report(tmp_path / "report")
    assert (
        "Of `demo` on creatures: conv1 75 % of the projections' energy on the object (40 % by "
        "chance)." in text
    )
    assert "Features during training (Figure 4), conv2" in text
    assert "`outputs/demo/filters.png` | is damaged (UnidentifiedImageError: " in text
    assert (
        "`outputs/broken/invariance.json` | is damaged (UndefinedError: 'dict object' has no "
        "attribute 'summary')" in text
    )
    assert len(list((tmp_path / "report" / "images").iterdir())) == 4
    assert page(tmp_path / "report").count("<img ") == 4
    assert "analysis=top_activations" not in text.split("## Not run yet")[1]
    assert "python analyze.py analysis=occlusion ckpt=CKPT  # Figure 7" in text


@pytest.mark.parametrize("damage", ["", '{"val/top1', "[1, 2]"])
def test_damaged_json_is_a_row(runs: RunFolders, tmp_path: Path, damage: str) -> None:
    grid(runs, "zfnet")
    first = runs.root / "table3_zfnet" / "ablation-none_seed-1" / "result.json"
    first.write_text(damage)
    text = report(tmp_path / "report")
    assert table(text, "**Table 3 on creatures")["our model (as per Fig. 3)"][-1] == "2"
    assert "ablation-none_seed-1/result.json` | is damaged" in text
    (runs.root / "table3_zfnet" / "sweep.json").write_text(damage)
    (runs.root / "table3_zfnet" / "ablation-none_seed-1" / ".hydra" / "config.yaml").write_text(
        "a: ["
    )
    text = report(tmp_path / "again")
    assert "table3_zfnet/sweep.json` | is damaged" in text
    assert "ablation-none_seed-1/.hydra` | is damaged" in text


@pytest.mark.usefixtures("runs")
def test_where_nothing_is_found(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="runs=outputs: no run of train"):
        Report().run(["outputs"], tmp_path)
    with pytest.raises(InputError, match="runs=elsewhere: there is no such folder"):
        Report().run(["outputs", "elsewhere"], tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_run_without_results(runs: RunFolders, tmp_path: Path) -> None:
    runs.analysis("a", "analysis=occlusion", "ckpt=net.ckpt")
    text = report(tmp_path / "report")
    assert (
        "`outputs/a` | no results | `python analyze.py analysis=occlusion ckpt=net.ckpt "
        "resume=true`" in text
    )
    assert "No run measures a claim of the paper." in text


def test_folders_count_once_and_reports_do_not(runs: RunFolders, tmp_path: Path) -> None:
    grid(runs, "zfnet")
    runs.analysis("analysis/report", "analysis=report", images=("curves",))
    text = report(tmp_path / "report", "outputs", "outputs/table3_zfnet", str(runs.root))
    assert text.splitlines()[2].startswith("15 runs and 1 sweep below")
    assert table(text, "**Table 3 on creatures")["our model (as per Fig. 3)"][-1] == "3"


def test_it_is_shown_no_net(composed: Callable[..., DictConfig]) -> None:
    assert Report.takes == "runs"
    assert run_folders(composed("analysis=report", "runs=a", root="analyze")) == ["a"]
    assert run_folders(composed("analysis=report", "runs=[a,b]", root="analyze")) == ["a", "b"]
    assert run_folders(composed("analysis=report", root="analyze"))[0].endswith("/outputs")
