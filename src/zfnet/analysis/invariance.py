"""Figure 5: how features and P(true class) change when the image is transformed.

An image x is translated vertically, scaled, or rotated about its center by an amount t, with
bilinear interpolation and `fill` beyond the border (0 in prepared inputs is mean gray). For each
layer l and image,

    distance     d_l(t) = |f_l(x_t) - f_l(x)|    Euclidean, over all units of the layer (the figure)
    normalized   d_l(t) / |f_l(x)|               makes layers of different size and scale comparable

If t is the identity (0 pixels, factor 1, 0 degrees), the distance is exactly 0. The paper (section
4.2) finds that small transformations have a dramatic effect in the first layer and a lesser one at
the top.

    >>> import torch
    >>> from zfnet.analysis import invariance
    >>> from zfnet.models import ZFNET, ConvNet
    >>> net, images = ConvNet(ZFNET, num_classes=10, image_size=64), torch.randn(2, 3, 64, 64)
    >>> found = invariance(
    ...     net, images, ["conv1", "fc7"], torch.tensor([3, 5]),
    ...     shifts=[-8, 0, 8], scales=[1, 1.8], angles=[0, 90],
    ... )
    >>> found["translation"].distances.shape  # (layers, amounts, images)
    torch.Size([2, 3, 2])
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zfnet.errors import InputError
from zfnet.models.introspection import capture_outputs, check_called_once, eval_mode, find_modules
from zfnet.models.outputs import ClassOutputs, class_outputs
from zfnet.models.scores import Score, as_score
from zfnet.versions.python_names import renamed

KINDS = ("translation", "scale", "rotation")
IDENTITY = {"translation": 0.0, "scale": 1.0, "rotation": 0.0}
AT_ONCE = 40  # images in a forward pass, including the original


@renamed(normalised="normalized", probabilities="scores")
@dataclass(frozen=True)
class Response:
    """The response of a model to one kind of transformation.

    Attributes:
        amounts: pixels downwards, factors, or degrees counterclockwise.
        distances: (layers, amounts, images).
        norms: (layers, images), of the features of the original images.
        scores: (amounts, images), P(target), or the score if it is one number for an image.
        dead: bool (layers,): the features are 0, or do not change under any transformation.
    """

    amounts: list[float]
    distances: Tensor
    norms: Tensor
    scores: Tensor
    dead: Tensor

    @property
    def normalized(self) -> Tensor:
        """Distances divided by norms, (layers, amounts, images); NaN for a norm of 0 or a dead
        layer."""
        norms = self.norms[:, None]
        alive = (norms > 0) & ~self.dead[:, None, None]
        return torch.where(alive, self.distances / norms, torch.nan)


@torch.inference_mode()
def invariance(
    model: nn.Module,
    images: Tensor,
    layers: Sequence[str],
    targets: Tensor | None,
    shifts: Sequence[float],
    scales: Sequence[float],
    angles: Sequence[float],
    fill: float = 0.0,
    score: Score | Tensor | str | int | None = None,
) -> dict[str, Response]:
    """Measures the response to translation, scaling and rotation.

    Args:
        model: a classifier, or any network with a `score`.
        images: (N, C, H, W), on the model's device.
        layers: names of layers.
        targets: int64 (N,), the class of each image. None for a score that is one number or names
            a class.
        shifts: translations downwards, in pixels.
        scales: factors.
        angles: rotations counterclockwise, in degrees.
        fill: value beyond the border.
        score: what is measured of the outputs, see `occlusion_sweep`.

    Returns:
        "translation", "scale" and "rotation" → `Response`, on the CPU.

    Raises:
        InputError: an argument is out of range, or a layer is unknown or not finite.
    """
    read, named = as_score(score, (images.shape[2], images.shape[3]))
    if targets is None and named is not None:
        targets = torch.full((len(images),), named)
    _check(images, layers, targets, [*shifts, *scales, *angles])
    if any(scale <= 0 for scale in scales):
        raise InputError(f"scales must be above 0, not {min(scales)}")
    modules = find_modules(model, layers)
    with eval_mode(model):
        check_called_once(model, modules, images[:1])
        outputs = class_outputs(model, images, score=read)
        if targets is None and not outputs.scalar:
            raise InputError(f"{len(images)} images need as many targets, int64")
        answers = {
            kind: _response(
                model,
                outputs,
                modules,
                images,
                None if outputs.scalar or targets is None else targets.tolist(),
                kind,
                list(map(float, amounts)),
                fill,
            )
            for kind, amounts in zip(KINDS, (shifts, scales, angles), strict=True)
        }
    return _with_dead(answers)


def concatenate(parts: Sequence[dict[str, Response]]) -> dict[str, Response]:
    """Joins the responses to the same transformations of different images.

    Args:
        parts: what `invariance` returned for some images each.
    """
    joined = {}
    for kind in KINDS:
        each = [part[kind] for part in parts]
        joined[kind] = replace(
            each[0],
            distances=torch.cat([one.distances for one in each], 2),
            norms=torch.cat([one.norms for one in each], 1),
            scores=torch.cat([one.scores for one in each], 1),
        )
    return _with_dead(joined)


def _with_dead(answers: dict[str, Response]) -> dict[str, Response]:
    """Finds the layers that are 0 for all images, or that no transformation changes."""
    moved = [
        each
        for kind, each in answers.items()
        if not all(_is_identity(kind, a) for a in each.amounts)
    ]
    still = [(each.distances == 0).all(2).all(1) for each in moved]
    zero = [(each.norms == 0).all(1) for each in answers.values()]
    dead = (torch.stack(still).all(0) if still else zero[0]) | torch.stack(zero).all(0)
    return {kind: replace(each, dead=dead) for kind, each in answers.items()}


def transform(images: Tensor, kind: str, amounts: Sequence[float], fill: float = 0.0) -> Tensor:
    """Transforms each image by its own amount, with bilinear interpolation.

    The identity returns exactly the same pixels.

    Args:
        images: (N, C, H, W).
        kind: "translation", "scale" or "rotation".
        amounts: N amounts: pixels downwards, factors, or degrees counterclockwise.
        fill: value beyond the border.
    """
    if not len(images):
        return images
    inverse = _inverse(kind, torch.tensor(amounts, dtype=torch.float64), *images.shape[-2:]).to(
        images
    )
    grid = F.affine_grid(inverse, list(images.shape), align_corners=False)
    moved = F.grid_sample(images - fill, grid, align_corners=False) + fill
    same = torch.tensor([_is_identity(kind, amount) for amount in amounts], device=images.device)
    return torch.where(same[:, None, None, None], images, moved)


def _inverse(kind: str, amounts: Tensor, height: int, width: int) -> Tensor:
    """Returns the matrices (N, 2, 3) from the transformed to the original image, in [-1, 1]."""
    inverse = torch.eye(2, 3, dtype=torch.float64).repeat(len(amounts), 1, 1)
    if kind == "translation":
        inverse[:, 1, 2] = -2 * amounts / height
    elif kind == "scale":
        inverse[:, :2, :2] /= amounts[:, None, None]
    else:
        sine, cosine = amounts.deg2rad().sin(), amounts.deg2rad().cos()
        inverse[:, 0, 0] = inverse[:, 1, 1] = cosine
        inverse[:, 0, 1], inverse[:, 1, 0] = -sine * height / width, sine * width / height
    return inverse


def _response(
    model: nn.Module,
    known: ClassOutputs,
    modules: dict[str, nn.Module],
    images: Tensor,
    targets: list[int] | None,
    kind: str,
    amounts: list[float],
    fill: float,
) -> Response:
    order = {layer: row for row, layer in enumerate(modules)}
    distances = torch.zeros(len(order), len(amounts), len(images))
    norms, scores = (
        torch.zeros(len(order), len(images)),
        torch.zeros(len(amounts), len(images)),
    )
    same = torch.tensor([_is_identity(kind, amount) for amount in amounts], dtype=torch.bool)
    for n, image in enumerate(images):
        for steps in (~same).nonzero()[:, 0].split(AT_ONCE - 1):

            def read(layer: str, output: Tensor, n: int = n, steps: Tensor = steps) -> None:
                # Of shape (1 + steps, units); the original is the first.
                features = output.flatten(1).float()
                if not features.isfinite().all():
                    raise InputError(
                        f"layer {layer!r} is not finite: nothing can be measured on it"
                    )
                distances[order[layer], steps, n] = (features[1:] - features[:1]).norm(dim=1).cpu()
                norms[order[layer], n] = features[0].norm().cpu()

            moved = transform(
                image.expand(len(steps), -1, -1, -1), kind, [amounts[i] for i in steps], fill
            )
            with capture_outputs(modules, read):  # while they pass: what follows may work in place
                outputs = known.logits(model(torch.cat([image[None], moved])), 1 + len(moved))
            found = outputs[:, 0] if targets is None else _probability(outputs, targets[n])
            scores[same, n], scores[steps, n] = found[0].cpu(), found[1:].cpu()
    return Response(amounts, distances, norms, scores, (norms == 0).all(1))


def _probability(logits: Tensor, target: int) -> Tensor:
    """Returns P(target), (B,), of logits (B, classes)."""
    if not 0 <= target < logits.shape[1]:
        raise InputError(f"target {target}: the model has classes 0 to {logits.shape[1] - 1}")
    return F.softmax(logits.float(), dim=1)[:, target]


def _is_identity(kind: str, amount: float) -> bool:
    return (amount % 360 if kind == "rotation" else amount) == IDENTITY[kind]


def _check(
    images: Tensor, layers: Sequence[str], targets: Tensor | None, amounts: Sequence[float]
) -> None:
    if images.dim() != 4 or not len(images):
        raise InputError(f"images are (N, C, H, W), at least one, not {tuple(images.shape)}")
    if not images.isfinite().all():
        raise InputError("the images hold NaN or infinite numbers: nothing can be measured on them")
    if targets is not None and (targets.shape != images.shape[:1] or targets.dtype != torch.int64):
        raise InputError(
            f"{len(images)} images need as many targets, int64, not {targets.dtype} "
            f"{tuple(targets.shape)}"
        )
    if not layers:
        raise InputError("no layers to measure at: name one or more")
    if not all(map(math.isfinite, amounts)):
        raise InputError("shifts, scales and angles must be finite numbers")
