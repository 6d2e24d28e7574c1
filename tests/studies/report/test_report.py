"""`analysis=report` on complete, partial, failed, damaged and absent runs."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from tests.studies.report.conftest import RunFolders
from zfnet.errors import InputError
from zfnet.studies.paper import ABLATIONS, VOC_2012
from zfnet.studies.report import study
from zfnet.studies.run import first_word, runs_of

SEEDS = (1, 2, 3)
COMMAND = "python train.py experiment=table3_alexnet seed=1,2,3 --multirun"


def errors(val: float, **others: float) -> dict[str, float]:
    """A training run's result.json."""
    result = {
        "val/top1_error": val,
        "val/top5_error": val / 4,
        "trained/top1_error": val / 2,
        "seconds": 30.0,
    }
    return result | {"test/top1_error": val, "test/top5_error": val / 4} | others


def grid(runs: RunFolders, architecture: str, lacks: tuple[str, ...] = ()) -> None:
    """A sweep of half of Table 3: a tenth of the paper's error, seeds 0.4 points apart."""
    name, jobs = f"table3_{architecture}", []
    for (net, row), paper in ABLATIONS.items():
        if net != architecture:
            continue
        for seed in SEEDS:
            job = f"ablation-{row}_seed-{seed}"
            words = (f"model={net}", f"ablation={row}", f"seed={seed}")
            result = None if row in lacks else errors(paper.val_top1 / 1000 + 0.004 * (seed - 2))
            folder = runs.train(f"{name}/{job}", *words, result=result)
            history = [{"epoch": epoch, "val/top1_error": 0.5 / epoch} for epoch in (1, 2, 3)]
            (folder / "history.json").write_text(json.dumps(history))
            state = (
                {"state": "failed", "error": "killed by SIGKILL"} if row in lacks else {"state": "finished"}
            )
            jobs.append({"folder": job, "overrides": list(words), "error": None, **state})
    runs.sweep(name, COMMAND.replace("alexnet", architecture), jobs)


def few(runs: RunFolders, data: str, how: str, k: int, fold: int, accuracy: float) -> None:
    words = (
        f"data={data}",
        f"transfer={how}",
        "ckpt=six.ckpt",
        f"data.images_per_class={k}",
        f"data.fold={fold}",
    )
    result = {"val/class_accuracy": accuracy, "val/top1_error": 1 - accuracy}
    runs.train(f"{data}/{how}-{k}-{fold}", *words, result=result)


def report(folder: Path, *runs: str) -> str:
    """The Markdown; the page beside it is looked at by `page`."""
    folder.mkdir()
    study(list(runs) or ["outputs"], folder)
    return (folder / "report.md").read_text()


def lines_of(text: str, title: str) -> list[tuple[str, list[str]]]:
    """The names and cells of the first table beneath a title that begins so."""
    after = text.split(f"\n{title}", 1)[1]
    lines = [line[2:-2].split(" | ") for line in after.split("\n| ", 1)[1].split("\n\n")[0].splitlines()]
    return [(line[0].strip(), [cell.strip() for cell in line[1:]]) for line in lines]


def table(text: str, title: str) -> dict[str, list[str]]:
    return dict(lines_of(text, title))


def agreement(text: str, where: str) -> dict[str, list[str]]:
    """Of each claim about the table `where` the verdict, its margin here and that in the paper."""
    lines = lines_of(text, "## Agreement")
    start = next(i for i, (name, _) in enumerate(lines) if name.startswith(f"**{where}"))
    return dict(takewhile(lambda line: not line[0].startswith("**"), lines[start + 1 :]))


