"""Figure 8 and Table 1: does masking an eye change the same features in different images?

    python analyze.py analysis=correspondence classes=[dog] \\
        ckpt=outputs/train/demo/checkpoints/last.ckpt
    python analyze.py analysis=correspondence model=torchvision model.name=squeezenet1_1 \\
        data=photos data.root=dogs parts=dogs/parts.csv layers=[features.9,features.12]

`correspondence.png` shows the masked images, `correspondence.json` has the sign changes and all
places; the log has them beside the paper's. Parts come from a csv or from the data set; images that
lack one are left out. An untrained network, model=zfnet model.init=he model.pixels=unit, shows how
much of the effect is due to place and appearance alone. """

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field
from torch import Tensor

from zfnet.analysis.correspondence import (
    RANDOM,
    SignChange,
    correspondence,
    mask_square,
    random_places,
)
from zfnet.errors import InputError
from zfnet.json_output import write_json
from zfnet.model_on_data import ModelOnData, has_annotations
from zfnet.sizes import show_size, sides
from zfnet.studies import Analysis
from zfnet.studies.annotations import (
    ImagesWithParts,
    images_with_parts,
    read_parts,
)
from zfnet.studies.layers import last_convolution_and_top
from zfnet.studies.reference_results import CORRESPONDENCE
from zfnet.validation import Count, Seed, Share
from zfnet.viz import save_png
from zfnet.viz.correspondence import Row, correspondence_sheet

log = logging.getLogger(__name__)

NAMES = ("right_eye", "left_eye", "nose")  # Table 1
SHOWN, DRAWN = 8, 2  # images, and random squares of each, in the figure


@dataclass
class Correspondence(Analysis):
    """Masks each part in some images, and as many random squares; fields:
    conf/analysis/correspondence.yaml."""

    parts: str | None
    parts_side: Count
    names: Sequence[str] | None
    classes: Sequence[str] | None
    layers: Sequence[str] | None
    images: Annotated[Count, Field(ge=2)]
    patch: Share
    draws: Count
    permutations: Count
    seed: Seed
    takes = "model"

    def run(self, model: ModelOnData, folder: Path) -> None:
        layers = list(self.layers or last_convolution_and_top(model.net, model.inputs([0])))
        side = round(self.patch * min(sides(model.crop)))
        if side < 1:
            raise InputError(
                f"patch={self.patch}: is no pixel in images of {show_size(model.crop)}; choose "
                "0.2, say"
            )
        chosen = self._images(model, side)
        control = random_places(
            chosen.places, model.crop, side, self.draws, self.seed, chosen.masks
        )
        inputs, places = model.inputs(chosen.images), chosen.places
        found = correspondence(
            model.net, inputs, places, control, layers, side, self.permutations, self.seed
        )
        for line in table(found, len(chosen.images), side):
            log.info("%s", line)
        rows = _rows(model, inputs[:SHOWN], {**places, RANDOM: control}, found, side)
        save_png(correspondence_sheet(rows, len(chosen.images)), folder / "correspondence.png")
        result = {
            "images": [model.images.ids[i] for i in chosen.images],
            "left_out": chosen.left_out,
            "side": side,
            "layers": {
                layer: {name: asdict(change) for name, change in changes.items()}
                for layer, changes in found.items()
            },
            "places": {name: each.tolist() for name, each in {**places, RANDOM: control}.items()},
            "paper": CORRESPONDENCE,
        }
        write_json(result, folder / "correspondence.json")

    def _images(self, model: ModelOnData, side: int) -> ImagesWithParts:
        """The images whose parts are masked."""
        if self.parts:
            known = read_parts(self.parts, model, self.parts_side)
            in_csv = dict.fromkeys(name for own in known.values() for name in own)
            if not (names := list(self.names or in_csv)):
                raise InputError(f"parts={self.parts} names no parts")
        elif has_annotations(model):
            known, names = None, list(self.names or NAMES)
        else:
            raise InputError(
                f"{model.source.name} knows no parts of its images: name a file, parts=parts.csv"
            )
        return images_with_parts(model, names, known, self.images, side, self.classes, self.seed)


def table(found: dict[str, dict[str, SignChange]], images: int, side: int) -> list[str]:
    """The lines of Table 1: a part and layer each, and the paper's numbers behind ours."""
    lines = [
        f"sign change, mean ± std over pairs of {images} images, squares of {side} pixels (p: "
        "against random); "
        "in brackets of the changed dimensions only"
    ]
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
    model: ModelOnData,
    inputs: Tensor,
    places: dict[str, Tensor],
    found: dict[str, dict[str, SignChange]],
    side: int,
) -> list[Row]:
    """The images, then each part and some random squares masked, with their numbers (random:
    once)."""

    def row(name: str, at: Tensor | None, numbered: bool = True) -> Row:
        shown = inputs if at is None else mask_square(inputs, at[: len(inputs)], side)
        pixels = model.shown(model.prepare.denormalize(shown.cpu())).clamp(0, 1)
        numbers = [_lines(layer, changes[name]) for layer, changes in found.items() if numbered]
        return Row(name.replace("_", " "), pixels, numbers)

    rows = [row("image", None, numbered=False)]
    for name, at in places.items():
        draws = at[:DRAWN] if name == RANDOM else [at]
        rows += [row(name, each, numbered=not i) for i, each in enumerate(draws)]
    return rows


def _lines(layer: str, change: SignChange) -> tuple[str, str]:
    if change.mean is None:
        return f"{layer}:  dead", ""
    p = "" if change.p is None else f"  p {change.p:.2g}"
    of_changed = "" if change.p_of_changed is None else f"  p {change.p_of_changed:.2g}"
    return (
        f"{layer}:  {change.mean:.3f} ± {change.std:.3f}{p}",
        f"[{change.mean_of_changed:.3f} ± {change.std_of_changed:.3f}{of_changed}]",
    )
