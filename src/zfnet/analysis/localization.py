"""Do projections and saliency maps lie on the object? Measured against masks of the objects.

The pointing game (Zhang et al. 2016) asks whether the largest value of a smoothed map lies on the
object, within a tolerance. The energy of an image is the sum of its squares; `energy_inside` is the
fraction of it inside a mask. METHODS holds the methods that are compared:

    deconvnet, guided    |R| of the unit's projection, which starts with 1
    contrastive          |R| of the contrastive projection, of CONTRAST random channels
    gradient             |R| of the unit's gradient
    gradient x input     |R| of its product with the image, which is 0 at the network's mean
    occlusion            how much a logit falls under a gray square there (Figure 7); of other
                         layers, the sum of the unit's channel: a sweep keeps no single units
    centre               a baseline: the object is often in the middle of a photograph

PROJECTIONS holds the signed R of all but the last two.

    units = [Unit(0, 7), Unit(1, 3)]
    maps = METHODS["guided"](model, images, "fc8", units)  # (N, H, W), a map for each unit
    pointing(maps, masks, sigma=2, tolerance=3)            # bool (N,)
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zfnet.analysis.occlusion.sweep import occlusion_sweep
from zfnet.analysis.sanity import CONTRAST, force_activation, magnitude
from zfnet.deconv import Unit
from zfnet.models.introspection import capture_outputs, check_called_once, eval_mode, find_modules
from zfnet.models.outputs import is_classifier

Saliency = Callable[..., Tensor]
RANDOM_PLACES = 20  # to which a projection is moved
COVERED = 50 / 224  # of the image's side: the paper's square, which moves by half of its own


def project(
    model: nn.Module,
    images: Tensor,
    layer: str,
    units: Sequence[Unit],
    relu: str,
    contrast: int = 0,
    seed: int = 0,
) -> Tensor:
    """Projections (N, C, H, W) that start with 1, by a rule of `make_deconvnet`; the seed is of the
    contrast."""
    return force_activation(model, images, relu, contrast, seed).project(images, layer, units)


def gradient_times_input(
    model: nn.Module, images: Tensor, layer: str, units: Sequence[Unit]
) -> Tensor:
    """Each unit's gradient times its image, (N, C, H, W)."""
    which = torch.tensor([unit.image for unit in units], dtype=torch.long)
    return project(model, images, layer, units, "gradient") * images[which]


def saliency(
    model: nn.Module,
    images: Tensor,
    layer: str,
    units: Sequence[Unit],
    method: str,
    **options: int,
) -> Tensor:
    """|R| (N, H, W) of a method of PROJECTIONS, and its options."""
    return magnitude(PROJECTIONS[method](model, images, layer, units, **options))


