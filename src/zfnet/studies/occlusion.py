"""Figure 7: which part of an image a channel and the classifier depend on, by covering it.

    python analyze.py analysis=occlusion ckpt=outputs/train/demo/checkpoints/last.ckpt

`occlusion.png` has the figure's five panels for some images. `occlusion.json` says how far two
views agree: the channel's activity should fall where its projection has its energy, more than
elsewhere and more than where another channel's projection has it."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from zfnet import ranks
from zfnet.analysis.occlusion.sweep import Sweep, occlusion_sweep
from zfnet.deconv import (
    Deconvnet,
    ImageBatch,
    make_deconvnet,
    random_subset,
    top_activations,
)
from zfnet.deconv.rules import Relu
from zfnet.errors import InputError
from zfnet.json_output import write_json
from zfnet.model_on_data import ModelOnData
from zfnet.sizes import sides
from zfnet.studies import Analysis
from zfnet.studies.score_option import ScoreOption, names_of_outputs, parse_score
from zfnet.studies.top_activations import choose
from zfnet.validation import Count, Number, Whole
from zfnet.viz.occlusion import Row, draw_occlusion

log = logging.getLogger(__name__)

PAPER_SIDE, PAPER_SIZE, PAPER_STRIDE = 224, 50, 8
OTHERS = 3  # further images that activate the channel
SEARCHED = 500  # images among which they are searched


@dataclass
class Occlusion(Analysis):
    """Slides a square over some images; see conf/analysis/occlusion.yaml for the fields."""

    layer: str | None
    images: Count | Annotated[Sequence[Whole], Field(min_length=1)]
    size: Count | None
    stride: Count | None
    fill: Number | Sequence[Number]
    score: Whole | str | None = None
    relu: Relu = "deconv"
    takes = "model"
    shares = True

    def run(self, model: ModelOnData, folder: Path) -> None:
        layer = self.layer or model.default_layers()[-1]
        indices = choose(self.images, len(model.images), "images", "the split")
        option = parse_score(self.score, model)
        size, stride = (
            max(1, round(of_paper * min(sides(model.crop)) / PAPER_SIDE)) if own is None else own
            for own, of_paper in ((self.size, PAPER_SIZE), (self.stride, PAPER_STRIDE))
        )
        fill = list(self.fill) if isinstance(self.fill, Sequence) else [float(self.fill)]
        squares = Squares(layer, size, stride, fill)
        projector = Projector.of(model, layer, self.relu)
        mine = list(ranks.share(indices))
        found = cover(model, projector, mine, squares, option) if mine else []
        found = ranks.collect(found)
        if not ranks.is_first():
            return
        for each in found:
            log.info("%s", _line(each.numbers))
        rules, caution, note = {}, "", ""
        if projector:
            rules = projector.deconv.extended_rules(layer, model.crop)
            caution = projector.deconv.caution(layer, model.crop)
            note = projector.deconv.describe(layer, model.crop)
        draw_occlusion([each.row for each in found], folder / "occlusion.png", note)
        result = {
            **asdict(squares),
            "score": option.text if option else None,
            "class_is": found[0].class_is,
            "relu": self.relu,
            "extended_rules": rules,
            "caution": caution,
            "images": [each.numbers for each in found],
        }
        write_json(result, folder / "occlusion.json", indent=1)


@dataclass(frozen=True)
class Squares:
    """What is slid over images, and the layer whose activity is measured."""

    layer: str
    size: int  # in pixels
    stride: int
    fill: list[float]


@dataclass(frozen=True)
class Covered:
    """What was measured of one image.

    Attributes:
        row: of the figure.
        numbers: of the result.
        class_is: which class's probability was measured; None for a score without classes.
    """

    row: Row
    numbers: dict[str, Any]
    class_is: str | None


def cover(
    model: ModelOnData,
    projector: "Projector | None",
    indices: Sequence[int],
    squares: Squares,
    option: ScoreOption | None,
) -> list[Covered]:
    """Slides a square over images, and compares where the activity falls with the projections.

    Args:
        model: the network and the images.
        projector: None where the layer has no deconvnet.
        indices: of one or more images.
        squares: what is slid over them.
        option: what is measured beside the activity; None for the probability of the true class.
    """
    inputs, size, fill = model.inputs(indices), squares.size, squares.fill
    target = option.target if option else model.true_classes(indices)
    sweep = occlusion_sweep(
        *(model.net, inputs, target, size, squares.stride, fill, squares.layer),
        progress=True,
        score=option.score if option else None,
    )
    assert sweep.activity is not None
    assert sweep.clean_activity is not None
    classes = names_of_outputs(model, sweep.logits.shape[-1])
    class_is = "most probable" if target is None else "given" if option else "true"
    with_square = inputs.clone()
    with_square[:, :, :size, :size] = inputs.new_tensor(fill).view(1, -1, 1, 1)
    pixels = model.shown(model.prepare.denormalize(with_square.cpu()))
    found = []
    for i, index in enumerate(indices):
        channel, name = int(sweep.strongest[i]), option.text if option else ""
        if sweep.target is not None and (not option or option.target is None):
            name = classes[int(sweep.target[i])]
        activity, clean = sweep.activity[i, :, :, channel], sweep.clean_activity[i]
        active = bool(clean[channel] > 0)
        drop = (1 - activity / clean[channel]).cpu()
        agreement: dict[str, Any] = {"drop_anywhere": drop.mean().item() if active else None}
        projections = None
        if projector and active:
            another = int(clean.argsort(descending=True)[:2][-1])
            own, other = (projector.project(inputs[i, None], each) for each in (channel, another))
            projections = torch.cat([own, *projector.further(channel, index)])
            agreement["drop_on_projection"] = _weighted(sweep, drop, own)
            agreement["drop_on_another_maps_projection"] = _weighted(sweep, drop, other)
        score = sweep.score[i].cpu()
        best = None if sweep.target is None else sweep.best[i].cpu()
        row = Row(
            *(pixels[i].clone(), size, *sweep.centers, activity.cpu().contiguous(), score, best),
            *(None if projections is None else model.shown(projections), channel, name, classes),
        )
        numbers = {
            "image": model.images.ids[index],
            "class": name,
            **_scores(sweep, sweep.clean_score[i].item(), score.min().item()),
            "map": channel if active else None,
            **agreement,
        }
        found.append(Covered(row, numbers, None if sweep.target is None else class_is))
    return found


class Projector:
    """Projections of a layer's channels, and the images that activate them most."""

    def __init__(self, model: ModelOnData, layer: str, deconv: Deconvnet) -> None:
        self.model, self.layer, self.deconv = model, layer, deconv
        subset = random_subset(len(model.images), SEARCHED)
        parts = ranks.share(subset.split(model.batch_size))
        batches = (ImageBatch(model.inputs(part.tolist()), part) for part in parts)
        top = top_activations(model.net, batches, [layer], OTHERS + 1, progress=False)
        self.top = top.gather()[layer]

    @classmethod
    def of(cls, model: ModelOnData, layer: str, relu: str) -> "Projector | None":
        """None, and a warning, where the layer has no deconvnet."""
        deconv = make_deconvnet(model.net, relu)
        try:
            deconv.units(layer, model.crop)
        except InputError as error:
            log.warning("without projections: %s", error)
            return None
        return cls(model, layer, deconv)

    def project(self, image: Tensor, channel: int) -> Tensor:
        """All units of a channel for an image (1, C, H, W), projected: (1, C, H, W)."""
        return self.deconv.project_channel(image, self.layer, channel).cpu()

    def further(self, channel: int, index: int) -> list[Tensor]:
        """The channel's projections for the images that activate it most, without image `index`."""
        found = [each for each in self.top.images[channel].tolist() if each not in (-1, index)]
        return [self.project(self.model.inputs([each]), channel) for each in found[:OTHERS]]


