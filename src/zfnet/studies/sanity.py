"""What a projection can and cannot claim (Adebayo et al. 2018), and where it points.

    python analyze.py analysis=sanity ckpt=outputs/train/demo/checkpoints/last.ckpt

Projects the strongest images of some channels again: with the layers below shuffled one after
another, from another channel, and with another image's switches. `sanity.png` shows the projections
above one another, with how similar they stay. Two rows show contrastive projections of the channel
and of the other one, which are compared with each other. Where the data set knows masks, or
`boxes=` names a csv, the methods of zfnet.analysis.localization are compared: deconvnet, also
contrastive, guided backpropagation, gradient and occlusion, beside the image's center and chance.
`sanity.json` has the numbers. Safe to interrupt: resume=true continues the search."""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from zfnet import ranks
from zfnet.analysis.sanity import CONTRAST, sanity_checks, similarity
from zfnet.deconv import Deconvnet, Top, Unit, make_deconvnet
from zfnet.deconv.contrast import Contrast
from zfnet.deconv.rules import Relu
from zfnet.errors import InputError
from zfnet.json_output import write_json
from zfnet.model_on_data import ModelOnData
from zfnet.models.scores import LAYER
from zfnet.parts import Parts
from zfnet.search import search
from zfnet.studies import Analysis
from zfnet.studies.annotations import localization_scores, object_masks
from zfnet.studies.score_option import parse_score, project_score
from zfnet.studies.top_activations import choose
from zfnet.validation import Count, Seed, Whole
from zfnet.viz import save_png
from zfnet.viz.sanity import Located, Row, sanity_sheet

log = logging.getLogger(__name__)

SHOWN = 8  # channels in the figure
OTHERS = {
    "other map": "other channel",
    "contrastive": "contrastive",
    "contrastive other map": "other channel, both contrastive",
    "other image": "other image",
    "both": "other channel and image",
}


@dataclass
class Checked:
    """N units, the patches (N, C, h, w) in [0, 1] that they see, and their projections by check."""

    units: list[Unit]
    patches: Tensor
    projections: dict[str, Tensor]
    shown: dict[str, Tensor]  # the channels of the projections that the figure shows


@dataclass
class Sanity(Analysis):
    """The sanity checks, and localization; see conf/analysis/sanity.yaml for the fields."""

    layer: str | None
    channels: Count | Sequence[Whole]
    k: Count
    images: Count
    located: str | None
    boxes: str | None
    seed: Seed
    score: Whole | str | None = None
    relu: Relu = "deconv"
    takes = "model"
    shares = True

    def run(self, model: ModelOnData, folder: Path) -> None:
        if option := parse_score(self.score, model):
            model, channels = project_score(model, option)
            self.layer, self.channels = LAYER, channels or self.channels
        layer = self.layer or model.default_layers()[-1]
        masks = object_masks(model, self.boxes, self.images)
        parts = Parts(folder, "search", {**model.fingerprint(), "layers": [layer], "k": self.k})
        top = search(model, parts, [layer], self.k)[layer]
        if not ranks.is_first():
            return
        checked = self._check(model, layer, top)
        similar = _similarities(checked.projections)
        for name, label in labels(similar).items():
            numbers, reference = similar[name], _compared_with(name)
            if math.isnan(numbers["cosine"]):
                log.info("%s: cannot be compared with the %s, projections are 0", label, reference)
            else:
                log.info(
                    "%s: cosine %.2f, rank correlation %.2f with the %s",
                    *(label, *numbers.values(), reference),
                )
        scores = localization_scores(model, self.located, layer, masks, self.seed) if masks else {}
        for name, numbers in scores.get("methods", {}).items():
            shares = (100 * share for share in numbers.values())
            log.info("%s: points at the object %.0f %%, energy %.0f %%", name, *shares)
        deconv = make_deconvnet(model.net, self.relu)
        contrast = Contrast(CONTRAST, self.seed)
        count = deconv.units(layer, model.crop)[0]
        rules = deconv.extended_rules(layer, model.crop)
        result = {
            "layer": layer,
            "score": option.text if option else None,
            "relu": self.relu,
            "extended_rules": rules,
            "caution": deconv.caution(layer, model.crop),
            "contrast": contrast.settings(count),
            "similarity": similar,
            "localisation": scores,
        }
        write_json(result, folder / "sanity.json", indent=1)
        notes = (deconv.describe(layer, model.crop), contrast.describe(count))
        note = "; ".join(note for note in notes if note)
        sheet = _sheet(layer, checked, similar, scores, note)
        save_png(sheet, folder / "sanity.png")
        parts.delete()

    def _check(self, model: ModelOnData, layer: str, top: Top) -> Checked:
        """Every check of the k strongest units of some channels."""
        count = len(model.images)
        live = (top.values[:, 0] > 0).nonzero()[:, 0].tolist()
        if isinstance(self.channels, int):
            chosen = [live[i] for i in choose(self.channels, len(live), "channels", layer)]
        else:
            chosen = [
                c for c in choose(self.channels, len(top.values), "channels", layer) if c in live
            ]
        if not chosen:
            raise InputError(
                f"no image activates the chosen channels of {layer}: there is nothing to check"
            )
        others = dict(zip(chosen, [*chosen[1:], chosen[0]], strict=True))
        if len(chosen) == 1:
            another = (each for each in live if each != chosen[0])
            others = {chosen[0]: next(another, (chosen[0] + 1) % len(top.values))}
        places = [(channel, rank) for channel in chosen for rank in range(self.k)]
        places = [at for at in places if top.values[at] > 0]
        indices = [int(top.images[at]) for at in places]
        units = [Unit(i, at[0], int(top.y[at]), int(top.x[at])) for i, at in enumerate(places)]
        images = model.inputs(indices)
        elsewhere = model.inputs([_another(indices, i, count) for i in range(len(indices))])
        channels = [others[unit.channel] for unit in units]
        projections = sanity_checks(
            model.net, images, elsewhere, layer, units, channels, self.seed, self.relu
        )
        patches = Deconvnet(model.net).patches(images, layer, units)
        seen = patches.crop(model.pixels(indices), units, fill=0.5)
        shown = {name: model.shown(each) for name, each in projections.items()}
        return Checked(units, model.shown(seen), projections, shown)


