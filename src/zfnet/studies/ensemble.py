"""Table 2: single nets by one crop and by ten, and what they say together, by the mean of their softmax.

    python analyze.py analysis=ensemble ckpt=[a/checkpoints/last.ckpt,b/checkpoints/last.ckpt]

The rows: each net at the centre crop and by the paper's ten, the mean of ten softmax outputs; the nets of one
config together, where there are several (the paper's "5 convnets"); all together ("6 convnets, (a) & (b)
combined"). Nets may see images of different sizes, of the same data set. `ensemble.png` is the table with the
paper's rows below, `ensemble.json` has the numbers. What a net says of all crops is kept: another combination of
nets computes nothing anew, and a pass that was stopped goes on.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from zfnet.data.preprocessing import CENTRE
from zfnet.errors import InputError
from zfnet.metrics import error_metrics
from zfnet.model_on_data import ModelOnData, some_of
from zfnet.models.outputs import ClassOutputs, class_outputs
from zfnet.probing.feature_extraction import cached_features
from zfnet.studies.json_output import write_json
from zfnet.studies.reference_results import IMAGENET, Errors
from zfnet.training.checkpoint import Card, read_checkpoint
from zfnet.viz import save_png
from zfnet.viz.ensemble import ErrorRow, errors_table

log = logging.getLogger(__name__)

CHUNK = 256  # pictures whose outputs are averaged at once


@dataclass
class Member:
    """A net by the name of its run, and its outputs for all pictures and crops."""

    name: str
    ckpt: str
    config: Card  # of the net; members with the same one are a group
    outputs: Tensor  # (N, 10, C), mapped
    given: ClassOutputs  # what they are

    def logits(self, chosen: slice) -> Tensor:
        """The logits (B, 10, C) of some pictures."""
        outputs = self.outputs[chosen]
        return self.given.logits(outputs.flatten(0, 1)).view_as(outputs)


@dataclass
class Row:
    """A line of the table."""

    name: str
    nets: list[str]
    crops: int
    top1_error: float
    top5_error: float | None


def study(subjects: Sequence[ModelOnData], folder: Path, ckpt: str | Sequence[str] | None, kept: str) -> None:
    """Measures each net, each group of one config, and all of them together."""
    if ckpt is None:
        raise InputError("an ensemble is of nets that train.py made: ckpt=[CHECKPOINT,CHECKPOINT,...]")
    paths = [ckpt] if isinstance(ckpt, str) else list(ckpt)
    check(subjects, paths)
    members = [
        member(subject, path, name, Path(kept))
        for subject, path, name in zip(subjects, paths, run_names(paths), strict=True)
    ]
    labels = subjects[0].images.labels
    rows = [row(label, group, crops, labels) for label, group, crops in table_lines(members)]
    source, count = subjects[0].source.name, len(labels)
    title = f"Error (%) on {count:,} pictures of {source}"
    log.info("%s", title)
    for each in rows:
        errors = f"top-1 {each.top1_error:.1%}"
        errors += "" if each.top5_error is None else f", top-5 {each.top5_error:.1%}"
        log.info("%s, %s: %s", each.name, "ten crops" if each.crops == 10 else "one crop", errors)
    ours = [ErrorRow(each.name, each.crops, each.top1_error, each.top5_error) for each in rows]
    papers = [_of_paper(errors) for errors in IMAGENET.values()]
    save_png(errors_table(title, [*ours, None, *papers]), folder / "ensemble.png")
    write_json({"rows": [vars(each) for each in rows]}, folder / "ensemble.json", indent=1)


def check(subjects: Sequence[ModelOnData], paths: Sequence[str]) -> None:
    """Raises InputError unless all nets know the data set's classes and are shown the same pictures."""
    first = subjects[0].images
    for subject, path in zip(subjects, paths, strict=True):
        images = subject.images
        if not subject.knows_classes():
            raise InputError(
                f"{path} was trained on other classes than those of {subject.source.name} "
                f"({some_of(subject.classes)}; there {some_of(images.classes)}), and without a true class there "
                "is no error: choose data= of its training"
            )
        if images.ids != first.ids or not images.labels.equal(first.labels):
            raise InputError(
                f"{path} is shown other pictures or labels than {paths[0]}: see unreadable.txt in the stores"
            )
    if len({Path(path).resolve() for path in paths}) < len(paths):
        raise InputError(f"ckpt={list(paths)}: names a checkpoint twice, which would count twice")


def member(subject: ModelOnData, path: str, name: str, kept: Path) -> Member:
    """A net with its outputs, computed or found."""
    card = read_checkpoint(Path(path))["card"]
    given = class_outputs(subject.net, subject.inputs([0]))
    whole = nn.Sequential(OrderedDict(net=subject.net))  # what it gives may be more than its last module does
    outputs = cached_features(
        whole,
        subject.prepare,
        subject.images,
        ["net"],
        kept,
        crops="ten",
        batch_size=10 * subject.batch_size,
    )["net"]
    return Member(name, path, {**card["model"], "image_size": card["image_size"]}, outputs, given)


def table_lines(members: Sequence[Member]) -> Iterator[tuple[str, list[Member], int]]:
    """The table's rows as (name, nets, crops)."""
    for crops in (1, 10):
        for each in members:
            yield each.name, [each], crops
    groups: list[list[Member]] = []
    for each in members:
        own = next((group for group in groups if group[0].config == each.config), None)
        if own is None:
            groups.append([each])
        else:
            own.append(each)
    for group in groups:
        if len(group) > 1:
            yield f"{len(group)} nets like {group[0].name}", group, 10
    if len(groups) > 1:
        yield f"all {len(members)} nets", list(members), 10


def row(name: str, group: Sequence[Member], crops: int, labels: Tensor) -> Row:
    """The errors of some nets together."""
    errors = error_metrics(group[0].outputs.shape[2], "")
    for start in range(0, len(labels), CHUNK):
        chosen = slice(start, start + CHUNK)
        errors.update(combine([each.logits(chosen) for each in group], crops), labels[chosen])
    found = {key: value.item() for key, value in errors.compute().items()}
    return Row(name, [each.ckpt for each in group], crops, found["top1_error"], found.get("top5_error"))


def combine(logits: Sequence[Tensor], crops: int) -> Tensor:
    """The mean softmax (B, C) over nets and over ten crops or the centre one, of logits (B, 10, C) each."""
    chosen = slice(None) if crops == 10 else slice(CENTRE, CENTRE + 1)
    return torch.stack([each[:, chosen].double().softmax(2).mean(1) for each in logits]).mean(0)


def run_names(paths: Sequence[str]) -> list[str]:
    """outputs/train/NAME/checkpoints/last.ckpt is NAME's; SWEEP/NAME where another sweep has a job of that name,
    NAME/last and NAME/stop where both are there."""
    files = [Path(path).resolve() for path in paths]
    runs = [file.parents[1] if file.parent.name == "checkpoints" else file.with_suffix("") for file in files]
    return [
        _shortest(run, runs) if runs.count(run) == 1 else f"{_shortest(run, runs)}/{file.stem}"
        for run, file in zip(runs, files, strict=True)
    ]


def _shortest(run: Path, runs: Sequence[Path]) -> str:
    """As much of the path's end as no other of `runs` has."""
    others = [other.parts for other in runs if other != run]
    length = next(n for n in range(1, len(run.parts) + 1) if all(run.parts[-n:] != o[-n:] for o in others))
    return "/".join(run.parts[-length:])


def _of_paper(errors: Errors) -> ErrorRow:
    return ErrorRow(f"paper, ImageNet: {errors.name}", None, errors.val_top1 / 100, errors.val_top5 / 100)