def occlusion_map(
    model: nn.Module,
    images: Tensor,
    layer: str,
    units: Sequence[Unit],
    classifier: bool | None = None,
) -> Tensor:
    """What each unit, or its channel, loses where a square covers its image; 0 where it gains: (N,
    H, W). `classifier` says whether the model is one, if that is known."""
    if classifier is None:
        classifier = is_classifier(model, images)
    size = max(1, round(COVERED * min(images.shape[2:])))
    sweep = occlusion_sweep(
        *(model, images),
        size=size,
        stride=max(1, size // 2),
        layer=layer,
        activity_only=not classifier,
    )
    assert sweep.activity is not None
    assert sweep.clean_activity is not None
    which, channels = [unit.image for unit in units], [unit.channel for unit in units]
    lost = sweep.clean_activity[which, channels, None, None] - sweep.activity[which, :, :, channels]
    return sweep.over_pixels(lost.clamp(min=0))


def centre(_: nn.Module, images: Tensor, __: str, units: Sequence[Unit]) -> Tensor:
    """A Gaussian at the image's center, σ a quarter of its side, whatever the network: (N, H,
    W)."""
    y, x = (((torch.arange(n) - (n - 1) / 2) / (n / 4)).square() for n in images.shape[2:])
    return torch.exp(-(y[:, None] + x) / 2).expand(len(units), -1, -1)


PROJECTIONS: dict[str, Saliency] = {
    "deconvnet": partial(project, relu="deconv"),
    "contrastive": partial(project, relu="deconv", contrast=CONTRAST),
    "guided": partial(project, relu="guided"),
    "gradient": partial(project, relu="gradient"),
    "gradient x input": gradient_times_input,
}
METHODS: dict[str, Saliency] = {
    **{name: partial(saliency, method=name) for name in PROJECTIONS},
    "occlusion": occlusion_map,
    "centre": centre,
}


def methods_for(model: nn.Module, images: Tensor, seed: int) -> dict[str, Saliency]:
    """METHODS for many batches of images.

    Args:
        model: The network that they will be given.
        images: (B, C, H, W), some of its images, which tell whether it is a classifier.
        seed: Of the channels of contrastive projections.
    """
    return METHODS | {
        "contrastive": partial(METHODS["contrastive"], seed=seed),
        "occlusion": partial(occlusion_map, classifier=is_classifier(model, images)),
    }


def smooth(maps: Tensor, sigma: float) -> Tensor:
    """Maps (N, H, W) under a Gaussian of `sigma` pixels, 0 beyond the border."""
    reach = max(1, round(3 * sigma))
    weights = torch.exp(-((torch.arange(-reach, reach + 1, device=maps.device) / sigma) ** 2) / 2)
    weights = (weights / weights.sum()).to(maps.dtype)
    rows = F.conv2d(maps[:, None], weights.view(1, 1, -1, 1), padding=(reach, 0))
    return F.conv2d(rows, weights.view(1, 1, 1, -1), padding=(0, reach))[:, 0]


def dilate(masks: Tensor, tolerance: int) -> Tensor:
    """The pixels within `tolerance` pixels of masks, bool (N, H, W)."""
    span = torch.arange(-tolerance, tolerance + 1)
    disc = (span[:, None] ** 2 + span**2 <= tolerance**2).float()
    return F.conv2d(masks[:, None].float(), disc[None, None], padding=tolerance)[:, 0] > 0.5


def pointing(maps: Tensor, masks: Tensor, sigma: float, tolerance: int) -> Tensor:
    """Whether each smoothed map is largest on its object. A map that is 0 everywhere is not.

    Args:
        maps: (N, H, W).
        masks: bool (N, H, W).
        sigma: Of the smoothing, in pixels.
        tolerance: Pixels by which the largest value may miss the mask.

    Returns:
        bool (N,).
    """
    maps = smooth(maps.cpu(), sigma)
    places = maps.flatten(1).argmax(1)
    hits = dilate(masks, tolerance).flatten(1).gather(1, places[:, None])[:, 0]
    return hits & (maps.flatten(1).amax(1) > 0)


def energy_inside(projections: Tensor, starts: Tensor, masks: Tensor) -> Tensor:
    """The fraction of each projection's energy inside its mask, of what lies within the image.

    Args:
        projections: (N, C, h, w). They may reach beyond the border of their images.
        starts: (N, 2), the row and column of each one's first pixel in its image.
        masks: bool (N, H, W).

    Returns:
        (N,) in [0, 1]; NaN where there is no energy.
    """
    return _inside(projections.square().sum(1), starts, masks)


def _inside(energy: Tensor, starts: Tensor, masks: Tensor) -> Tensor:
    """`energy_inside` of projections with this energy (N, h, w) in each pixel."""
    height, width = energy.shape[1:]
    y = starts[:, 0, None] + torch.arange(height)  # (N, h)
    x = starts[:, 1, None] + torch.arange(width)
    rows, columns = masks.shape[1:]
    exists = ((y >= 0) & (y < rows))[:, :, None] & ((x >= 0) & (x < columns))[:, None, :]
    which = torch.arange(len(masks))[:, None, None]
    # Of shape (N, h, w).
    on = masks[which, y.clamp(0, rows - 1)[:, :, None], x.clamp(0, columns - 1)[:, None, :]]
    energy = energy * exists
    return (energy * on).sum((1, 2)) / energy.sum((1, 2))


def energy_by_chance(
    projections: Tensor, starts: Tensor, masks: Tensor, own: Tensor, corners: Tensor
) -> Tensor:
    """The fraction of energy inside the masks if the projections were those of random units.

    Args:
        projections: (N, C, h, w), as for `energy_inside`.
        starts: (N, 2), as for `energy_inside`.
        masks: bool (N, H, W).
        own: (N, 2), the first row and column of what each unit sees.
        corners: (M, 2), the same of all units of the layer.

    Returns:
        (N,), the means over RANDOM_PLACES random units, seeded; NaN where there is no energy.
    """
    size, generator = (RANDOM_PLACES, len(projections)), torch.Generator().manual_seed(0)
    moved = corners[torch.randint(len(corners), size, generator=generator)] - own + starts
    energy = projections.square().sum(1)
    return torch.stack([_inside(energy, places, masks) for places in moved]).nanmean(0)


def strongest_units(model: nn.Module, images: Tensor, layer: str) -> list[Unit]:
    """The unit of a layer that each image (B, C, H, W) activates most."""
    units: list[Unit] = []

    def read(_: str, values: Tensor) -> bool:
        maps = axes[layer].maps(values)
        best = maps.flatten(1).argmax(1).cpu()
        places = torch.stack(torch.unravel_index(best, maps.shape[1:]), 1).tolist()
        units.extend(Unit(i, *place) for i, place in enumerate(places))
        return True

    modules = find_modules(model, [layer])
    with torch.no_grad(), eval_mode(model):
        axes = check_called_once(model, modules, images[:1], maps=True)
        with capture_outputs(modules, read):
            model(images)
    return units
