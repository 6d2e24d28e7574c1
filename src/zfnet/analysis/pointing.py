"""Where does a method point? Saliency methods asked where the object is, against the truth.

The pointing game (Zhang et al. 2016) asks whether the largest value of a smoothed map lies on the object, within a
tolerance; localisation.energy_inside says how much of the map does. METHODS holds who is asked; another is a line:

    deconvnet, guided, gradient    |R| of the unit's projection, which starts with 1
    occlusion                      how much a unit of the logits falls under a grey square there (Figure 7); of other
                                   layers the sum of the unit's map, for a sweep knows maps and not their places
    centre                         no method: whoever points at the middle of a photograph is often right

    maps = METHODS["guided"](model, images, "fc8", [Unit(0, 7), Unit(1, 3)])     # (N, H, W), a map for each unit
    pointing(maps, masks, sigma=2, tolerance=3)                                  # bool (N,)
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zfnet.analysis.occlusion.sweep import occlusion_sweep
from zfnet.analysis.sanity import force_activation, magnitude
from zfnet.deconv import Unit
from zfnet.models.introspection import capture_outputs, check_called_once, eval_mode, find_modules

Saliency = Callable[[nn.Module, Tensor, str, Sequence[Unit]], Tensor]
COVERED = 50 / 224  # of the image's side: the paper's square, which moves by half of its own


def saliency(model: nn.Module, images: Tensor, layer: str, units: Sequence[Unit], relu: str) -> Tensor:
    """|R| (N, H, W) of a projection that starts with 1."""
    return magnitude(force_activation(model, images, relu).project(images, layer, units))


def occlusion_map(model: nn.Module, images: Tensor, layer: str, units: Sequence[Unit]) -> Tensor:
    """What each unit, or its map, loses where a square covers its image; 0 where it gains."""
    size = max(1, round(COVERED * min(images.shape[2:])))
    sweep = occlusion_sweep(model, images, size=size, stride=max(1, size // 2), layer=layer)
    assert sweep.activity is not None
    assert sweep.clean_activity is not None
    which, maps = [unit.image for unit in units], [unit.channel for unit in units]
    lost = sweep.clean_activity[which, maps, None, None] - sweep.activity[which, :, :, maps]
    return sweep.over_pixels(lost.clamp(min=0))


def centre(_: nn.Module, images: Tensor, __: str, units: Sequence[Unit]) -> Tensor:
    """No method: a Gaussian at the image's centre, σ a quarter of its side, whatever the net."""
    y, x = (((torch.arange(n) - (n - 1) / 2) / (n / 4)).square() for n in images.shape[2:])
    return torch.exp(-(y[:, None] + x) / 2).expand(len(units), -1, -1)


METHODS: dict[str, Saliency] = {
    "deconvnet": partial(saliency, relu="deconv"),
    "guided": partial(saliency, relu="guided"),
    "gradient": partial(saliency, relu="gradient"),
    "occlusion": occlusion_map,
    "centre": centre,
}


def smooth(maps: Tensor, sigma: float) -> Tensor:
    """Maps (N, H, W) under a Gaussian of `sigma` pixels, 0 beyond the border."""
    reach = max(1, round(3 * sigma))
    weights = torch.exp(-((torch.arange(-reach, reach + 1, device=maps.device) / sigma) ** 2) / 2)
    weights = (weights / weights.sum()).to(maps.dtype)
    rows = F.conv2d(maps[:, None], weights.view(1, 1, -1, 1), padding=(reach, 0))
    return F.conv2d(rows, weights.view(1, 1, 1, -1), padding=(0, reach))[:, 0]


def dilate(masks: Tensor, tolerance: int) -> Tensor:
    """What lies within `tolerance` pixels of masks, bool (N, H, W)."""
    span = torch.arange(-tolerance, tolerance + 1)
    disc = (span[:, None] ** 2 + span**2 <= tolerance**2).float()
    return F.conv2d(masks[:, None].float(), disc[None, None], padding=tolerance)[:, 0] > 0.5


def pointing(maps: Tensor, masks: Tensor, sigma: float, tolerance: int) -> Tensor:
    """Whether each smoothed map (N, H, W) is largest within `tolerance` pixels of its mask: bool (N,).

    A map that is 0 everywhere points at nothing.
    """
    maps = smooth(maps.cpu(), sigma)
    places = maps.flatten(1).argmax(1)
    hits = dilate(masks, tolerance).flatten(1).gather(1, places[:, None])[:, 0]
    return hits & (maps.flatten(1).amax(1) > 0)


def strongest(model: nn.Module, images: Tensor, layer: str) -> list[Unit]:
    """The unit of `layer` that each image (B, 3, H, W) excites most."""
    units: list[Unit] = []

    def read(_: str, values: Tensor) -> bool:
        maps = values if values.dim() == 4 else values[:, :, None, None]
        best = maps.flatten(1).argmax(1).cpu()
        places = torch.stack(torch.unravel_index(best, maps.shape[1:]), 1).tolist()
        units.extend(Unit(i, *place) for i, place in enumerate(places))
        return True

    modules = find_modules(model, [layer])
    with torch.no_grad(), eval_mode(model):
        check_called_once(model, modules, images[:1], maps=True)
        with capture_outputs(modules, read):
            model(images)
    return units
