"""Measures the projections of one layer: do they lie on the object, and what do they depend on?

    numbers = measure(model, untrained, "stages.3", count=96)
    numbers["energy"]["deconvnet"]              # of each image, 0 to 1
    numbers["similarity"]["deconvnet"]["other image"]["cosine"]

The unit of each image is the one that it activates most. Every number is kept for each image, so
that the noise of a difference can be computed.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zfnet.analysis.localization import (
    METHODS,
    PROJECTIONS,
    energy_inside,
    pointing,
    strongest_units,
)
from zfnet.analysis.sanity import cascade, similarity
from zfnet.deconv import Deconvnet, Unit, Window
from zfnet.deconv.rules import Rules
from zfnet.deconv.tracing import make_plan
from zfnet.deconv.trust import sees_all
from zfnet.model_on_data import ModelOnData
from zfnet.models.introspection import capture_outputs, find_modules
from zfnet.sizes import sides
from zfnet.studies.annotations import SIGMA, TOLERANCE, object_masks

COMPARED = 32  # of the images are compared with others
RANDOM = "random weights {}"


def error(model: ModelOnData) -> float | None:
    """The top-1 error on the split, 0 to 1; None where the network has other classes."""
    labels = model.true_classes(range(len(model.images)))
    if labels is None:
        return None
    with torch.no_grad():
        found = torch.cat([model.net(images).argmax(1) for images, _ in model.batches()])
    return (found != labels).float().mean().item()


def measure(
    model: ModelOnData, untrained: Sequence[nn.Module], layer: str, count: int
) -> dict[str, Any]:
    """Measures one layer.

    Args:
        model: the trained network and its images.
        untrained: the same network with random weights, several times.
        layer: name of a layer.
        count: of images, evenly spread over the split.

    Returns:
        What is on the path ("rules", "switched", "sees_all"), and lists with a number for each
        image: "energy" and "pointing" by method, "similarity" by method, by what was changed, and
        by measure.
    """
    masks = object_masks(model, None, count)
    images, truth = model.inputs(list(masks)), torch.stack(list(masks.values()))
    units = strongest_units(model.net, images, layer)
    maps = {}
    for name, method in METHODS.items():
        maps[name] = method(model.net, images, layer, units).cpu()
        print(f"  {layer}: {name}", flush=True)
    *_, (_, shuffled) = cascade(model.net, layer, images)
    controls = {RANDOM.format(seed): net for seed, net in enumerate(untrained)}
    for name, net in (controls | {"shuffled weights": shuffled}).items():
        own = strongest_units(net, images, layer)
        maps[name] = METHODS["deconvnet"](net, images, layer, own).cpu()
    side, corner = min(sides(model.crop)), torch.zeros(len(truth), 2, dtype=torch.long)
    sigma, tolerance = SIGMA * side, round(TOLERANCE * side)
    path = make_plan(model.net, Rules(), images[:1], layer).path
    return {
        "layer": layer,
        "rules": path.extended,
        "switched": path.switched,
        "sees_all": sees_all(path, sides(model.crop)),
        "area": truth.float().mean((1, 2)).tolist(),
        "energy": {
            name: energy_inside(each[:, None], corner, truth).tolist()
            for name, each in maps.items()
        },
        "pointing": {
            name: pointing(each, truth, sigma, tolerance).tolist() for name, each in maps.items()
        },
        "similarity": compare(model.net, shuffled, images[:COMPARED], layer, units[:COMPARED]),
    }


def other_units(net: nn.Module, images: Tensor, layer: str, units: Sequence[Unit]) -> list[Unit]:
    """For each unit another channel at its place, a random one of those that are active there."""
    read: list[Tensor] = []
    with (
        torch.no_grad(),
        capture_outputs(find_modules(net, [layer]), lambda _, output: read.append(output.clone())),
    ):
        net(images)
    maps = Deconvnet(net).axes(layer, tuple(images.shape[1:])).maps(read[0])  # type: ignore[arg-type]
    generator, found = torch.Generator().manual_seed(0), []
    for unit in units:
        active = (maps[unit.image, :, unit.y, unit.x] > 0).nonzero()[:, 0].tolist()
        others = [channel for channel in active if channel != unit.channel]
        others = others or [(unit.channel + 1) % maps.shape[1]]
        place = int(torch.randint(len(others), (1,), generator=generator))
        found.append(replace(unit, channel=others[place]))
    return found


def compare(
    net: nn.Module, shuffled: nn.Module, images: Tensor, layer: str, units: Sequence[Unit]
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Compares each unit's projection with three others, by every method of PROJECTIONS.

    Args:
        net: the trained network.
        shuffled: a copy with the weights shuffled within each tensor.
        images: (N, C, H, W).
        layer: name of a layer.
        units: a unit of each image.
    """
    others = other_units(net, images, layer, units)
    deconv, size = Deconvnet(net), (images.shape[2], images.shape[3])
    windows = [deconv.window(layer, unit, size) for unit in units]
    found = {}
    for name, project in PROJECTIONS.items():
        original = project(net, images, layer, units)
        changed = {
            "shuffled weights": project(shuffled, images, layer, units),
            "other unit": project(net, images, layer, others),
            "other image": project(net, images.roll(1, 0), layer, units),
        }
        found[name] = {change: similar(original, each, windows) for change, each in changed.items()}
    return found


def similar(
    projections: Tensor, others: Tensor, windows: Sequence[Window]
) -> dict[str, list[float]]:
    """Cosine and rank correlation of pairs of projections (N, C, H, W), in the units' windows."""
    numbers: dict[str, list[float]] = {"cosine": [], "rank": []}
    for one, other, window in zip(projections, others, windows, strict=True):
        rows = slice(max(0, window.top), window.bottom)
        columns = slice(max(0, window.left), window.right)
        pair = (each[None, :, rows, columns] for each in (one, other))
        for values, found in zip(numbers.values(), similarity(*pair), strict=True):
            values += found.tolist()
    return numbers
