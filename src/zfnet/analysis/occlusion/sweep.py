"""Figure 7: what changes when a part of the picture is covered.

A grey square slides over the picture. Where it covers what matters, the probability of the true class falls, the most
probable class changes, and so does the activity of a map whose pictures show that part. The value of a map stands at
the square's centre.

    sweep = occlusion_sweep(model, images, target=labels, size=50, stride=8, layer="conv5")
    sweep.probability, sweep.best           # (B, ny, nx) of the target, and the most probable class
    sweep.activity                          # (B, ny, nx, maps): each map of the layer, summed over its positions
    sweep.over_pixels(sweep.probability)    # (B, H, W), for an overlay

One pass gives all of it. The trunk of the net is swept incrementally (incremental.py), its head on all positions
at once; `plainly=True` runs every occluded picture through the whole net.
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
from zfnet.progress import progress_bar

AT_ONCE = 64  # pictures that go through a whole net together, or features through a head
HEADS = 1024


@dataclass(frozen=True)
class Sweep:
    """B pictures, covered at ny x nx places."""

    logits: Tensor  # (B, ny, nx, classes); of a net that gives probabilities their logarithm
    clean_logits: Tensor  # (B, classes)
    target: Tensor  # (B,)
    activity: Tensor | None  # (B, ny, nx, maps), the layer's maps summed over positions
    clean_activity: Tensor | None  # (B, maps)
    tops: Tensor  # (ny,) first row of the square
    lefts: Tensor  # (nx,)
    size: int
    image_size: tuple[int, int]

    @property
    def probability(self) -> Tensor:
        """P(target), (B, ny, nx)."""
        which = self.target.view(-1, 1, 1, 1).expand(*self.logits.shape[:3], 1)
        return self.logits.softmax(3).gather(3, which)[..., 0]

    @property
    def best(self) -> Tensor:
        """The most probable class, (B, ny, nx)."""
        return self.logits.argmax(3)

    @property
    def strongest(self) -> Tensor:
        """The layer's map with the largest summed activity on each clean picture, (B,)."""
        if self.clean_activity is None:
            raise InputError("no layer was read: occlusion_sweep(..., layer=NAME)")
        return self.clean_activity.argmax(1)

    @property
    def centres(self) -> tuple[Tensor, Tensor]:
        """Rows and columns of the squares' centres, in pixels."""
        half = (self.size - 1) / 2
        return self.tops + half, self.lefts + half

    def over_pixels(self, maps: Tensor) -> Tensor:
        """Maps (B, ny, nx) over places → (B, H, W) over pixels: linear between centres, constant beyond them."""
        for axis, centres in ((1, self.centres[0]), (2, self.centres[1])):
            pixels = torch.arange(self.image_size[axis - 1], dtype=centres.dtype)
            place = torch.searchsorted(centres, pixels).clamp(1, max(len(centres) - 1, 1))
            last = min(1, len(centres) - 1)
            low, high = centres[place - 1], centres[place.clamp(max=len(centres) - 1)]
            weight = ((pixels - low) / (high - low).clamp(min=1)).clamp(0, 1) * last
            shape = [1, -1, 1] if axis == 1 else [1, 1, -1]
            weight = weight.to(maps.dtype).to(maps.device).view(shape)
            place = place.to(maps.device)
            first = maps.index_select(axis, place - 1)
            maps = first + weight * (maps.index_select(axis, place.clamp(max=maps.shape[axis] - 1)) - first)
        return maps


def occlusion_sweep(
    model: nn.Module,
    images: Tensor,
    target: int | Sequence[int] | Tensor | None = None,
    size: int = 50,
    stride: int = 8,
    fill: float | Sequence[float] = 0.0,
    layer: str | None = None,
    plainly: bool | None = None,
    progress: bool = False,
) -> Sweep:
    """Covers images (B, 3, H, W) by squares of `size` at every `stride` pixels, the last ones cut at the border.

    `fill` is in the units of the input: 0 is the mean, grey. `target` is the class of all images, of each, or None
    for the class that is most probable on the clean image. `plainly` is whether every covered image runs
    through the whole net. False computes only what the square touches, where the model allows it. None is for
    whichever is faster: on small nets and images whole images are. InputError for what cannot be swept.
    """
    _check(images, size, stride)
    modules = find_modules(model, [layer] if layer else [])
    colour = torch.as_tensor(fill, dtype=images.dtype, device=images.device)
    if colour.numel() not in (1, images.shape[1]):
        raise InputError(f"fill={fill}: give one value, or one for each of {images.shape[1]} channels")
    colour = colour.expand(images.shape[1])
    tops, lefts = (torch.arange(0, min(side - size + stride, side), stride) for side in images.shape[2:])
    with eval_mode(model), torch.no_grad():
        check_called_once(model, modules, images[:1].clone(), maps=True)
        outputs = class_outputs(model, images)
        trunk = None if plainly else find_prefix(model, images[:1], list(modules))
        if trunk is not None and not _sweepable(trunk, images[:1], tops.tolist(), lefts.tolist(), plainly):
            trunk = None
        rows = []
        with progress_bar(progress) as bar:
            task = bar.add_task("", total=len(images))
            for image in images.split(1):
                one = _Reader(model, outputs, modules, trunk)
                clean = one.plain(image)
                clean_activity = one.taken()
                logits = one.swept(image, tops.tolist(), lefts.tolist(), size, colour)
                rows.append((clean, clean_activity, logits, one.taken()))
                bar.update(task, advance=1)
    columns = [list(column) for column in zip(*rows, strict=True)]
    clean_logits, grid = torch.cat(columns[0]), (len(tops), len(lefts))
    return Sweep(
        torch.stack(columns[2]).unflatten(1, grid),
        clean_logits,
        _targets(target, clean_logits),
        torch.stack(columns[3]).unflatten(1, grid) if layer else None,
        torch.cat(columns[1]) if layer else None,
        tops,
        lefts,
        size,
        (images.shape[2], images.shape[3]),
    )