def _another(indices: list[int], i: int, count: int) -> int:
    """The next unit's image that is not this one's; the next of all when there is none."""
    following = [*indices[i + 1 :], *indices[:i]]
    return next((index for index in following if index != indices[i]), (indices[i] + 1) % count)


def _compared_with(check: str) -> str:
    return "contrastive" if check == "contrastive other map" else "original"


def _similarities(projections: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """Mean similarities with the original, by check; those of "both" are chance's.

    Contrastive projections of other channels are compared with contrastive ones.
    """
    result = {}
    for name, each in projections.items():
        cosines, ranks = similarity(projections[_compared_with(name)], each)
        result[name] = {"cosine": cosines.nanmean().item(), "rank": ranks.nanmean().item()}
    return result


def _sheet(
    layer: str,
    checked: Checked,
    similar: dict[str, dict[str, float]],
    scores: dict[str, Any],
    note: str,
) -> Tensor:
    """A column for each channel with a panel of its projections by check, and the numbers."""
    channels = [unit.channel for unit in checked.units]
    shown = list(dict.fromkeys(channels))[:SHOWN]
    columns = [[i for i, each in enumerate(channels) if each == channel] for channel in shown]
    rows = [
        Row(
            label,
            [checked.shown[name][own] for own in columns],
            (similar[name]["cosine"], similar[name]["rank"]),
            name not in OTHERS,
        )
        for name, label in labels(checked.projections).items()
    ]
    located = None
    if scores:
        methods = scores["methods"]
        pointing, energy = (
            [100 * each[key] for each in methods.values()] for key in ("pointing", "energy")
        )
        located = Located(
            f"{scores['unit']}, {scores['images']} images", list(methods), pointing, energy
        )
    title = (
        f"{layer}: what stays of a projection when the network, the unit or the image is another"
    )
    patches = [checked.patches[own] for own in columns]
    heads = [f"channel {channel}" for channel in shown]
    return sanity_sheet(title, heads, patches, rows, located, note)


def labels(checks: Iterable[str]) -> dict[str, str]:
    """What each check is called: the original, the others, and between them the layers that are
    shuffled."""
    shuffled = [name for name in checks if name not in ("original", *OTHERS)]
    cascade = {name: f"... and {name.removesuffix('.conv')}" for name in shuffled}
    if shuffled:
        cascade[shuffled[0]] = f"{shuffled[0].removesuffix('.conv')} shuffled"
    return {name: cascade.get(name, OTHERS.get(name, name)) for name in checks}
