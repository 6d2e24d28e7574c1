"""What a projection can and cannot claim: sanity checks by randomisation.

Adebayo et al., "Sanity Checks for Saliency Maps" (2018): a picture that stays when the net's weights are thrown
away says nothing about what the net has learned. Four pictures of one unit (map, place) are compared with its own:

    cascade       weights shuffled within each tensor (same values, no structure), layer after layer from the
                  unit's own down to conv1. Layers above it are not in the picture: shuffling them changes no bit
    other map     another map's unit at the same place: what is common is the image's (switches), not the unit's
    other image   the unit with another image's switches: what is common is the unit's (filters)
    both          another map in another image: chance, for only the place and the method are common

A picture's scale is the activation's, and a shuffled net need not excite the unit: all start with R = 1 at the unit
(seed="forced"), and similarities do not see scale: the cosine of the signed pictures, whose chance is about 0, and
Spearman's rank correlation of their magnitudes |R| = sqrt(Σ over colours R²) per pixel, whose chance is far from it:
all projections fade towards the rim of what the unit sees.

    pictures = sanity_checks(model, images, others, "conv5", units, maps)
    similarity(pictures["original"], pictures["conv4.conv"])
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from zfnet.deconv import Deconvnet, Unit
from zfnet.errors import InputError
from zfnet.models.introspection import capture_outputs, eval_mode, find_modules


def force_activation(model: nn.Module, images: Tensor, relu: str = "deconv") -> Deconvnet:
    """A deconvnet that starts with 1 at each unit, whatever its activation; InputError for images with NaN, which
    would not show in its pictures."""
    if bad := (~images.isfinite()).flatten(1).any(1).nonzero().flatten().tolist():
        raise InputError(f"image {bad[0]} of {len(images)} holds a value that is no finite number")
    return Deconvnet(model, relu=relu, seed="forced")


def sanity_checks(
    model: nn.Module,
    images: Tensor,
    others: Tensor,
    layer: str,
    units: Sequence[Unit],
    maps: Sequence[int],
    seed: int = 0,
) -> dict[str, Tensor]:
    """Pictures (N, 3, h, w), cut to what the units see: "original", one by each shuffled layer's name, "other map"
    (`maps`, one for each unit), "other image" (`others`, as many as `images`) and "both"."""
    deconv = force_activation(model, images)
    elsewhere = [replace(unit, channel=channel) for unit, channel in zip(units, maps, strict=True)]
    result = {"original": deconv.patches(images, layer, units).pictures}
    for name, shuffled in cascade(model, layer, images, seed):
        result[name] = force_activation(shuffled, images).patches(images, layer, units).pictures
    result["other map"] = deconv.patches(images, layer, elsewhere).pictures
    deconv = force_activation(model, others)
    result["other image"] = deconv.patches(others, layer, units).pictures
    result["both"] = deconv.patches(others, layer, elsewhere).pictures
    for name, pictures in result.items():
        if not pictures.isfinite().all():
            raise InputError(
                f"the pictures of layer {layer!r} ({name}) are not finite: nothing can be compared"
            )
    return {name: pictures.cpu() for name, pictures in result.items()}


def below(model: nn.Module, layer: str, image: Tensor) -> list[str]:
    """The modules with weights of their own that run before `layer` does, itself included: the last one first."""
    target = find_modules(model, [layer])[layer]
    own = {
        name: each for name, each in model.named_modules() if next(each.parameters(False), None) is not None
    }
    order: list[str] = []

    def read(name: str, _: Tensor) -> bool:
        if name in own and name not in order:
            order.append(name)
        return name == ""

    with torch.no_grad(), eval_mode(model), capture_outputs({**own, "": target}, read, needed=("",)):
        model(image[:1])
    return order[::-1]


def cascade(model: nn.Module, layer: str, image: Tensor, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Copies of the model with one layer more shuffled each time, from `layer` down; the model is left alone."""
    copy, generator = deepcopy(model), torch.Generator().manual_seed(seed)
    modules = dict(copy.named_modules())
    for name in below(model, layer, image):
        with torch.no_grad():
            for weights in modules[name].parameters(False):
                order = torch.randperm(weights.numel(), generator=generator).to(weights.device)
                weights.copy_(weights.flatten()[order].view_as(weights))
        yield name, copy


def magnitude(pictures: Tensor) -> Tensor:
    """|R| per pixel (N, H, W) of pictures (N, 3, H, W)."""
    return pictures.square().sum(1).sqrt()


def similarity(pictures: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine of signed pictures (N, 3, H, W), and Spearman's rank correlation of magnitudes: (N,) each.

    NaN where one of a pair is 0 everywhere.
    """
    if pictures.shape != others.shape:
        raise InputError(f"pictures {tuple(pictures.shape)} and {tuple(others.shape)} are not alike in shape")
    ranks = (_centred(_ranks(magnitude(each).flatten(1))) for each in (pictures, others))
    return _cosine(pictures.flatten(1), others.flatten(1)), _cosine(*ranks)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    a, b = a.double(), b.double()
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(1, keepdim=True)


def _ranks(values: Tensor) -> Tensor:
    """Ranks within each row (N, P); equal values share the mean of theirs."""
    result = torch.empty(values.shape, dtype=torch.float64)
    for row, out in zip(values.cpu(), result, strict=True):
        _, which, counts = row.unique(return_inverse=True, return_counts=True)
        out.copy_((counts.cumsum(0) - (counts - 1) / 2)[which])
    return result
