"""Figure 7: what changes when a gray square covers a part of the image.

The square slides over the image. Where it covers what matters, the probability of the true class
falls, the most probable class changes, and so does the activity of a channel that responds to that
part. The value of a map belongs to the center of the square. The paper states neither size nor
stride of the square.

    >>> import torch
    >>> from zfnet.analysis import occlusion_sweep
    >>> from zfnet.models import ZFNET, ConvNet
    >>> net, images = ConvNet(ZFNET, num_classes=10, image_size=64), torch.randn(1, 3, 64, 64)
    >>> sweep = occlusion_sweep(net, images, target=3, size=16, stride=16, layer="conv5")
    >>> sweep.probability.shape, sweep.best.shape, sweep.activity.shape
    (torch.Size([1, 4, 4]), torch.Size([1, 4, 4]), torch.Size([1, 4, 4, 256]))
    >>> sweep.over_pixels(sweep.probability).shape  # for an overlay
    torch.Size([1, 64, 64])

One pass computes everything. The prefix of the network is computed incrementally (incremental.py)
and its head for all positions at once; `exhaustive=True` runs every occluded image through the
whole network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zfnet.analysis.occlusion.incremental import Incremental
from zfnet.analysis.occlusion.prefix import Prefix, find_prefix
from zfnet.errors import InputError
from zfnet.models.introspection import capture_outputs, check_called_once, eval_mode, find_modules
from zfnet.models.outputs import ClassOutputs, class_outputs
from zfnet.models.scores import Score, as_score
from zfnet.models.unit_axes import UnitAxes
from zfnet.progress import progress_bar
from zfnet.versions.python_names import renamed

AT_ONCE = 64  # images that run through a whole network together
HEADS = 1024  # features that run through a head together


@renamed(centres="centers")
@dataclass(frozen=True)
class Sweep:
    """B images with a square at ny x nx positions.

    Attributes:
        logits: (B, ny, nx, classes); for a model that returns probabilities, their logarithms.
            (B, ny, nx, 1) for a score that is one number; (B, ny, nx, 0) if only the activity was
            recorded.
        clean_logits: (B, classes), (B, 1) or (B, 0), without a square.
        target: int64 (B,), the class of each image; None for a score that is one number.
        activity: (B, ny, nx, channels), the layer's feature maps summed over positions; None
            without a layer.
        clean_activity: (B, channels), without a square.
        tops: int64 (ny,), the first row of the square.
        lefts: int64 (nx,), the first column of the square.
        size: of the square, in pixels.
        image_size: (H, W) of the images.
    """

    logits: Tensor
    clean_logits: Tensor
    target: Tensor | None
    activity: Tensor | None
    clean_activity: Tensor | None
    tops: Tensor
    lefts: Tensor
    size: int
    image_size: tuple[int, int]

    @property
    def score(self) -> Tensor:
        """What the square changes, (B, ny, nx): P(target), or the score if it is one number."""
        return self._score(self.logits)

    @property
    def clean_score(self) -> Tensor:
        """The same without a square, (B,)."""
        return self._score(self.clean_logits)

    @property
    def probability(self) -> Tensor:
        """P(target), (B, ny, nx).

        Raises:
            InputError: the score is one number.
        """
        return self._score(self._logits_of_classes())

    @property
    def best(self) -> Tensor:
        """The most probable class, (B, ny, nx).

        Raises:
            InputError: the score is one number.
        """
        return self._logits_of_classes().argmax(3)

    def _logits_of_classes(self) -> Tensor:
        if self.target is None:
            raise InputError("the score is one number for an image: there are no classes")
        return self.logits

    def _score(self, logits: Tensor) -> Tensor:
        """Reads the score from logits (B, ..., classes): (B, ...)."""
        if not logits.shape[-1]:
            raise InputError("only the activity was recorded: use activity_only=False")
        if self.target is None:
            return logits[..., 0]
        target = self.target.view(-1, *[1] * (logits.dim() - 1))
        return logits.softmax(-1).gather(-1, target.expand(*logits.shape[:-1], 1))[..., 0]

    @property
    def strongest(self) -> Tensor:
        """The channel of the layer with the largest summed activity on each clean image, (B,)."""
        if self.clean_activity is None:
            raise InputError("no layer was recorded: use occlusion_sweep(..., layer=NAME)")
        return self.clean_activity.argmax(1)

    @property
    def centers(self) -> tuple[Tensor, Tensor]:
        """Rows (ny,) and columns (nx,) of the squares' centers, in pixels."""
        half = (self.size - 1) / 2
        return self.tops + half, self.lefts + half

    def over_pixels(self, maps: Tensor) -> Tensor:
        """Interpolates (B, ny, nx) to (B, H, W): linearly between the centers, constant beyond."""
        for axis, centers in ((1, self.centers[0]), (2, self.centers[1])):
            pixels = torch.arange(self.image_size[axis - 1], dtype=centers.dtype)
            place = torch.searchsorted(centers, pixels).clamp(1, max(len(centers) - 1, 1))
            last = min(1, len(centers) - 1)
            low, high = centers[place - 1], centers[place.clamp(max=len(centers) - 1)]
            weight = ((pixels - low) / (high - low).clamp(min=1)).clamp(0, 1) * last
            shape = [1, -1, 1] if axis == 1 else [1, 1, -1]
            weight = weight.to(maps.dtype).to(maps.device).view(shape)
            place = place.to(maps.device)
            first = maps.index_select(axis, place - 1)
            maps = first + weight * (
                maps.index_select(axis, place.clamp(max=maps.shape[axis] - 1)) - first
            )
        return maps


