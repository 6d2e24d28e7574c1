"""Where do methods point, on a subject's pictures whose objects are known?

    masks = object_masks(subject, boxes=None, count=64)
    localization_scores(subject, None, "conv5", masks)["methods"]["guided"]["pointing"]

They are asked of the true class's logit in our nets, so that all see the same question, of the most probable class's
where the net knows other classes than the data set, and of the unit that each image excites most in others, whose
head may be untrained. Chance is a random place, or an even map.
"""

from typing import Any

import torch
from torch import Tensor

from zfnet.analysis.localisation import energy_inside
from zfnet.analysis.pointing import METHODS, dilate, pointing, strongest
from zfnet.deconv import Unit
from zfnet.model_on_data import ModelOnData
from zfnet.models.convnet import ConvNet
from zfnet.progress import progress_bar

SIGMA, TOLERANCE = 0.02, 0.03  # of the image's side: of the smoothing, and what a pointer may miss by


def localization_scores(
    subject: ModelOnData, located: str | None, layer: str, masks: dict[int, Tensor]
) -> dict[str, Any]:
    """Pointing and energy of each method on pictures with masks, asked of a unit of the layer `located`; None
    stands for the true or the most probable class, and for `layer` where a class cannot be asked for."""
    net, indices = subject.net, list(masks)
    truth = torch.stack(list(masks.values()))
    of_class = located is None and isinstance(net, ConvNet)
    if of_class:
        located = list(net.table)[-1]  # type: ignore[arg-type]
    located = located or layer
    sigma, tolerance = SIGMA * subject.crop, round(TOLERANCE * subject.crop)
    maps: dict[str, list[Tensor]] = {name: [] for name in METHODS}
    with progress_bar() as bar:
        task = bar.add_task("", total=len(indices))
        for start in range(0, len(indices), subject.batch_size):
            some = indices[start : start + subject.batch_size]
            images = subject.inputs(some)
            labels = subject.true_classes(some) if of_class else None
            units = (
                strongest(net, images, located)
                if labels is None
                else [Unit(i, label) for i, label in enumerate(labels.tolist())]
            )
            for name, method in METHODS.items():
                maps[name].append(method(net, images, located, units).cpu())
            bar.update(task, advance=len(some))
    nowhere = torch.zeros(len(indices), 2, dtype=torch.long)
    methods = {}
    for name, parts in maps.items():
        whole = torch.cat(parts)
        methods[name] = {
            "pointing": pointing(whole, truth, sigma, tolerance).float().mean().item(),
            "energy": energy_inside(whole[:, None], nowhere, truth).nanmean().item(),
        }
    methods["chance"] = {
        "pointing": dilate(truth, tolerance).float().mean().item(),
        "energy": truth.float().mean().item(),
    }
    of = "the strongest unit"
    if of_class:
        of = "the true class" if subject.knows_classes() else "the most probable class"
    return {
        "unit": f"{of} of {located}",
        "images": len(indices),
        "sigma": sigma,
        "tolerance": tolerance,
        "methods": methods,
    }
