"""Sanity checks of projections: what do they say about the network, and what about the image?

Adebayo et al., "Sanity Checks for Saliency Maps" (2018): a projection that stays the same when the
weights are randomized says nothing about what the network has learned. Each unit's projection is
compared with four others:

    cascade       weights are shuffled within each tensor (same values, no structure), layer by
                  layer from the unit's own down to conv1. Layers above do not take part: shuffling
                  them changes no bit
    other map     a unit of another channel at the same place: what is common comes from the image
                  (switches)
    other image   the unit with the switches of another image: what is common comes from the unit
                  (filters)
    both          another channel in another image: chance, only place and method are common

Contrastive projections (zfnet.deconv.contrast) leave out what channels at one place share:

    contrastive            the unit's contrastive projection, with CONTRAST random channels
    contrastive other map  that of the other channel at the same place, to be compared with it

The scale of a projection is that of the activation, and a shuffled network need not activate the
unit. All projections therefore start with R = 1 at the unit (seed="forced") and are compared by
measures that ignore scale: the cosine of the signed projections, about 0 by chance; and Spearman's
rank correlation of their magnitudes |R| = sqrt(Σ over channels R²) per pixel, which is far from 0
by chance, because all projections fade towards the border of the receptive field.

    projections = sanity_checks(model, images, others, "conv5", units, channels)
    cosine, rank_correlation = similarity(projections["original"], projections["conv4.conv"])
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from zfnet.deconv import Deconvnet, Unit, make_deconvnet
from zfnet.errors import InputError
from zfnet.models.introspection import capture_outputs, eval_mode, find_modules
from zfnet.versions.python_names import renamed

CONTRAST = 16  # channels that contrastive projections are compared with


def force_activation(
    model: nn.Module, images: Tensor, relu: str = "deconv", contrast: int = 0, seed: int = 0
) -> Deconvnet:
    """Returns a deconvnet that starts with 1 at each unit, whatever its activation.

    Args:
        model: any convnet.
        images: (B, C, H, W), the images to be projected.
        relu: backward rule of the ReLU, as of `make_deconvnet`.
        contrast: as for `Deconvnet`.
        seed: of the contrast.

    Raises:
        InputError: an image is not finite, which would not show in the projections.
    """
    if bad := (~images.isfinite()).flatten(1).any(1).nonzero().flatten().tolist():
        raise InputError(f"image {bad[0]} of {len(images)} holds a value that is no finite number")
    return make_deconvnet(model, relu, seed="forced", contrast=contrast, contrast_seed=seed)


@renamed(maps="channels")
def sanity_checks(
    model: nn.Module,
    images: Tensor,
    others: Tensor,
    layer: str,
    units: Sequence[Unit],
    channels: Sequence[int],
    seed: int = 0,
    relu: str = "deconv",
) -> dict[str, Tensor]:
    """Projects units in the original network and image, and with each of the changes above.

    Args:
        model: any convnet.
        images: (B, C, H, W).
        others: (B, C, H, W), the other images.
        layer: name of a layer.
        units: N units of the layer.
        channels: the other channel for each unit.
        seed: of the shuffling, and of the channels of contrastive projections.
        relu: backward rule of the ReLU, as of `make_deconvnet`.

    Returns:
        Projections (N, C, h, w) cropped to what the units see: "original", one for each shuffled
        layer by its name, "other map", "contrastive", "contrastive other map", "other image" and
        "both".

    Raises:
        InputError: an image or a projection is not finite.
    """
    deconv = force_activation(model, images, relu)
    elsewhere = [
        replace(unit, channel=channel) for unit, channel in zip(units, channels, strict=True)
    ]
    result = {"original": deconv.patches(images, layer, units).projections}
    for name, shuffled in cascade(model, layer, images, seed):
        deconv_shuffled = force_activation(shuffled, images, relu)
        result[name] = deconv_shuffled.patches(images, layer, units).projections
    result["other map"] = deconv.patches(images, layer, elsewhere).projections
    contrast = force_activation(model, images, relu, contrast=CONTRAST, seed=seed)
    contrastive = contrast.patches(images, layer, [*units, *elsewhere]).projections
    result["contrastive"] = contrastive[: len(units)]
    result["contrastive other map"] = contrastive[len(units) :]
    deconv = force_activation(model, others, relu)
    result["other image"] = deconv.patches(others, layer, units).projections
    result["both"] = deconv.patches(others, layer, elsewhere).projections
    for name, projections in result.items():
        if not projections.isfinite().all():
            raise InputError(
                f"the projections of layer {layer!r} ({name}) are not finite: they cannot be "
                "compared"
            )
    return {name: projections.cpu() for name, projections in result.items()}


def layers_below(model: nn.Module, layer: str, image: Tensor) -> list[str]:
    """Returns the modules with weights that run up to `layer`, in reverse order of execution.

    Args:
        model: any model.
        layer: name of a layer.
        image: (B, C, H, W); the first one is run.
    """
    target = find_modules(model, [layer])[layer]
    own = {
        name: each
        for name, each in model.named_modules()
        if next(each.parameters(False), None) is not None
    }
    order: list[str] = []

    def read(name: str, _: Tensor) -> bool:
        if name in own and name not in order:
            order.append(name)
        return name == ""

    with (
        torch.no_grad(),
        eval_mode(model),
        capture_outputs({**own, "": target}, read, needed=("",)),
    ):
        model(image[:1])
    return order[::-1]


def cascade(
    model: nn.Module, layer: str, image: Tensor, seed: int = 0
) -> Iterator[tuple[str, nn.Module]]:
    """Yields layers from `layer` down, and a copy of the model with the weights so far shuffled.

    Args:
        model: any model; it is left unchanged.
        layer: name of the layer to start with.
        image: (B, C, H, W); the first one determines the order of the layers.
        seed: of the shuffling.
    """
    copy, generator = deepcopy(model), torch.Generator().manual_seed(seed)
    modules = dict(copy.named_modules())
    for name in layers_below(model, layer, image):
        with torch.no_grad():
            for weights in modules[name].parameters(False):
                order = torch.randperm(weights.numel(), generator=generator).to(weights.device)
                weights.copy_(weights.flatten()[order].view_as(weights))
        yield name, copy


def magnitude(projections: Tensor) -> Tensor:
    """Returns |R| per pixel: (N, C, H, W) → (N, H, W)."""
    return projections.square().sum(1).sqrt()


def similarity(projections: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Compares pairs of projections.

    Args:
        projections: (N, C, H, W), signed.
        others: (N, C, H, W).

    Returns:
        The cosine (N,) of the signed projections and Spearman's rank correlation (N,) of their
        magnitudes; NaN where one of a pair is 0 everywhere.

    Example:
        >>> projections = torch.randn(1, 3, 8, 8)
        >>> cosine, rank_correlation = similarity(projections, -2 * projections)
        >>> round(cosine.item(), 6), round(rank_correlation.item(), 6)
        (-1.0, 1.0)

    Raises:
        InputError: the shapes differ.
    """
    if projections.shape != others.shape:
        raise InputError(
            f"projections {tuple(projections.shape)} and {tuple(others.shape)} differ in shape"
        )
    ranks = (_center(_ranks(magnitude(each).flatten(1))) for each in (projections, others))
    return _cosine(projections.flatten(1), others.flatten(1)), _cosine(*ranks)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    a, b = a.double(), b.double()
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def _center(values: Tensor) -> Tensor:
    return values - values.mean(1, keepdim=True)


def _ranks(values: Tensor) -> Tensor:
    """Returns the ranks within each row (N, P); equal values share the mean of their ranks."""
    result = torch.empty(values.shape, dtype=torch.float64)
    for row, out in zip(values.cpu(), result, strict=True):
        _, which, counts = row.unique(return_inverse=True, return_counts=True)
        out.copy_((counts.cumsum(0) - (counts - 1) / 2)[which])
    return result
