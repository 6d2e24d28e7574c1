"""Figure 7: which part of a picture a map and the classifier depend on, by covering it.

    python analyze.py analysis=occlusion ckpt=outputs/train/demo/checkpoints/last.ckpt

For some pictures the five panels of the figure, and in `occlusion.json` how far the two views agree: the map's
activity should fall where its projection has its energy, more than elsewhere and more than where another map's
projection has it.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zfnet.analysis.occlusion.sweep import Sweep, occlusion_sweep
from zfnet.deconv import Deconvnet, ImageBatch, Top, default_layers, random_subset, top_activations
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData
from zfnet.studies.json_output import write_json
from zfnet.validation import Count, Number, Whole
from zfnet.viz.occlusion import Row, draw_occlusion

log = logging.getLogger(__name__)

PAPER_SIDE, PAPER_SIZE, PAPER_STRIDE = 224, 50, 8
OTHERS = 3  # pictures that excite the map too
SEARCHED = 500  # pictures among which they are looked for


def study(
    subject: ModelOnData,
    folder: Path,
    layer: str | None,
    images: Count | Sequence[Whole],
    size: Count | None,
    stride: Count | None,
    fill: Number | Sequence[Number],
) -> None:
    """Sweeps some of the subject's images, at random or by number, and draws Figure 7 of them."""
    layer = layer or default_layers(subject.net, subject.inputs([0]))[-1]
    size = max(1, round(PAPER_SIZE * subject.crop / PAPER_SIDE)) if size is None else size
    stride = max(1, round(PAPER_STRIDE * subject.crop / PAPER_SIDE)) if stride is None else stride
    indices = _chosen(subject, images)
    inputs = subject.inputs(indices)
    target = subject.true_classes(indices)
    colour = [float(fill)] if isinstance(fill, int | float) else list(fill)
    sweep = occlusion_sweep(subject.net, inputs, target, size, stride, colour, layer, progress=True)
    cornered = inputs.clone()
    cornered[:, :, :size, :size] = inputs.new_tensor(colour).view(1, -1, 1, 1)
    pixels = subject.prepare.undone(cornered.cpu())
    deconv, classes = _deconvnet(subject, layer), subject.classes
    top = _searched(subject, layer) if deconv else None
    rows, numbers = [], []
    for i, index in enumerate(indices):
        number = int(sweep.strongest[i])
        assert sweep.activity is not None
        assert sweep.clean_activity is not None
        activity = sweep.activity[i, :, :, number]
        image, another = inputs[i, None], int(sweep.clean_activity[i].argsort(descending=True)[:2][-1])
        active = sweep.clean_activity[i, number] > 0
        drop = (1 - activity / sweep.clean_activity[i, number]).cpu()
        projections, agreement = None, {"drop_anywhere": drop.mean().item() if active else None}
        if deconv and top and active:
            mine, theirs = (_whole_map(deconv, image, layer, which) for which in (number, another))
            others = _others(subject, deconv, layer, number, top.images[number].tolist(), index)
            projections = torch.cat([mine, *others])
            agreement |= {
                "drop_on_projection": _weighted(sweep, drop, mine),
                "drop_on_another_maps_projection": _weighted(sweep, drop, theirs),
            }
        rows.append(
            Row(
                pixels[i], size, *sweep.centres, activity.cpu(), sweep.probability[i].cpu(), sweep.best[i].cpu(),
                projections, number, classes[int(sweep.target[i])], classes,
            )
        )  # fmt: skip
        numbers.append(
            {
                "image": subject.images.ids[index],
                "class": classes[int(sweep.target[i])],
                "probability": sweep.clean_logits[i].softmax(0)[sweep.target[i]].item(),
                "least_probability": sweep.probability[i].min().item(),
                "map": number if active else None,
                **agreement,
            }
        )
        log.info("%s", _said(numbers[-1]))
    draw_occlusion(rows, folder / "occlusion.png")
    settings = {
        "layer": layer,
        "size": size,
        "stride": stride,
        "fill": colour,
        "class_is": "most probable" if target is None else "true",
    }
    write_json(settings | {"images": numbers}, folder / "occlusion.json", indent=1)


def _chosen(subject: ModelOnData, images: int | Sequence[int]) -> list[int]:
    count = len(subject.images)
    if isinstance(images, int):
        if images < 1:
            raise InputError(f"images={images}: at least one picture must be swept")
        return random_subset(count, images).tolist()
    if not images:
        raise InputError("images=[]: name one picture at least, or say how many")
    if beyond := [index for index in images if not 0 <= index < count]:
        raise InputError(f"images={list(images)}: the split has pictures 0 to {count - 1}, no {beyond[0]}")
    return list(images)


def _deconvnet(subject: ModelOnData, layer: str) -> Deconvnet | None:
    """What projects the layer's maps; None, and a warning, where they have no deconvnet."""
    deconv = Deconvnet(subject.net)
    try:
        deconv.units(layer, subject.crop)
    except InputError as error:
        log.warning("without projections: %s", error)
        return None
    return deconv


def _whole_map(deconv: Deconvnet, image: Tensor, layer: str, number: int) -> Tensor:
    return deconv.project_channel(image, layer, number).cpu()


def _searched(subject: ModelOnData, layer: str) -> Top:
    """What excites each map of the layer most, among some pictures of the split."""
    some = random_subset(len(subject.images), SEARCHED)
    batches = (ImageBatch(subject.inputs(part.tolist()), part) for part in some.split(subject.batch_size))
    return top_activations(subject.net, batches, [layer], OTHERS + 1, progress=False)[layer]


def _others(
    subject: ModelOnData, deconv: Deconvnet, layer: str, number: int, images: list[int], own: int
) -> list[Tensor]:
    """The same map's projections for the best of `images`, without `own`."""
    found = [index for index in images if index not in (-1, own)][:OTHERS]
    return [_whole_map(deconv, subject.inputs([index]), layer, number) for index in found]


def _weighted(sweep: Sweep, drop: Tensor, picture: Tensor) -> float:
    """The mean drop (ny, nx) of a map's activity, weighted by how much of a projection's (1, 3, H, W) energy the
    occluder covers there."""
    energy = picture.square().sum(1, keepdim=True)  # (1, 1, H, W)
    padded = F.pad(energy, (0, sweep.size, 0, sweep.size))
    covered = F.avg_pool2d(padded, sweep.size, 1)[0, 0][sweep.tops][:, sweep.lefts]
    return ((drop * covered).sum() / covered.sum()).item()


def _said(numbers: dict[str, Any]) -> str:
    if numbers["map"] is None:
        return (
            f"{numbers['image']} ({numbers['class']}): probability {numbers['probability']:.2f}, at least "
            f"{numbers['least_probability']:.2f}; the layer is dead: no map is active"
        )
    falls = f"{numbers['drop_anywhere']:.0%} anywhere"
    if "drop_on_projection" in numbers:
        falls = (
            f"{numbers['drop_on_projection']:.0%} where its projection has its energy, by "
            f"{numbers['drop_on_another_maps_projection']:.0%} where another map's has, by {falls}"
        )
    return (
        f"{numbers['image']} ({numbers['class']}): probability {numbers['probability']:.2f}, at least "
        f"{numbers['least_probability']:.2f}; activity of map {numbers['map']} falls by {falls}"
    )