@renamed(plainly="exhaustive")
def occlusion_sweep(
    model: nn.Module,
    images: Tensor,
    target: int | Sequence[int] | Tensor | None = None,
    size: int = 50,
    stride: int = 8,
    fill: float | Sequence[float] = 0.0,
    layer: str | None = None,
    exhaustive: bool | None = None,
    progress: bool = False,
    score: Score | Tensor | str | int | None = None,
    activity_only: bool = False,
) -> Sweep:
    """Slides a square over images and records what the model makes of the rest.

    Args:
        model: a classifier, or any network with a `score`.
        images: (B, C, H, W).
        target: class of all images, or of each; None for the class that `score` names, or the most
            probable class of each clean image.
        size: of the square, in pixels.
        stride: distance between positions, in pixels. The last squares are cut off at the border.
        fill: value of the square, one or one for each channel. 0 is mean gray in prepared inputs.
        layer: a layer whose activity is recorded too.
        exhaustive: True runs every occluded image through the whole network; False computes only
            what the square changes, if the model allows it; None chooses the faster way.
        progress: whether to show a progress bar.
        score: what is measured of the outputs of a network that is not a classifier: a function of
            them that returns (B,) numbers or (B, classes) logits, the number of an output, a mask
            of pixels whose class maps are averaged, or a class at a pixel, "3@40,60".
        activity_only: whether to record only the activity of `layer`, which any network has.

    Raises:
        InputError: an argument is out of range, the model is not a classifier and `score` is
            missing, or a value is not finite.
    """
    _check(images, size, stride)
    read, named = as_score(score, (images.shape[2], images.shape[3]))
    target = named if target is None else target
    modules = find_modules(model, [layer] if layer else [])
    color = torch.as_tensor(fill, dtype=images.dtype, device=images.device)
    if color.numel() not in (1, images.shape[1]):
        raise InputError(
            f"fill={fill}: give one value, or one for each of {images.shape[1]} channels"
        )
    color = color.expand(images.shape[1])
    tops, lefts = (
        torch.arange(0, min(side - size + stride, side), stride) for side in images.shape[2:]
    )
    with eval_mode(model), torch.no_grad():
        axes = check_called_once(model, modules, images[:1].clone(), maps=True)
        outputs = None if activity_only else class_outputs(model, images, score=read)
        prefix = None
        if outputs and not exhaustive:
            prefix = find_prefix(model, images[:1], list(modules), outputs.logits)
            # The chain has its channels on axis 1. The user may have given other axes.
            if any(axes[layer].order not in ("BCHW", "BC") for layer in prefix.after):
                prefix = None
        if prefix is not None and not _sweepable(
            prefix, images[:1], tops.tolist(), lefts.tolist(), exhaustive
        ):
            prefix = None
        rows = []
        with progress_bar(progress) as bar:
            task = bar.add_task("", total=len(images))
            for image in images.split(1):
                one = _Reader(model, outputs, modules, axes, prefix)
                clean = one.logits(image)
                clean_activity = one.take_sums()
                logits = one.sweep(image, tops.tolist(), lefts.tolist(), size, color)
                rows.append((clean, clean_activity, logits, one.take_sums()))
                bar.update(task, advance=1)
    columns = [list(column) for column in zip(*rows, strict=True)]
    clean_logits, grid = torch.cat(columns[0]), (len(tops), len(lefts))
    return Sweep(
        torch.stack(columns[2]).unflatten(1, grid),
        clean_logits,
        None if outputs is None or outputs.scalar else _targets(target, clean_logits),
        torch.stack(columns[3]).unflatten(1, grid) if layer else None,
        torch.cat(columns[1]) if layer else None,
        tops,
        lefts,
        size,
        (images.shape[2], images.shape[3]),
    )


