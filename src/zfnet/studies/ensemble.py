"""Table 2: single networks by one crop and by ten, and several by the mean of their softmax.

    python analyze.py analysis=ensemble ckpt=[a/checkpoints/last.ckpt,b/checkpoints/last.ckpt]

The rows: each network at the center crop and by the paper's ten, the mean of ten softmax outputs;
the networks of one config together, where there are several (the paper's "5 convnets"); all
together ("6 convnets, (a) & (b) combined"). Networks may see images of different sizes, of the same
data set. `ensemble.png` is the table with the paper's rows below, `ensemble.json` has the numbers.
The outputs are cached: another combination of networks computes nothing again, and an interrupted
pass continues."""

import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from zfnet import ranks
from zfnet.data.preprocessing import CENTER
from zfnet.errors import InputError
from zfnet.json_output import write_json
from zfnet.metrics import error_metrics
from zfnet.model_on_data import ModelOnData, some_of
from zfnet.models.outputs import ClassOutputs, class_outputs
from zfnet.probing.feature_extraction import cached_features
from zfnet.studies import Analysis
from zfnet.studies.reference_results import IMAGENET
from zfnet.training.checkpoint import read_checkpoint
from zfnet.training.networks import ModelConfig
from zfnet.viz import save_png
from zfnet.viz.ensemble import ErrorRow, errors_table

log = logging.getLogger(__name__)

CROPS = {1: "one crop", 10: "ten crops"}
CHUNK = 256  # images whose outputs are averaged at once


@dataclass
class Member:
    """A network by the name of its run, and its outputs."""

    name: str
    ckpt: str
    config: ModelConfig  # of its model; members with the same one are a group
    outputs: Tensor  # (N, 10, C) for all images and crops, a memory map
    given: ClassOutputs  # what the outputs are

    def logits(self, chosen: slice) -> Tensor:
        """The logits (B, 10, C) of some images."""
        outputs = self.outputs[chosen]
        return self.given.logits(outputs.flatten(0, 1)).view_as(outputs)


@dataclass
class Ensemble(Analysis):
    """Measures each network, each group of one config, and all together; fields:
    conf/analysis/ensemble.yaml."""

    ckpt: str | Sequence[str] | None
    cache: str
    takes = "models"
    shares = True

    def run(self, models: Sequence[ModelOnData], folder: Path) -> None:
        if self.ckpt is None:
            raise InputError(
                "an ensemble is of networks that train.py made: ckpt=[CHECKPOINT,CHECKPOINT,...]"
            )
        paths = [self.ckpt] if isinstance(self.ckpt, str) else list(self.ckpt)
        check(models, paths)
        members = [
            load_member(model, path, name, Path(self.cache))
            for model, path, name in zip(models, paths, run_names(paths), strict=True)
        ]
        if not ranks.is_first():
            return
        labels = models[0].images.labels
        title = f"Error (%) on {len(labels):,} images of {models[0].source.name}"
        log.info("%s", title)
        rows, ours = [], []
        for name, group, crops in table_lines(members):
            top1, top5 = measure(group, crops, labels)
            row = {"name": name, "nets": [each.ckpt for each in group], "crops": crops}
            rows.append(row | {"top1_error": top1, "top5_error": top5})
            ours.append(ErrorRow(name, crops, top1, top5))
            and_top5 = "" if top5 is None else f", top-5 {top5:.1%}"
            log.info("%s, %s: top-1 %.1f%%%s", name, CROPS[crops], 100 * top1, and_top5)
        papers = [
            ErrorRow(f"paper, ImageNet: {of.name}", None, of.val_top1 / 100, of.val_top5 / 100)
            for of in IMAGENET.values()
        ]
        save_png(errors_table(title, [*ours, None, *papers]), folder / "ensemble.png")
        write_json({"rows": rows}, folder / "ensemble.json", indent=1)


