"""The deconvnet (section 2.1): what in the pixels excites a unit, for any convnet.

    deconv = Deconvnet(model)
    pictures = deconv.project(images, "features.6", [Unit(image=0, channel=12, y=6, x=7)])    # (1, 3, H, W)

A unit of a layer keeps its activation a (a ≤ 0 projects to 0) and everything else there is 0. From there down
to the pixels: unpool to the switches, rectify, filter with the transposed weights (rules.py). The picture is
signed and in the units of the model's input.

Two ways to the same picture. Where the net is a chain of convolutions, rectifiers, poolings and
normalisations, only the window that each unit sees is computed, many units at once (windows.py). Any other
net runs once under a TorchFunctionMode that swaps the rules in (swapping.py), and autograd goes back.
The model is used in eval mode and left as it was. It may be changed between two calls: how a layer is computed
is traced again, with one image, unless the net consists of torch's, torchvision's, timm's or our own modules
and none of them was exchanged or set otherwise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from zfnet.deconv.rules import Pair, Rules
from zfnet.deconv.swapping import DeconvMode
from zfnet.deconv.tracing import Plan, plan_of, traced_forward
from zfnet.deconv.units import Unit, Window
from zfnet.deconv.windows import Chain, cut
from zfnet.errors import InputError
from zfnet.models.convnet import ConvNet
from zfnet.models.introspection import find_modules, input_channels, user_module
from zfnet.models.snapshot import snapshot

AT_ONCE = 16  # pictures that one pass of the general way holds
Size = int | Pair | tuple[int, int, int]  # of images: a side, (H, W) or (C, H, W)


@dataclass(frozen=True)
class Patches:
    """Projections of N units, cut to their receptive fields, beside the image at the same place.

    A field that is no smaller than the image is cut to the image.
    """

    pictures: Tensor  # (N, C, h, w), signed; 0 beyond the image's border
    images: Tensor  # (N, C, h, w)
    windows: list[Window]
    values: Tensor  # (N,) the units' activations, at least 0

    def of(self, images: Tensor, units: Sequence[Unit], fill: float = 0.0) -> Tensor:
        """The same places of other versions of the images (B, C, H, W), `fill` beyond the border: (N, C, h, w)."""
        which = torch.tensor([unit.image for unit in units], dtype=torch.long)
        return cut(images, which, *_placed(self.windows, self.pictures.shape), fill)


class Deconvnet:
    """Projects units of `model`, any convnet, back to its input; the options are those of `Rules`."""

    def __init__(
        self,
        model: nn.Module,
        relu: str = "deconv",
        unpool: str = "sum",
        normalisation: str = "identity",
        seed: str = "activation",
        others: str = "refuse",
    ) -> None:
        self.model = user_module(model)
        self.rules = Rules(relu, unpool, normalisation, seed, others)
        self._known: tuple[Any, Plan] | None = None  # the last plan, and what it holds for
        self._shape: tuple[int, int, int] | None = None  # of the last images
        if isinstance(self.model, ConvNet):
            self._shape = (input_channels(self.model) or 3, *(self.model.image_size,) * 2)

    def project(self, images: Tensor, layer: str, units: Sequence[Unit]) -> Tensor:
        """Units of `layer`, for images (B, C, H, W), as pictures (N, C, H, W)."""
        plan = self._planned(images, layer)
        _check(units, len(images), plan)
        if not (chain := self._chain(plan)):
            return self._general(images, layer, units)[0]
        pictures = images.new_zeros(len(units), *images.shape[1:])
        _, small = chain.project(images, units)
        for picture, part, unit in zip(pictures, small, units, strict=True):
            seen = plan.window(unit)
            top, left = max(seen.top, 0), max(seen.left, 0)
            bottom, right = min(seen.bottom, plan.size[0]), min(seen.right, plan.size[1])
            if top < bottom and left < right:  # a unit may see nothing but padding
                rows, columns = (
                    slice(top - seen.top, bottom - seen.top),
                    slice(left - seen.left, right - seen.left),
                )
                picture[:, top:bottom, left:right] = part[:, rows, columns]
        return pictures

    def project_channel(self, images: Tensor, layer: str, channel: int) -> Tensor:
        """One whole channel of `layer` for each image (B, C, H, W), projected at once: (B, C, H, W)."""
        plan = self._planned(images, layer)
        _check([Unit(0, channel)], len(images), plan)

        def seed(values: Tensor, _: slice) -> Tensor:
            kept = torch.zeros_like(values)
            kept[:, channel] = self.rules.seeded(values[:, channel])
            return kept

        return torch.cat([self._back(images[part], layer, seed, part) for part in _parts(len(images))])

    def patches(self, images: Tensor, layer: str, units: Sequence[Unit]) -> Patches:
        """The same pictures, cut to the window that each unit sees, and the image there."""
        plan = self._planned(images, layer)
        _check(units, len(images), plan)
        windows = [plan.patch(unit) for unit in units]
        if chain := self._chain(plan):
            values, pictures = chain.project(images, units)
        else:
            whole, values = self._general(images, layer, units)
            first = plan.patch(Unit(0, 0))
            shape = (first.bottom - first.top, first.right - first.left)
            pictures = cut(whole, torch.arange(len(units)), *_placed(windows, shape))
        patches = Patches(pictures, images, windows, values.clamp(min=0))
        return replace(patches, images=patches.of(images.detach(), units))

    def filters(self, layer: str, size: Size | None = None) -> Tensor | None:
        """The filters (maps, C, kh, kw) of a layer that convolves the pixels themselves.

        None for others: where anything but the identity stands between the pixels and the convolution, or where
        another convolution or a pooling follows. With groups, a map's filter is 0 in the channels that it does
        not see.
        """
        chain = self._planned(self._blank(size), layer).path.chain or []
        kinds = [step.kind for step in chain]
        if kinds[:1] != ["conv"] or "conv" in kinds[1:] or "pool" in kinds:
            return None
        weight, groups = chain[0].weight, chain[0].groups
        assert weight is not None
        if groups == 1:
            return weight
        whole = weight.new_zeros(groups, len(weight) // groups, groups, *weight.shape[1:])
        each = torch.arange(groups)
        whole[each, :, each] = weight.unflatten(0, (groups, -1))
        return whole.flatten(2, 3).flatten(0, 1)

    def units(self, layer: str, size: Size | None = None) -> tuple[int, int, int]:
        """How many maps, rows and columns of units a layer has for images of `size`, (H, W) or (C, H, W)."""
        return self._planned(self._blank(size), layer).units

    def window(self, layer: str, unit: Unit, size: Size | None = None) -> Window:
        """The pixels that a unit of `layer` sees in images of `size`, (H, W) or (C, H, W).

        `size` need not be given for a ConvNet, or after images have been projected. C is that of the images
        projected before, or of the net's first convolution, where it is not given.
        """
        plan = self._planned(self._blank(size), layer)
        _check([unit], unit.image + 1, plan)
        return plan.window(unit)

    def _blank(self, size: Size | None) -> Tensor:
        """An image of `size`, to trace the model with."""
        known = self._shape
        given = (size, size) if isinstance(size, int) else tuple(size or (known or ())[1:])
        if len(given) not in (2, 3):
            raise InputError("the size of the images is not known yet: give size=(H, W)")
        channels = given[0] if len(given) == 3 else known[0] if known else input_channels(self.model)
        if channels is None:
            raise InputError(
                f"how many channels the images of {type(self.model).__name__} have is not known, as it has no "
                "convolution: give size=(C, H, W)"
            )
        weight = next(self.model.parameters(), torch.empty(0))
        return torch.zeros(1, channels, *given[-2:], dtype=weight.dtype, device=weight.device)

    def _chain(self, plan: Plan) -> Chain | None:
        """The windowed way, where it is one and a window is smaller than the image."""
        steps = plan.path.chain
        smaller = all(f.field < side for f, side in zip(plan.path.fields, plan.size, strict=True))
        if steps is None or not smaller or self.rules.unpool != "sum" or not Chain.takes(steps):
            return None  # poolings outside the unit's field may overwrite what is inside
        return Chain([step.now() for step in steps], self.rules)

    def _planned(self, images: Tensor, layer: str) -> Plan:
        if images.dim() != 4 or not images.is_floating_point() or not len(images):
            raise InputError(
                f"images are {images.dtype} of shape {tuple(images.shape)}: floating-point (B, C, H, W) are needed"
            )
        size = (images.shape[2], images.shape[3])
        self._shape = (images.shape[1], *size)
        state = snapshot(self.model)
        key = (layer, self._shape, self.rules, state)
        known = self._known
        if known is not None and state is not None and known[0] == key:
            return known[1]
        plan = plan_of(self.model, self.rules, images[:1], layer)
        self._known = (key, plan) if self._is_own(plan) else None
        return plan

    def _is_own(self, plan: Plan) -> bool:
        """Whether all weights of a chain are the model's own memory, so that they are never out of date."""
        own = {_memory(tensor) for tensor in [*self.model.parameters(), *self.model.buffers()]}
        used = [
            tensor
            for step in plan.path.chain or []
            if step.kind == "conv"
            for tensor in (step.weight, step.bias)
        ]
        return all(tensor is None or _memory(tensor) in own for tensor in used)

    def _general(self, images: Tensor, layer: str, units: Sequence[Unit]) -> tuple[Tensor, Tensor]:
        """Pictures (N, C, H, W) and activations (N,) by autograd, for any net."""
        image, map, y, x = (
            torch.tensor([(u.image, u.channel, u.y, u.x) for u in units], dtype=torch.long)
            .view(-1, 4)
            .unbind(1)
        )
        activations = []

        def seed(values: Tensor, part: slice) -> Tensor:
            units_of_map = values.flatten(1) if values.dim() == 2 else values
            where = (torch.arange(len(values)), map[part]) + ((y[part], x[part]) if values.dim() == 4 else ())
            activation = units_of_map[where]
            activations.append(activation)
            kept = torch.zeros_like(values)
            kept[where] = self.rules.seeded(activation)
            return kept

        pictures = [self._back(images[image[part]], layer, seed, part) for part in _parts(len(units))]
        if not pictures:
            return images.new_zeros(0, *images.shape[1:]), images.new_zeros(0)
        return torch.cat(pictures), torch.cat(activations)

    def _back(
        self, images: Tensor, layer: str, seed: Callable[[Tensor, slice], Tensor], part: slice
    ) -> Tensor:
        """Runs up to the layer, and back from `seed(values, part)`."""
        modules = find_modules(self.model, [layer])
        reached: list[tuple[GradientEdge, Tensor]] = []

        def read(_: str, output: Tensor) -> bool:
            reached.append((get_gradient_edge(output), seed(output.detach(), part)))
            return True

        with traced_forward(self.model, DeconvMode(self.rules), images, modules, read) as (pixels, inputs):
            self.model(inputs)
        ((edge, start),) = reached
        return torch.autograd.grad(edge, pixels, start)[0]


def _placed(windows: Sequence[Window], shape: Sequence[int]) -> tuple[Tensor, Pair]:
    """Where windows start, (N, 2), and the size that they share, the last two of `shape`."""
    starts = torch.tensor([(window.top, window.left) for window in windows], dtype=torch.long).view(-1, 2)
    return starts, (shape[-2], shape[-1])


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _parts(count: int) -> list[slice]:
    return [slice(start, start + AT_ONCE) for start in range(0, count, AT_ONCE)]


def _check(units: Sequence[Unit], images: int, plan: Plan) -> None:
    for unit in units:
        limits = zip(("image", "channel", "y", "x"), (images, *plan.units), strict=True)
        for name, limit in limits:
            if not 0 <= getattr(unit, name) < limit:
                what = "there are" if name == "image" else f"{plan.layer} has"
                raise InputError(f"{unit}: {what} {limit} of {name}, from 0 to {limit - 1}")