def _sweepable(
    prefix: Prefix, image: Tensor, tops: list[int], lefts: list[int], exhaustive: bool | None
) -> bool:
    """Whether the prefix can be computed incrementally, and the head on its features.

    If `exhaustive` is None, it must be faster too.
    """
    if not Incremental.supports(prefix.steps):
        return False
    one = Incremental(prefix.steps, image, {})
    if exhaustive is None and not one.is_faster(tops, lefts):
        return False
    return prefix.reproduces(one.features, prefix.read(prefix.model(image.clone())))


class _Reader:
    """Computes logits of many images, while it sums the activity of a layer."""

    def __init__(
        self,
        model: nn.Module,
        outputs: ClassOutputs | None,
        modules: dict[str, nn.Module],
        axes: dict[str, UnitAxes],
        prefix: Prefix | None,
    ) -> None:
        self.model, self.outputs, self.prefix = model, outputs, prefix
        self.modules, self.axes = modules, axes
        self._sums: list[Tensor] = []

    def take_sums(self) -> Tensor:
        """Returns the sums of the layer's feature maps since the last call, (N, channels)."""
        sums, self._sums = torch.cat(self._sums) if self._sums else torch.empty(0), []
        if not sums.isfinite().all():
            raise InputError(
                f"layer {', '.join(self.modules)} is not finite: nothing can be measured on it"
            )
        return sums

    def logits(self, images: Tensor) -> Tensor:
        """Returns the logits (N, classes) of images (N, C, H, W)."""
        with capture_outputs(self.modules, self._read):
            outputs = self.model(images.clone())  # it may work in place
        if self.outputs is None:
            return images.new_zeros(len(images), 0)
        return self.outputs.logits(outputs, len(images))

    def sweep(
        self, image: Tensor, tops: list[int], lefts: list[int], size: int, fill: Tensor
    ) -> Tensor:
        """Returns the logits (ny * nx, classes) of the occluded image."""
        if self.prefix is None:
            covered = _occlude(image, tops, lefts, size, fill)
            return torch.cat([self.logits(torch.cat(part)) for part in _parts(covered)])
        features, sums = Incremental(self.prefix.steps, image, self.prefix.after)(
            tops, lefts, size, fill
        )
        self._sums += sums.values()
        above = {layer: module for layer, module in self.modules.items() if layer not in sums}
        assert self.outputs is not None
        at_once = HEADS if self.outputs.score is None else AT_ONCE  # class maps are large
        with capture_outputs(above, self._read):
            parts = [
                self.outputs.logits(self.prefix.head(part), len(part))
                for part in features.split(at_once)
            ]
        return torch.cat(parts)

    def _read(self, layer: str, output: Tensor) -> None:
        self._sums.append(self.axes[layer].maps(output).flatten(2).sum(2))


def _occlude(
    image: Tensor, tops: list[int], lefts: list[int], size: int, fill: Tensor
) -> list[Tensor]:
    covered = []
    for top in tops:
        for left in lefts:
            one = image.clone()
            one[:, :, top : top + size, left : left + size] = fill.view(1, -1, 1, 1)
            covered.append(one)
    return covered


def _parts(covered: list[Tensor]) -> list[list[Tensor]]:
    return [covered[i : i + AT_ONCE] for i in range(0, len(covered), AT_ONCE)]


def _check(images: Tensor, size: int, stride: int) -> None:
    if images.dim() != 4 or not images.is_floating_point() or not len(images):
        raise InputError(
            f"images are {images.dtype} of shape {tuple(images.shape)}: floating-point (B, C, H, "
            "W) are needed"
        )
    if not images.isfinite().all():
        raise InputError("the images contain values that are not finite")
    if not 1 <= size <= min(images.shape[2:]):
        raise InputError(
            f"size={size}: the occluder must be between 1 and {min(images.shape[2:])} pixels, the "
            "image's side"
        )
    if stride < 1:
        raise InputError(f"stride={stride}: must be at least 1 pixel")


def _targets(target: int | Sequence[int] | Tensor | None, logits: Tensor) -> Tensor:
    if target is None:
        return logits.argmax(1)
    targets = torch.as_tensor(target, device=logits.device)
    if targets.is_floating_point() or targets.dim() > 1 or targets.numel() not in (1, len(logits)):
        raise InputError(
            f"target={targets.tolist()}: give one class, or one for each of {len(logits)} images, "
            "by number"
        )
    targets = targets.long().expand(len(logits))
    if not ((targets >= 0) & (targets < logits.shape[1])).all():
        raise InputError(
            f"target={targets.tolist()}: the network has classes 0 to {logits.shape[1] - 1}"
        )
    return targets