def check(models: Sequence[ModelOnData], paths: Sequence[str]) -> None:
    """Raises InputError unless all networks have the data set's classes and see the same images."""
    first = models[0].images
    for model, path in zip(models, paths, strict=True):
        images = model.images
        if not model.knows_classes():
            raise InputError(
                f"{path} was trained on other classes than those of {model.source.name} "
                f"({some_of(model.classes)}; there {some_of(images.classes)}), and without a true "
                "class there "
                "is no error: choose data= of its training"
            )
        if images.ids != first.ids or not images.labels.equal(first.labels):
            raise InputError(
                f"{path} has other images or labels than {paths[0]}: see unreadable.txt in the "
                "stores"
            )
    if len({Path(path).resolve() for path in paths}) < len(paths):
        raise InputError(f"ckpt={list(paths)}: names a checkpoint twice, which would count twice")


def load_member(model: ModelOnData, path: str, name: str, cache: Path) -> Member:
    """A network with its outputs, computed or found in `cache`."""
    config = read_checkpoint(Path(path))["model_config"]
    given = class_outputs(model.net, model.inputs([0]))
    # Its outputs may be more than its last module's.
    whole = nn.Sequential(OrderedDict(net=model.net))
    size = 10 * model.batch_size
    outputs = cached_features(
        whole, model.prepare, model.images, ["net"], cache, crops="ten", batch_size=size
    )
    return Member(
        name, path, {**config["model"], "image_size": config["image_size"]}, outputs["net"], given
    )


def table_lines(members: Sequence[Member]) -> Iterator[tuple[str, list[Member], int]]:
    """The rows of the table: a name, the networks, the number of crops."""
    for crops in (1, 10):
        for each in members:
            yield each.name, [each], crops
    first = [
        each for i, each in enumerate(members) if each.config not in [m.config for m in members[:i]]
    ]
    groups = [[each for each in members if each.config == one.config] for one in first]
    for group in groups:
        if len(group) > 1:
            yield f"{len(group)} nets like {group[0].name}", group, 10
    if len(groups) > 1:
        yield f"all {len(members)} nets", list(members), 10


def measure(group: Sequence[Member], crops: int, labels: Tensor) -> tuple[float, float | None]:
    """The top-1 and top-5 error of some networks together; None where there are fewer than six
    classes."""
    errors = error_metrics(group[0].outputs.shape[2], "", alone=True)
    for start in range(0, len(labels), CHUNK):
        chosen = slice(start, start + CHUNK)
        errors.update(combine([each.logits(chosen) for each in group], crops), labels[chosen])
    found = {key: value.item() for key, value in errors.compute().items()}
    return found["top1_error"], found.get("top5_error")


def combine(logits: Sequence[Tensor], crops: int) -> Tensor:
    """The mean softmax (B, C) over networks and crops.

    Args:
        logits: (B, 10, C) of each network.
        crops: 10, or 1 for the center crop.
    """
    chosen = slice(None) if crops == 10 else slice(CENTER, CENTER + 1)
    return torch.stack([each[:, chosen].double().softmax(2).mean(1) for each in logits]).mean(0)


def run_names(paths: Sequence[str]) -> list[str]:
    """Short names of checkpoints: outputs/train/NAME/checkpoints/last.ckpt is called NAME.

    Where another sweep has a job of that name it is SWEEP/NAME, and NAME/last where two checkpoints
    are of one run.
    """
    files = [Path(path).resolve() for path in paths]
    runs = [
        file.parents[1] if file.parent.name == "checkpoints" else file.with_suffix("")
        for file in files
    ]
    return [
        _shortest(run, runs) if runs.count(run) == 1 else f"{_shortest(run, runs)}/{file.stem}"
        for run, file in zip(runs, files, strict=True)
    ]


def _shortest(run: Path, runs: Sequence[Path]) -> str:
    """As much of the path's end as no other of `runs` has."""
    others = [other.parts for other in runs if other != run]
    length = next(
        n for n in range(1, len(run.parts) + 1) if all(run.parts[-n:] != o[-n:] for o in others)
    )
    return "/".join(run.parts[-length:])