def _scores(sweep: Sweep, clean: float, least: float) -> dict[str, float]:
    """The score of an image, and its least one under the square, by the keys of the result."""
    key = "score" if sweep.target is None else "probability"
    return {key: clean, f"least_{key}": least}


def _weighted(sweep: Sweep, drop: Tensor, projection: Tensor) -> float:
    """The mean drop (ny, nx), weighted by the energy of a projection (1, C, H, W) under the
    square."""
    energy = projection.square().sum(1, keepdim=True)  # (1, 1, H, W)
    padded = F.pad(energy, (0, sweep.size, 0, sweep.size))
    covered = F.avg_pool2d(padded, sweep.size, 1)[0, 0][sweep.tops][:, sweep.lefts]
    return ((drop * covered).sum() / covered.sum()).item()


def _line(numbers: dict[str, Any]) -> str:
    """The numbers of one image for the log."""
    key = "probability" if "probability" in numbers else "score"
    line = (
        f"{numbers['image']} ({numbers['class']}): {key} {numbers[key]:.2f}, at least "
        f"{numbers[f'least_{key}']:.2f}; "
    )
    if numbers["map"] is None:
        return f"{line}the layer is dead: no channel is active"
    falls = f"{numbers['drop_anywhere']:.0%} anywhere"
    if "drop_on_projection" in numbers:
        falls = (
            f"{numbers['drop_on_projection']:.0%} where its projection has its energy, by "
            f"{numbers['drop_on_another_maps_projection']:.0%} where another channel's has, by "
            f"{falls}"
        )
    return f"{line}activity of channel {numbers['map']} falls by {falls}"
