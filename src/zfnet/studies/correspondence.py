"""Figure 8 and Table 1: does masking an eye or the nose change the same features in different images?

    python analyze.py analysis=correspondence ckpt=outputs/train/demo/checkpoints/last.ckpt classes=[dog]
    python analyze.py analysis=correspondence model=torchvision model.name=squeezenet1_1 data=photos \\
        data.root=dogs parts=dogs/parts.csv layers=[features.9,features.12]

`correspondence.png` shows the masked images, `correspondence.json` has the sign changes and all places; the log has
them beside the paper's. Parts come from a csv or from the data set; images that lack one are left out. An untrained
net, model=zfnet model.init=he model.pixels=unit, shows how much of it is place and look alone.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from zfnet.analysis.correspondence import RANDOM, SignChange, correspondence, mask_square, random_places
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData
from zfnet.studies.json_output import write_json
from zfnet.studies.layers import middle_and_top
from zfnet.studies.objects import knows_objects
from zfnet.studies.parts import pictures_with, read_parts
from zfnet.studies.reference_results import CORRESPONDENCE
from zfnet.validation import Count, Seed, Share
from zfnet.viz import save_png
from zfnet.viz.correspondence import Row, correspondence_sheet

log = logging.getLogger(__name__)

NAMES = ("right_eye", "left_eye", "nose")  # Table 1
SHOWN, DRAWN = 8, 2  # images, and of their random squares, in the figure


def study(
    subject: ModelOnData,
    folder: Path,
    parts: str | None,
    parts_side: Count,
    names: Sequence[str] | None,
    classes: Sequence[str] | None,
    layers: Sequence[str] | None,
    images: Count,
    patch: Share,
    draws: Count,
    permutations: Count,
    seed: Seed,
) -> None:
    """Masks each part in up to `images` images that have all of them, and as many random squares."""
    layers = list(layers) if layers else middle_and_top(subject.net, subject.inputs([0]))
    side = round(patch * subject.crop)
    if not 1 <= side <= subject.crop:
        raise InputError(
            f"patch={patch}: a square of {side} pixels in images of {subject.crop}; choose 0.2, say"
        )
    if images < 2:
        raise InputError(f"images={images}: correspondence is between images, two at least")
    if parts:
        known = read_parts(parts, subject, parts_side)
        names = list(names or dict.fromkeys(name for own in known.values() for name in own))
    elif knows_objects(subject):
        known, names = None, list(names or NAMES)
    else:
        raise InputError(f"{subject.source.name} knows no parts of its images: name a file, parts=parts.csv")
    if not names:
        raise InputError(f"parts={parts} names no parts" if parts else "names=[]: name parts to mask")
    chosen = pictures_with(subject, names, known, images, side, classes, seed)
    control = random_places(chosen.places, subject.crop, side, draws, seed, chosen.masks)
    inputs = subject.inputs(chosen.images)
    found = correspondence(subject.net, inputs, chosen.places, control, layers, side, permutations, seed)
    for line in table(found, len(chosen.images), side):
        log.info("%s", line)
    rows = _rows(subject, inputs[:SHOWN], chosen.places, control, found, side)
    save_png(correspondence_sheet(rows, len(chosen.images)), folder / "correspondence.png")
    result = {
        "images": [subject.images.ids[i] for i in chosen.images],
        "left_out": chosen.left_out,
        "side": side,
        "layers": {
            layer: {name: asdict(each) for name, each in changes.items()} for layer, changes in found.items()
        },
        "places": {name: each.tolist() for name, each in chosen.places.items()} | {RANDOM: control.tolist()},
        "paper": CORRESPONDENCE,
    }
    write_json(result, folder / "correspondence.json")


def table(found: dict[str, dict[str, SignChange]], images: int, side: int) -> list[str]:
    """Table 1 with ours: a line a part and layer, the paper's numbers behind it."""
    head = (
        f"sign change, mean ± std over pairs of {images} images, squares of {side} pixels (p: against random)"
    )
    lines = [f"{head}; in brackets of the changed dimensions only"]
    for row, (layer, changes) in enumerate(found.items()):
        of_paper = ["layer 5", "layer 7"][row] if len(found) == 2 else None
        for name, change in changes.items():
            if change.mean is None:
                lines.append(f"{layer:12} {name:10} dead: no square changes it")
                continue
            p = "" if change.p is None else f"p {change.p:.4f}"
            p_of_changed = "" if change.p is None else f"p {change.p_of_changed:.4f}"
            line = (
                f"{layer:12} {name:10} {change.mean:.3f} ± {change.std:.3f} {p:8}"
                f" [{change.mean_of_changed:.3f} ± {change.std_of_changed:.3f} {p_of_changed:8}]"
            )
            if of_paper and name in CORRESPONDENCE:
                mean, std = CORRESPONDENCE[name][of_paper]
                line += f" paper, {of_paper}: {mean:.3f} ± {std:.3f}"
            lines.append(line)
    return lines


def _rows(
    subject: ModelOnData,
    inputs: Tensor,
    places: dict[str, Tensor],
    control: Tensor,
    found: dict[str, dict[str, SignChange]],
    side: int,
) -> list[Row]:
    """The images, each part masked, random squares, and their numbers (once)."""

    def row(name: str, at: Tensor | None, changes: dict[str, SignChange]) -> Row:
        shown = inputs if at is None else mask_square(inputs, at[: len(inputs)], side)
        pictures = subject.prepare.undone(shown.cpu()).clamp(0, 1)
        return Row(name.replace("_", " "), pictures, [_said(layer, each) for layer, each in changes.items()])

    def of(name: str) -> dict[str, SignChange]:
        return {layer: changes[name] for layer, changes in found.items()}

    rows = [row("image", None, {})]
    rows += [row(name, at, of(name)) for name, at in places.items()]
    return rows + [row(RANDOM, at, {} if i else of(RANDOM)) for i, at in enumerate(control[:DRAWN])]


def _said(layer: str, change: SignChange) -> tuple[str, str]:
    if change.mean is None:
        return f"{layer}:  dead", ""
    p = "" if change.p is None else f"  p {change.p:.2g}"
    of_changed = "" if change.p_of_changed is None else f"  p {change.p_of_changed:.2g}"
    return (
        f"{layer}:  {change.mean:.3f} ± {change.std:.3f}{p}",
        f"[{change.mean_of_changed:.3f} ± {change.std_of_changed:.3f}{of_changed}]",
    )