class Page(HTMLParser):
    """Tags that were opened and not closed, addresses, pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(folder: Path) -> str:
    """The HTML, well formed and in need of nothing outside itself."""
    text = (folder / "report.html").read_text()
    found = Page(text)
    assert not found.open
    assert all(address.startswith(("data:image/", "#")) for address in found.addresses)
    assert not re.search(r"@import|url\(|<script|<link", text)
    return text


def test_table_3_in_full(runs: RunFolders, tmp_path: Path) -> None:
    """Means and deviations over seeds, the paper's, the difference; nothing missing; claims as computed."""
    grid(runs, "alexnet")
    grid(runs, "zfnet")
    text = report(tmp_path / "report")
    rows = table(text, "**Table 3 on creatures")
    assert rows["removed layers 3,4,6,7"] == [
        *("3.6 ± 0.2", "71.1", "−67.5"),
        *("7.1 ± 0.4", "71.3", "−64.2"),
        *("1.8 ± 0.1", "50.1", "−48.3"),
        "3",
    ]
    assert len(rows) == 2 + 2 + len(ABLATIONS) - 2  # head, rule, two headings; two names stand in both halves
    assert "not run yet: " not in text.split("\n**Table 3")[1].split("## ")[0]
    claims = agreement(text, "Table 3")
    assert claims[
        "Removing layers 3, 4, 6 and 7 hurts more than removing 3, 4 and removing 6, 7 do together"
    ] == [*("agrees", "+2.2 ± 0.8", "+21.6")]
    assert claims["Wider convolutions 3, 4, 5 help"] == ["within the noise", "+0.1 ± 0.6", "+0.9"]
    assert f"```sh\n{COMMAND}\n```" in text
    assert "seeds 1, 2, 3; 10 minutes of jobs; python 3.11.9, torch 2.15.0; 2 CPU cores, no GPU" in text
    assert "Numbers here are of `creatures`" in text
    html = page(tmp_path / "report")
    assert "<b" not in html.split("<table")[1].split("</table")[0].replace("<tbody", "")
    for picture in (tmp_path / "report" / "pictures").iterdir():
        assert f"(pictures/{picture.name})" in text


def test_a_failed_job_and_a_missing_half(runs: RunFolders, tmp_path: Path) -> None:
    grid(runs, "alexnet", lacks=("remove_7",))
    text = report(tmp_path / "report")
    rows = table(text, "**Table 3 on creatures")
    assert rows["removed layer 7"] == ["", "27.4", "", "", "40.0", "", "", "18.4", "", ""]
    assert f"- failed (killed by SIGKILL): removed layer 7: `{COMMAND}`" in text
    assert "- not run yet: our model (as per Fig. 3): `python train.py model=zfnet ablation=none`" in text
    assert agreement(text, "Table 3")["Wider convolutions 3, 4, 5 help"] == ["not measured", "", "+0.9"]
    unfinished = text.split("## Not finished")[1]
    for seed in SEEDS:
        assert (
            f"`outputs/table3_alexnet/ablation-remove_7_seed-{seed}` | failed (killed by SIGKILL)"
            in unfinished
        )
    page(tmp_path / "report")


def test_a_job_that_never_began_and_a_run_that_was_stopped(runs: RunFolders, tmp_path: Path) -> None:
    runs.sweep("sweep", COMMAND, [{"folder": "a", "overrides": [], "state": "running", "error": None}])
    runs.train("single", "model=zfnet", "seed=4")
    text = report(tmp_path / "report")
    assert f"`outputs/sweep/a` | running (before it began) | `{COMMAND}`" in text
    assert "`outputs/single` | not finished | `python train.py model=zfnet seed=4 resume=true`" in text


def test_other_settings_do_not_mix(runs: RunFolders, tmp_path: Path) -> None:
    """Only the seed may differ between runs of one row."""
    for number, words in enumerate(
        [("seed=1",), ("seed=2",), ("seed=3", "recipe.lr=0.1"), ("data.image_size=64",)]
    ):
        for row in ("none", "remove_7"):
            name = f"{number}-{row}"
            runs.train(name, "model=alexnet", f"ablation={row}", *words, result=errors(0.1 * (number + 1)))
    text = report(tmp_path / "report")
    heads = re.findall(r"\n\*\*(Table 3 on .*)\*\*\n", text)
    assert heads == [
        "Table 3 on creatures, 112 pixels, 12 epochs (4 runs)",
        "Table 3 on creatures, 112 pixels, 12 epochs (recipe.lr=0.1)",
        "Table 3 on creatures, 64 pixels, 12 epochs",
    ]
    assert table(text, f"**{heads[0]}**")["removed layer 7"][3] == "15.0 ± 7.1"
    assert table(text, f"**{heads[1]}**")["removed layer 7"][3] == "30.0"