def _sweepable(trunk: Prefix, image: Tensor, tops: list[int], lefts: list[int], plainly: bool | None) -> bool:
    """Whether the trunk can be swept incrementally, faster so where `plainly` is None, and the rest of the model be
    run on what comes out of it."""
    if not Incremental.takes(trunk.steps):
        return False
    one = Incremental(trunk.steps, image, {})
    if plainly is None and not one.is_faster(tops, lefts):
        return False
    return trunk.holds(one.features, trunk.model(image.clone()))


class _Reader:
    """Logits of many pictures, while the activity of a layer is summed up."""

    def __init__(
        self, model: nn.Module, outputs: ClassOutputs, modules: dict[str, nn.Module], trunk: Prefix | None
    ) -> None:
        self.model, self.outputs, self.modules, self.trunk = model, outputs, modules, trunk
        self._sums: list[Tensor] = []

    def taken(self) -> Tensor:
        sums, self._sums = torch.cat(self._sums) if self._sums else torch.empty(0), []
        if not sums.isfinite().all():
            raise InputError(f"layer {', '.join(self.modules)} is not finite: nothing can be measured on it")
        return sums

    def plain(self, images: Tensor) -> Tensor:
        with capture_outputs(self.modules, self._read):
            outputs = self.model(images.clone())  # it may work in place
        return self.outputs.logits(outputs, len(images))

    def swept(self, image: Tensor, tops: list[int], lefts: list[int], size: int, fill: Tensor) -> Tensor:
        """Logits (ny * nx, classes) of the covered picture."""
        if self.trunk is None:
            covered = _covered(image, tops, lefts, size, fill)
            return torch.cat([self.plain(torch.cat(part)) for part in _parts(covered)])
        features, sums = Incremental(self.trunk.steps, image, self.trunk.after)(tops, lefts, size, fill)
        self._sums += sums.values()
        above = {layer: module for layer, module in self.modules.items() if layer not in sums}
        with capture_outputs(above, self._read):
            parts = [self.outputs.logits(self.trunk.head(part), len(part)) for part in features.split(HEADS)]
        return torch.cat(parts)

    def _read(self, _: str, maps: Tensor) -> None:
        self._sums.append(maps.flatten(2).sum(2) if maps.dim() > 2 else maps.clone())


def _covered(image: Tensor, tops: list[int], lefts: list[int], size: int, fill: Tensor) -> list[Tensor]:
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
            f"images are {images.dtype} of shape {tuple(images.shape)}: floating-point (B, 3, H, W) are needed"
        )
    if not images.isfinite().all():
        raise InputError("the images hold values that are no numbers")
    if not 1 <= size <= min(images.shape[2:]):
        raise InputError(
            f"size={size}: the occluder must be between 1 and {min(images.shape[2:])} pixels, the image's side"
        )
    if stride < 1:
        raise InputError(f"stride={stride}: must be at least 1 pixel")


def _targets(target: int | Sequence[int] | Tensor | None, logits: Tensor) -> Tensor:
    if target is None:
        return logits.argmax(1)
    targets = torch.as_tensor(target, device=logits.device)
    if targets.is_floating_point() or targets.dim() > 1 or targets.numel() not in (1, len(logits)):
        raise InputError(
            f"target={targets.tolist()}: give one class, or one for each of {len(logits)} images, by number"
        )
    targets = targets.long().expand(len(logits))
    if not ((targets >= 0) & (targets < logits.shape[1])).all():
        raise InputError(f"target={targets.tolist()}: the net has classes 0 to {logits.shape[1] - 1}")
    return targets
