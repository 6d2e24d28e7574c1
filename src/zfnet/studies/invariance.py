"""Figure 5: how layers and the output of a net answer to translation, scale and rotation of its images.

    python analyze.py analysis=invariance ckpt=outputs/train/demo/checkpoints/last.ckpt

`invariance.png` has a row for each transformation: the images shown; the distance at a low and at a high layer;
P(true class). `invariance.json` has all numbers, and a summary that the log says too: the mean normalised distance of
the layers at equal transformations. Where the data set's labels are not the net's classes, the class that
the net finds most probable for the untransformed image stands for the true one.
"""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zfnet.analysis.invariance import IDENTITY, Response, invariance, transform
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData
from zfnet.models.outputs import class_outputs
from zfnet.studies.json_output import write_json
from zfnet.studies.layers import ends
from zfnet.validation import Count, Number, Positive, Seed
from zfnet.viz.invariance import Row, draw_invariance

log = logging.getLogger(__name__)

SIDE = 224  # the paper's images, whose pixels the shifts count
SHIFTS = range(-60, 61, 4)  # Figure 5: pixels downwards
SCALES = [1 + i / 20 for i in range(17)]  # 1 to 1.8
ANGLES = range(0, 351, 10)  # degrees
SHOWN = 5  # images in the figure, as in the paper
TOLD = {"translation": (4, 20, 60), "scale": (1.05, 1.2, 1.8), "rotation": (10, 40, 90)}  # in the summary
UNIT = {"translation": " px", "scale": "", "rotation": "°"}
AXIS = {
    "translation": f"vertical translation (pixels of {SIDE}, down)",
    "scale": "scale (factor)",
    "rotation": "rotation (degrees)",
}
EXAMPLES = {"translation": (0, 0.5, 1), "scale": (0, 0.5, 1), "rotation": (0, 0.25, 0.5)}  # of the amounts


def study(
    subject: ModelOnData,
    folder: Path,
    layers: Sequence[str] | None,
    images: Count,
    shifts: Sequence[Number] | None,
    scales: Sequence[Positive] | None,
    angles: Sequence[Number] | None,
    seed: Seed,
) -> None:
    """Measures at `layers` (a low and a high one, or more) on so many randomly chosen images."""
    if images < 1:
        raise InputError(f"images={images}: at least one image is needed")
    order = torch.randperm(len(subject.images), generator=torch.Generator().manual_seed(seed))
    chosen = order[:images].tolist()
    inputs = subject.inputs(chosen)
    layers = list(layers) if layers else ends(subject.net, inputs[:1])
    targets, names, known = true_classes(subject, chosen, inputs)
    amounts = {
        "translation": list(SHIFTS if shifts is None else shifts),
        "scale": list(SCALES if scales is None else scales),
        "rotation": list(ANGLES if angles is None else angles),
    }
    for kind, each in amounts.items():
        if not each:
            raise InputError(f"no amounts of {kind} are given: shifts, scales and angles need one at least")
    pixels = [shift * subject.crop / SIDE for shift in amounts["translation"]]
    answers = invariance(subject.net, inputs, layers, targets, pixels, amounts["scale"], amounts["rotation"])
    dead = [layer for layer, none in zip(layers, answers["translation"].dead.tolist(), strict=True) if none]
    summary = summarize(answers, amounts, layers)
    for line in summary:
        log.info("%s", _told(line))
    rows = [_row(subject, inputs[:SHOWN], kind, amounts[kind], answer) for kind, answer in answers.items()]
    titles = [f"{len(inputs[:SHOWN])} of {len(inputs)} images"]
    titles += [f"layer {layer}{' (dead)' if layer in dead else ''}" for layer in (layers[0], layers[-1])]
    titles.append("P(true class)" if known else "P(class of the untransformed image)")
    draw_invariance(rows, names, titles, folder / "invariance.png")
    result = {
        "images": [subject.images.ids[i] for i in chosen],
        "classes": names,
        "classes_are_true": known,
        "layers": layers,
        "dead": dead,
        "side": subject.crop,
        "translations_are_pixels_of": SIDE,
        "summary": summary,
    } | {kind: {"amounts": amounts[kind], **_numbers(answer, layers)} for kind, answer in answers.items()}
    write_json(result, folder / "invariance.json")


def true_classes(subject: ModelOnData, chosen: list[int], inputs: Tensor) -> tuple[Tensor, list[str], bool]:
    """The classes whose probability is followed, their names, and whether they are the data set's own labels."""
    with torch.inference_mode():
        parts = [subject.net(part) for part in inputs.split(subject.batch_size)]
    outputs = class_outputs(subject.net, inputs, torch.cat(parts)).logits(torch.cat(parts))
    named = outputs.shape[1] == len(subject.classes)
    labels = subject.true_classes(chosen, outputs.shape[1])
    targets = outputs.argmax(1).cpu() if labels is None else labels
    names = [subject.classes[t] if named else f"class {t}" for t in targets.tolist()]
    return targets, names, labels is not None


def summarize(
    answers: dict[str, Response], amounts: dict[str, list[float]], layers: list[str]
) -> list[dict[str, Any]]:
    """Means over the images at some amounts, either direction, and over all amounts but the identity."""
    lines = []
    for kind, answer in answers.items():
        sizes = torch.tensor([float(amount) for amount in amounts[kind]])
        moved = sizes != IDENTITY[kind]
        choices = [(told, sizes.abs().sub(told).abs() < 1e-6) for told in TOLD[kind]]
        for told, at in [*choices, ("all", moved)]:
            if at.any():
                distances = answer.normalised[:, at].nanmean((1, 2)).tolist()
                lines.append(
                    {
                        "kind": kind,
                        "amount": told,
                        "normalised_distance": dict(zip(layers, distances, strict=True)),
                        "probability": answer.probabilities[at].mean().item(),
                    }
                )
    return lines


def _told(line: dict[str, Any]) -> str:
    amount = f"{line['amount']}{UNIT[line['kind']]}" if line["amount"] != "all" else "mean"
    distances = ", ".join(
        f"{layer} {'dead' if math.isnan(distance) else f'{distance:.2f}'}"
        for layer, distance in line["normalised_distance"].items()
    )
    return (
        f"{line['kind']:11} {amount:>6}: normalised distance {distances}; P(class) {line['probability']:.2f}"
    )


def _numbers(answer: Response, layers: list[str]) -> dict[str, Any]:
    """Of each layer a list of amounts, each a list of images."""
    return {
        "distances": dict(zip(layers, answer.distances.tolist(), strict=True)),
        "normalised": dict(zip(layers, answer.normalised.tolist(), strict=True)),
        "probabilities": answer.probabilities.tolist(),
    }


def _row(subject: ModelOnData, inputs: Tensor, kind: str, amounts: list[float], answer: Response) -> Row:
    """What the figure shows of a transformation: the inputs at three amounts, and the curves of all images."""
    at = [round(part * (len(amounts) - 1)) for part in EXAMPLES[kind]]
    moved = [transform(inputs, kind, [answer.amounts[i]] * len(inputs)) for i in at]
    examples = torch.stack([subject.prepare.undone(each.cpu()).clamp(0, 1) for each in moved], 1)
    ticks = [f"{amounts[i]:g}{UNIT[kind]}" for i in at]
    low, high = answer.distances[0], answer.distances[-1]
    return Row(AXIS[kind], amounts, examples, ticks, low, high, answer.probabilities)