def test_transfer_over_k_and_folds(runs: RunFolders, tmp_path: Path) -> None:
    for fold in (0, 1):
        for k in (15, 30):
            few(runs, "caltech101", "frozen", k, fold, 0.8 + k / 1000 + fold / 100)
            few(runs, "caltech101", "scratch", k, fold, 0.2 + k / 100 + fold / 100)
        few(runs, "creatures_few", "frozen", 5, fold, 0.6)
    text = report(tmp_path / "report")
    rows = table(text, "**Table 4 on caltech101")
    assert rows["pre-trained, frozen"] == [
        *("82.0 ± 0.7", "83.8 ± 0.5", "−1.8", "83.5 ± 0.7", "86.5 ± 0.5", "−3.0", "2")
    ]
    assert rows["Yang et al. (2009)"] == ["", "73.2", "", "", "84.3", "", ""]
    assert table(text, "**Tables 4 and 5 on creatures_few")["pre-trained, frozen"] == [
        "60.0 ± 0.0",
        "",
        "",
        "2",
    ]
    line = "python train.py data=creatures_few ckpt=six.ckpt data.fold=0 transfer=scratch data.images_per_class=5"
    assert f"not run yet: from scratch, 5: `{line}`" in text
    assert "- Pre-trained here: `six.ckpt`, read at the layer before the classifier" in text
    for where, frozen, fades in (
        ("Table 4 on caltech101", "agrees", "agrees"),
        ("Tables 4 and 5", *["not measured"] * 2),
    ):
        claims = agreement(text, where)
        assert claims["Pre-trained features beat training from scratch at every k"][0] == frozen
        assert claims["They add most where images are fewest"][0] == fades
    assert "![Figure 9" in text


def test_voc(runs: RunFolders, tmp_path: Path) -> None:
    precision = {name: each / 200 for name, (_, each) in VOC_2012.items()}
    result = {"val/mean_average_precision": 0.395, "val/average_precision": precision}
    words = ("data=voc2012", "transfer=frozen", "ckpt=net.ckpt")
    runs.train("softmax", *words, result=result)
    runs.train("sigmoid", *words, "transfer.head=sigmoid")
    text = report(tmp_path / "report")
    rows = table(text, "**Table 6 on voc2012")
    assert rows["tv"] == ["38.0", "−38.0", "76.1"]
    assert rows["mean"] == ["39.5", "−39.5", "79.0"]
    assert "not finished: pre-trained, frozen (sigmoid): `python train.py" in text
    claims = agreement(text, "Table 6")
    assert claims["The mean lies above that of Sande et al."] == ["does not agree", "−34.8", "+4.7"]


def test_ensembles(runs: RunFolders, tmp_path: Path) -> None:
    nets = [
        runs.train(f"z{seed}", "model=zfnet", f"seed={seed}", result=errors(0.1 + seed / 100))
        for seed in (1, 3)
    ]
    nets.append(runs.train("w", "model=zfnet", "ablation=wide_3_4_5", result=errors(0.11)))
    paths = [f"outputs/{net.name}/checkpoints/last.ckpt" for net in nets]
    rows = [
        {"name": "z1 + z3", "nets": paths[:2], "crops": 10, "top1_error": 0.09, "top5_error": 0.01},
        {"name": "all", "nets": paths, "crops": 10, "top1_error": 0.08, "top5_error": None},
        {"name": "all, one crop", "nets": paths, "crops": 1, "top1_error": 0.5, "top5_error": 0.5},
    ]
    runs.analysis("e", "analysis=ensemble", f"ckpt=[{','.join(paths)}]", numbers={"rows": rows})
    text = report(tmp_path / "report")
    found = table(text, "**Table 2 on creatures")
    assert found["1 convnet as per Fig. 3"][:3] == ["12.0 ± 1.4", "38.4", "−26.4"]
    assert found["5 convnets as per Fig. 3 (a)"] == [
        "9.0",
        "36.7",
        "−27.7",
        "1.0",
        "15.3",
        "−14.3",
        "15.3",
        "2",
    ]
    assert found["6 convnets, (a) & (b) combined"][:4] == ["8.0", "36.0", "−28.0", ""]
    assert (
        agreement(text, "Table 2")["Averaging several nets of Figure 3 errs less than one"][1] == "+3.0 ± 1.4"
    )


