"""Figure 5: how layers and the output of a network change under translation, scaling and rotation.

    python analyze.py analysis=invariance ckpt=outputs/train/demo/checkpoints/last.ckpt

`invariance.png` has a row for each transformation: the images shown; the distance at a low and at a
high layer; P(true class). `invariance.json` has all numbers, and a summary that is also logged: the
mean normalized distance of the layers at equal transformations. Where the labels are not the
network's classes, the class that it finds most probable for the untransformed image is used
instead."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from zfnet import ranks
from zfnet.analysis.invariance import IDENTITY, Response, concatenate, invariance, transform
from zfnet.json_output import write_json
from zfnet.model_on_data import ModelOnData
from zfnet.models.outputs import class_outputs
from zfnet.sizes import sides
from zfnet.studies import Analysis
from zfnet.studies.layers import first_and_top
from zfnet.studies.score_option import ScoreOption, names_of_outputs, parse_score
from zfnet.validation import Count, Number, Positive, Seed, Whole
from zfnet.viz.invariance import Row, draw_invariance

log = logging.getLogger(__name__)

SIDE = 224  # the paper's images, whose pixels the shifts count
SHIFTS = range(-60, 61, 4)  # Figure 5: pixels downwards
SCALES = [1 + i / 20 for i in range(17)]  # 1 to 1.8
ANGLES = range(0, 351, 10)  # degrees
KEYS = {"probability": "probabilities", "score": "scores"}  # in the result
SHOWN = 5  # images in the figure, as in the paper
UNIT = {"translation": " px", "scale": "", "rotation": "°"}
AXIS = {
    "translation": f"vertical translation (pixels of {SIDE}, down)",
    "scale": "scale (factor)",
    "rotation": "rotation (degrees)",
}
SUMMARIZED = {"translation": (4, 20, 60), "scale": (1.05, 1.2, 1.8), "rotation": (10, 40, 90)}
# Where among the amounts the shown examples are.
EXAMPLES = {"translation": (0, 0.5, 1), "scale": (0, 0.5, 1), "rotation": (0, 0.25, 0.5)}


@dataclass
class Invariance(Analysis):
    """Transforms some images; see conf/analysis/invariance.yaml for the fields."""

    layers: Sequence[str] | None
    images: Count
    shifts: Annotated[Sequence[Number], Field(min_length=1)] | None
    scales: Annotated[Sequence[Positive], Field(min_length=1)] | None
    angles: Annotated[Sequence[Number], Field(min_length=1)] | None
    seed: Seed
    score: Whole | str | None = None
    takes = "model"
    shares = True

    def run(self, model: ModelOnData, folder: Path) -> None:
        order = torch.randperm(
            len(model.images), generator=torch.Generator().manual_seed(self.seed)
        )
        chosen = order[: self.images].tolist()
        inputs = model.inputs(chosen)
        layers = list(self.layers or first_and_top(model.net, inputs[:1]))
        option = parse_score(self.score, model)
        of = targets_of(model, chosen, inputs, option)
        amounts = {
            "translation": list(self.shifts or SHIFTS),
            "scale": list(self.scales or SCALES),
            "rotation": list(self.angles or ANGLES),
        }
        pixels = [shift * sides(model.crop)[0] / SIDE for shift in amounts["translation"]]
        scales, angles = amounts["scale"], amounts["rotation"]

        def measure(row: int) -> dict[str, Response]:
            targets = None if of.classes is None else of.classes[row, None]
            return invariance(
                *(model.net, inputs[row, None], layers, targets, pixels, scales, angles),
                score=option.score if option else None,
            )

        responses = concatenate(ranks.share_map(measure, range(len(chosen))))
        if not ranks.is_first():
            return
        is_dead = responses["translation"].dead.tolist()
        dead = [layer for layer, none in zip(layers, is_dead, strict=True) if none]
        summary = summarize(responses, amounts, layers, of.key)
        for line in summary:
            log.info("%s", _line(line))
        rows = [
            _row(model, inputs[:SHOWN], kind, amounts[kind], each, of.key)
            for kind, each in responses.items()
        ]
        titles = [f"{len(inputs[:SHOWN])} of {len(inputs)} images"]
        titles += [
            f"layer {layer}{' (dead)' if layer in dead else ''}"
            for layer in (layers[0], layers[-1])
        ]
        titles.append(of.title)
        draw_invariance(rows, of.names, titles, folder / "invariance.png")
        result = {
            "images": [model.images.ids[i] for i in chosen],
            "classes": of.names,
            "classes_are_true": of.are_true,
            "score": option.text if option else None,
            "layers": layers,
            "dead": dead,
            "side": model.crop,
            "translations_are_pixels_of": SIDE,
            "summary": summary,
        }
        for kind, each in responses.items():
            result[kind] = {
                "amounts": amounts[kind],
                "distances": dict(zip(layers, each.distances.tolist(), strict=True)),
                "normalised": dict(zip(layers, each.normalized.tolist(), strict=True)),
                KEYS[of.key]: each.scores.tolist(),
            }
        write_json(result, folder / "invariance.json")


@dataclass(frozen=True)
class Targets:
    """What the third curve of the figure shows.

    Attributes:
        classes: (N,), the class of each image; None for a score without classes.
        names: of these classes, or of the images.
        are_true: whether they are the true ones.
        key: "probability" or "score".
        title: of the column.
    """

    classes: Tensor | None
    names: list[str]
    are_true: bool
    key: str
    title: str


def targets_of(
    model: ModelOnData, chosen: Sequence[int], inputs: Tensor, option: ScoreOption | None
) -> Targets:
    """The class of each image whose probability is measured, or the score.

    Args:
        model: The network and its images.
        chosen: The indices of N images.
        inputs: The same images, (N, C, H, W).
        option: See `parse_score`.
    """
    score, logits = option.score if option else None, list[Tensor]()
    known = class_outputs(model.net, inputs, score=score)
    with torch.inference_mode():
        for part in inputs.split(model.batch_size):
            logits.append(known.logits(model.net(part.clone()), len(part)))
    if option and known.scalar:
        ids = [model.images.ids[index] for index in chosen]
        return Targets(None, ids, False, "score", option.text)
    of_images = torch.cat(logits)
    count = of_images.shape[1]
    named = None if option is None else option.target
    if named is not None:
        labels: Tensor | None = torch.full((len(chosen),), named)
    else:
        labels = None if option else model.true_classes(chosen, count)
    targets = of_images.argmax(1).cpu() if labels is None else labels
    classes, are_true = names_of_outputs(model, count), labels is not None and option is None
    title = "P(true class)" if are_true else "P(class of the untransformed image)"
    title = title if named is None or option is None else f"P({option.text})"
    names = [classes[target] for target in targets.tolist()]
    return Targets(targets, names, are_true, "probability", title)


def summarize(
    responses: dict[str, Response],
    amounts: dict[str, list[float]],
    layers: list[str],
    key: str = "probability",
) -> list[dict[str, Any]]:
    """Means over the images at some amounts, in either direction, and over all amounts but the
    identity."""
    lines = []
    for kind, each in responses.items():
        sizes = torch.tensor([float(amount) for amount in amounts[kind]])
        choices: list[tuple[Any, Tensor]] = [
            (amount, sizes.abs().sub(amount).abs() < 1e-6) for amount in SUMMARIZED[kind]
        ]
        for amount, at in [*choices, ("all", sizes != IDENTITY[kind])]:
            if at.any():
                distances = each.normalized[:, at].nanmean((1, 2)).tolist()
                line = {
                    "kind": kind,
                    "amount": amount,
                    "normalised_distance": dict(zip(layers, distances, strict=True)),
                    key: each.scores[at].mean().item(),
                }
                lines.append(line)
    return lines


def _line(line: dict[str, Any]) -> str:
    amount = f"{line['amount']}{UNIT[line['kind']]}" if line["amount"] != "all" else "mean"
    distances = ", ".join(
        f"{layer} {'dead' if math.isnan(distance) else f'{distance:.2f}'}"
        for layer, distance in line["normalised_distance"].items()
    )
    key = "probability" if "probability" in line else "score"
    score = f"{'P(class)' if key == 'probability' else key} {line[key]:.2f}"
    return f"{line['kind']:11} {amount:>6}: normalized distance {distances}; {score}"


def _row(
    model: ModelOnData,
    inputs: Tensor,
    kind: str,
    amounts: list[float],
    response: Response,
    key: str,
) -> Row:
    """A row of the figure: the inputs at three amounts, and the curves of all images."""
    at = [round(part * (len(amounts) - 1)) for part in EXAMPLES[kind]]
    moved = [transform(inputs, kind, [response.amounts[i]] * len(inputs)) for i in at]
    denormalize = model.prepare.denormalize
    examples = torch.stack([model.shown(denormalize(each.cpu())).clamp(0, 1) for each in moved], 1)
    ticks = [f"{amounts[i]:g}{UNIT[kind]}" for i in at]
    low, high = response.distances[0], response.distances[-1]
    is_probability = key == "probability"
    return Row(AXIS[kind], amounts, examples, ticks, low, high, response.scores, is_probability)
