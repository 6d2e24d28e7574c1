"""`analysis=report`: every table of the paper, ours beside it, and what is claimed of it."""

import json
import re
from pathlib import Path

from tests.studies.report.conftest import RunFolders
from tests.studies.report.written import COMMAND, agreement, errors, few, grid, page, report, table
from zfnet.studies.reference_results import ABLATIONS, VOC_2012


def test_table_3_in_full(runs: RunFolders, tmp_path: Path) -> None:
    """Means and deviations over seeds, the paper's, the difference; nothing missing; claims as
    computed."""
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
    # Head, rule, two headings; two names stand in both halves.
    assert len(rows) == 2 + 2 + len(ABLATIONS) - 2
    assert "not run yet: " not in text.split("\n**Table 3")[1].split("## ")[0]
    claims = agreement(text, "Table 3")
    assert claims[
        "Removing layers 3, 4, 6 and 7 hurts more than removing 3, 4 and removing 6, 7 do together"
    ] == [*("agrees", "+2.2 ± 0.8", "+21.6")]
    assert claims["Wider convolutions 3, 4, 5 help"] == ["within the noise", "+0.1 ± 0.6", "+0.9"]
    assert f"```sh\n{COMMAND}\n```" in text
    assert (
        "seeds 1, 2, 3; 10 minutes of jobs; python 3.11.9, torch 2.15.0; 2 CPU cores, no GPU"
        in text
    )
    assert "Numbers here are of `creatures`" in text
    html = page(tmp_path / "report")
    assert "<b" not in html.split("<table")[1].split("</table")[0].replace("<tbody", "")
    for image in (tmp_path / "report" / "images").iterdir():
        assert f"(images/{image.name})" in text


def test_results_of_version_0_1(runs: RunFolders, tmp_path: Path) -> None:
    """They call the training error trained/top1_error, and are averaged with those of today."""
    for seed in (1, 2):
        result = errors(0.1 * seed)
        if seed == 1:
            result["trained/top1_error"] = result.pop("train_eval/top1_error")
        runs.train(f"{seed}", "model=alexnet", "ablation=remove_7", f"seed={seed}", result=result)
    rows = table(report(tmp_path / "report"), "**Table 3 on creatures")
    assert rows["removed layer 7"][:4] == ["7.5 ± 3.5", "27.4", "−19.9", "15.0 ± 7.1"]


def test_other_settings_do_not_mix(runs: RunFolders, tmp_path: Path) -> None:
    """Only the seed may differ between runs of one row."""
    for number, words in enumerate(
        [("seed=1",), ("seed=2",), ("seed=3", "optimizer.lr=0.1"), ("data.image_size=64",)]
    ):
        for row in ("none", "remove_7"):
            name = f"{number}-{row}"
            runs.train(
                name, "model=alexnet", f"ablation={row}", *words, result=errors(0.1 * (number + 1))
            )
    text = report(tmp_path / "report")
    heads = re.findall(r"\n\*\*(Table 3 on .*)\*\*\n", text)
    assert heads == [
        "Table 3 on creatures, 112 pixels, 12 epochs (4 runs)",
        "Table 3 on creatures, 112 pixels, 12 epochs (optimizer.lr=0.1)",
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
    line = (
        "python train.py data=creatures_few ckpt=six.ckpt data.fold=0 transfer=scratch "
        "data.images_per_class=5"
    )
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
    assert claims["The mean is above that of Sande et al."] == ["noise unknown", "−34.8", "+4.7"]


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
    claims = agreement(text, "Table 2")  # an average was tested once
    assert claims["Averaging several nets of Figure 3 errs less than one"][:2] == [
        "noise unknown",
        "+3.0 ± 1.4",
    ]


def test_layer_probe(runs: RunFolders, tmp_path: Path) -> None:
    layers = {
        f"conv{n}": {
            "svm": {"30": {"folds": [n / 10, n / 10 + 0.02]}},
            "softmax": {"30": {"folds": [0.5]}},
        }
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
    expected = ["agrees", "+10.0 ± 0.0", "+4.3"]  # every layer gains the same from the second fold
    assert said["The accuracy of a linear SVM rises with every layer from 1 to 5"] == expected