def test_layer_probe(runs: RunFolders, tmp_path: Path) -> None:
    layers = {
        f"conv{n}": {"svm": {"30": {"folds": [n / 10, n / 10 + 0.02]}}, "softmax": {"30": {"folds": [0.5]}}}
        for n in range(1, 6)
    }
    layers["conv5.pool"], layers["extra"] = layers["conv5"], layers["conv1"]
    numbers = {f"conv{n}": n for n in range(1, 6)} | {"conv5.pool": 5, "extra": None}
    folder = runs.analysis("probe", "analysis=ensemble", "data=caltech101", "ckpt=net.ckpt")
    (folder / "layer_probe.json").write_text(json.dumps({"layers": layers, "numbers": numbers}))
    hydra = folder / ".hydra" / "hydra.yaml"
    hydra.write_text(hydra.read_text().replace("analysis: ensemble", "analysis: layer_probe"))
    text = report(tmp_path / "report")
    rows = table(text, "**Table 7")
    assert rows["conv5"] == ["51.0 ± 1.4", "", "", "50.0", "", ""]
    assert rows["extra"] == ["11.0 ± 1.4", "", "", "50.0", "", ""]
    assert rows["layer 5 (conv5.pool)"] == [
        "51.0 ± 1.4",
        "86.2 ± 0.8",
        "−35.2",
        "50.0",
        "82.9 ± 0.4",
        "−32.9",
    ]
    assert rows["layer 7"] == ["", "85.5 ± 0.4", "", "", "85.4 ± 0.4", ""]
    said = agreement(text, "Table 7")
    assert said["The accuracy of a linear SVM rises with every layer from 1 to 5"][1:] == [
        "+10.0 ± 2.8",
        "+4.3",
    ]


def test_pictures_of_analyses_and_training(runs: RunFolders, tmp_path: Path) -> None:
    demo = runs.train("demo", "experiment=demo", "name=demo", result=errors(0.05))
    for name in ("curves", "evolution/conv1", "evolution/conv2"):
        runs.picture(demo / f"{name}.png")
    (demo / "filters.png").write_text("no picture")
    numbers: dict[str, Any] = {
        "layers": {"conv1": {"maps": [], "energy_on_object": 0.75, "energy_by_chance": 0.4}}
    }
    net = f"ckpt={demo}/checkpoints/last.ckpt"
    runs.analysis("top", "analysis=top_activations", net, numbers=numbers, pictures=("conv1",))
    runs.analysis("broken", "analysis=invariance", net, numbers={"other": 1})
    text = report(tmp_path / "report")
    assert (
        "Of `demo` on creatures: conv1 75 % of the projections' energy on the object (40 % by chance)."
        in text
    )
    assert "Features through training (Figure 4), conv2" in text
    assert "`outputs/demo/filters.png` | is no picture that can be read" in text
    assert "`outputs/broken/invariance.json` | has other contents than expected (KeyError('summary'))" in text
    assert len(list((tmp_path / "report" / "pictures").iterdir())) == 4
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
    (runs.root / "table3_zfnet" / "ablation-none_seed-1" / ".hydra" / "config.yaml").write_text("a: [")
    text = report(tmp_path / "again")
    assert "table3_zfnet/sweep.json` | is damaged" in text
    assert "ablation-none_seed-1/.hydra` | is damaged" in text


@pytest.mark.usefixtures("runs")
def test_where_nothing_is_found(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="runs=outputs: no run of train"):
        study(["outputs"], tmp_path)
    with pytest.raises(InputError, match="runs=elsewhere: there is no such folder"):
        study(["outputs", "elsewhere"], tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_run_without_results(runs: RunFolders, tmp_path: Path) -> None:
    runs.analysis("a", "analysis=occlusion", "ckpt=net.ckpt")
    text = report(tmp_path / "report")
    assert (
        "`outputs/a` | no results | `python analyze.py analysis=occlusion ckpt=net.ckpt resume=true`" in text
    )
    assert "No run speaks of a claim of the paper." in text


def test_folders_count_once_and_reports_do_not(runs: RunFolders, tmp_path: Path) -> None:
    grid(runs, "zfnet")
    runs.analysis("analysis/report", "analysis=report", pictures=("curves",))
    text = report(tmp_path / "report", "outputs", "outputs/table3_zfnet", str(runs.root))
    assert text.splitlines()[2].startswith("15 runs and 1 sweeps below")
    assert table(text, "**Table 3 on creatures")["our model (as per Fig. 3)"][-1] == "3"


def test_it_is_shown_no_net(composed: Callable[..., DictConfig]) -> None:
    assert first_word(study) == "runs"
    assert runs_of(composed("analysis=report", "runs=a", root="analyze")) == ["a"]
    assert runs_of(composed("analysis=report", "runs=[a,b]", root="analyze")) == ["a", "b"]
    assert runs_of(composed("analysis=report", root="analyze"))[0].endswith("/outputs")
