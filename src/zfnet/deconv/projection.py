"""The deconvnet (section 2.1): projects a unit's activation back to the pixels, for any convnet.

    >>> import torch
    >>> from zfnet.deconv import Deconvnet, Unit
    >>> from zfnet.models import ZFNET, ConvNet
    >>> deconv = Deconvnet(ConvNet(ZFNET, num_classes=10, image_size=64))
    >>> images = torch.randn(2, 3, 64, 64)
    >>> deconv.project(images, "conv3", [Unit(image=1, channel=12, y=1, x=2)]).shape
    torch.Size([1, 3, 64, 64])

A unit keeps its activation a (a ≤ 0 projects to 0), and all other units of its layer are set to 0.
From there the signal passes down to the pixels: unpooling with the switches, rectification, and
filtering with the transposed weights (rules.py). A projection is signed, in the units of the
model's input.

If the network up to the layer is a chain of convolutions, ReLUs, poolings and normalizations, only
the receptive field of each unit is computed, for many units at once (chain.py). Any other network
runs under a `TorchFunctionMode` that replaces its operations by the rules (mode.py), and autograd
computes the projection, from a crop of the image if a unit sees no more (crops.py). All ways give
the same result.

The model runs in eval mode and is left unchanged. It may be modified between calls: its layers are
traced again, with one image, unless it consists of modules from torch, torchvision, timm or zfnet,
and none of them was replaced or reconfigured.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from zfnet.deconv.chain import Chain
from zfnet.deconv.contrast import Contrast, subtract_shared
from zfnet.deconv.crops import Crop, crop_of, cut_crops, group_by_size, move
from zfnet.deconv.mode import DeconvMode
from zfnet.deconv.patches import Patches, paste, starts_of
from zfnet.deconv.rules import Pair, Rules
from zfnet.deconv.sharing import share_crops, share_passes
from zfnet.deconv.tracing import Plan, make_plan, traced_forward
from zfnet.deconv.trust import caution, describe_path
from zfnet.deconv.units import Unit, Window
from zfnet.deconv.windows import cut
from zfnet.errors import InputError
from zfnet.models.convnet import ConvNet
from zfnet.models.introspection import (
    check_not_scripted,
    find_modules,
    input_channels,
    user_module,
)
from zfnet.models.snapshot import snapshot
from zfnet.models.unit_axes import UnitAxes
from zfnet.sizes import sides
from zfnet.versions.python_names import renamed

AT_ONCE = 16  # projections that autograd computes together, at most
AT_LEAST = 4  # and at least, on a CPU, where larger batches are hardly faster
PIXELS = 2**18  # of the crops that it computes together
Size = int | Pair | tuple[int, int, int]  # of images: a side, (H, W) or (C, H, W)


@renamed(normalisation="normalization", project_map="project_channel")
class Deconvnet:
    """Projects units of a model back to its input.

    Args:
        model: any convnet.
        relu: backward rule of the ReLU: "deconv", "guided" or "gradient".
        unpool: backward rule of max pooling: "sum", "overwrite" or "center".
        normalization: backward rule of contrast normalization: "identity" or "gradient".
        seed: value of a unit at the start: its "activation", "one" or "forced".
        others: what to do with other nonlinear operations: "refuse" or "gradient".
        strict: whether to refuse operations that the paper's nets do not have, such as GELU.
        contrast: K, to subtract what a projection shares with those of K random channels at the
            same position; 0 or None for plain projections. See `zfnet.deconv.contrast`.
        contrast_seed: of the random channels.

    The other options are described in `zfnet.deconv.rules`. The defaults are the paper's deconvnet.

    Raises:
        InputError: an option is unknown. The methods raise it for a layer that the model does not
            have or that has no deconvnet, and for units and images of the wrong shape.
    """

    def __init__(
        self,
        model: nn.Module,
        relu: str = "deconv",
        unpool: str = "sum",
        normalization: str = "identity",
        seed: str = "activation",
        others: str = "refuse",
        strict: bool = False,
        contrast: int | None = 0,
        contrast_seed: int = 0,
    ) -> None:
        check_not_scripted(model)
        self.model = user_module(model)
        self.rules = Rules(relu, unpool, normalization, seed, others, strict)
        self.contrast = Contrast(0 if contrast is None else contrast, contrast_seed)
        self._known: tuple[Any, Plan] | None = None  # the last plan, and its key
        self._shape: tuple[int, int, int] | None = None  # (C, H, W) of the last images
        if isinstance(self.model, ConvNet):
            self._shape = (input_channels(self.model) or 3, *sides(self.model.image_size))

    def project(self, images: Tensor, layer: str, units: Sequence[Unit]) -> Tensor:
        """Projects units of a layer.

        Args:
            images: (B, C, H, W).
            layer: name of a layer, such as "conv5" or "features.10".
            units: N units of the layer.

        Returns:
            (N, C, H, W), signed.
        """
        plan = self._plan(images, layer)
        _check(units, len(images), plan)
        if self.contrast.count:
            small, _ = self._project_windows(images, plan, units)
            return paste(small, [plan.patch(unit) for unit in units], plan.size)
        if chain := self._chain(plan):
            _, small = chain.project(images, units)
            return paste(small, [plan.window(unit) for unit in units], plan.size)
        if not plan.croppable:
            return self._project_whole(images, plan, units)[0]
        projections = images.new_zeros(len(units), *images.shape[1:])
        for places, crops, _, small in self._project_crops(images, plan, units):
            projections[places] = paste(small, crops, plan.size)
        return projections

    def project_channel(self, images: Tensor, layer: str, channel: int) -> Tensor:
        """Projects all units of one channel together.

        A contrastive projection compares them with other channels that start with the same values
        at the same positions.

        Args:
            images: (B, C, H, W).
            layer: name of a layer.
            channel: index of the channel.

        Returns:
            (B, C, H, W), signed.
        """
        plan = self._plan(images, layer)
        _check([Unit(0, channel)], len(images), plan)

        channels, result = [channel, *self.contrast.others(channel, plan.units[0])], list[Tensor]()
        for part in images.split(AT_ONCE):
            pixels, edge, values = self._forward(part, layer)
            each = []
            for other in channels:
                with torch.inference_mode(False):
                    start, maps = torch.zeros_like(values), plan.axes.maps(values)
                    signal = self.rules.initial_signal(maps[:, channel])
                    plan.axes.maps(start)[:, other] = signal
                left = other != channels[-1]
                each.append(self._down(layer, pixels, edge, start, left))
            for projection, *others in zip(*each, strict=True):
                result.append(subtract_shared(projection, others))
        return torch.stack(result)

    def patches(self, images: Tensor, layer: str, units: Sequence[Unit]) -> Patches:
        """Projects units, and crops the projections and the images to what the units see.

        Args:
            images: (B, C, H, W).
            layer: name of a layer.
            units: N units of the layer.
        """
        projections, windows, values = self.project_windows(images, layer, units)
        patches = Patches(projections, images, windows, values.clamp(min=0))
        return replace(patches, images=patches.crop(images.detach(), units))

    def project_windows(
        self, images: Tensor, layer: str, units: Sequence[Unit]
    ) -> tuple[Tensor, list[Window], Tensor]:
        """Projects units like `patches`, without the image patches.

        Args:
            images: (B, C, H, W).
            layer: name of a layer.
            units: N units of the layer.

        Returns:
            The projections (N, C, h, w), their places, and the activations (N,).
        """
        plan = self._plan(images, layer)
        _check(units, len(images), plan)
        projections, values = self._project_windows(images, plan, units)
        return projections, [plan.patch(unit) for unit in units], values

    def filters(self, layer: str, size: Size | None = None) -> Tensor | None:
        """Returns the filters of a layer that convolves the pixels themselves.

        Args:
            layer: name of a layer.
            size: of the images, see `window`.

        Returns:
            Filters (channels, C, kh, kw). With groups, a filter is 0 in the channels that it does
            not see. None for other layers, where something comes before the convolution, or
            another convolution or a pooling after it.
        """
        chain = self._plan(self._blank(size), layer).path.chain or []
        kinds = [step.kind for step in chain]
        if kinds[:1] != ["conv"] or "conv" in kinds[1:] or "pool" in kinds:
            return None
        (_, weight), groups = chain[0].filters, chain[0].groups
        if groups == 1:
            return weight
        whole = weight.new_zeros(groups, len(weight) // groups, groups, *weight.shape[1:])
        each = torch.arange(groups)
        whole[each, :, each] = weight.unflatten(0, (groups, -1))
        return whole.flatten(2, 3).flatten(0, 1)

    def units(self, layer: str, size: Size | None = None) -> tuple[int, int, int]:
        """Returns the number of channels, rows and columns of a layer.

        Args:
            layer: name of a layer.
            size: of the images, see `window`.
        """
        return self._plan(self._blank(size), layer).units

    def describe(self, layer: str, size: Size | None = None) -> str:
        """Says by which rules a layer is projected, and why not to trust it, for figures.

        Args:
            layer: name of a layer.
            size: of the images, see `window`.

        Returns:
            "" if the rules are the paper's, and there is nothing to say.
        """
        plan = self._plan(self._blank(size), layer)
        extended = {} if self.rules.plain_gradient else plan.path.extended
        why = caution(plan.path, plan.size, self.rules.relu)
        path = describe_path(extended, why, self.rules.relu)
        return "; ".join(note for note in (self.contrast.describe(plan.units[0]), path) if note)

    def caution(self, layer: str, size: Size | None = None) -> str:
        """Says why not to trust the projections of a layer, by what docs/trust.md measured.

        Args:
            layer: name of a layer.
            size: of the images, see `window`.

        Returns:
            "" if there is no reason.
        """
        plan = self._plan(self._blank(size), layer)
        return caution(plan.path, plan.size, self.rules.relu)

    def axes(self, layer: str, size: Size | None = None) -> UnitAxes:
        """Returns how the output of a layer holds its units.

        Args:
            layer: name of a layer.
            size: of the images, see `window`.
        """
        return self._plan(self._blank(size), layer).axes

    def extended_rules(self, layer: str, size: Size | None = None) -> dict[str, int]:
        """Returns the extended rules between a layer and the pixels, with the number of their uses.

        Args:
            layer: name of a layer.
            size: of the images, see `window`.

        Returns:
            Such as {"GELU": 18, "LayerNorm": 23}; {} if the paper's rules suffice, or if none is
            used because all is the gradient.
        """
        path = self._plan(self._blank(size), layer).path
        return {} if self.rules.plain_gradient else path.extended

    def window(self, layer: str, unit: Unit, size: Size | None = None) -> Window:
        """Returns the pixels that a unit sees.

        Args:
            layer: name of a layer.
            unit: a unit of the layer.
            size: of the images: a side, (H, W) or (C, H, W). It may be omitted for a `ConvNet` and
                after images have been projected. C defaults to that of these images, or of the
                first convolution.
        """
        return self.windows(layer, [unit], size)[0]

    def windows(self, layer: str, units: Sequence[Unit], size: Size | None = None) -> list[Window]:
        """Returns the pixels that each of N units sees.

        Args:
            layer: name of a layer.
            units: N units of the layer.
            size: of the images, see `window`.
        """
        plan = self._plan(self._blank(size), layer)
        _check(units, max((unit.image for unit in units), default=0) + 1, plan)
        return [plan.window(unit) for unit in units]

    def windows_by_position(
        self, layer: str, size: Size | None = None
    ) -> dict[tuple[int, int], Window]:
        """Returns the pixels that the unit at each position (y, x) of a layer sees.

        Args:
            layer: name of a layer.
            size: of the images, see `window`.
        """
        plan = self._plan(self._blank(size), layer)
        _, rows, columns = plan.units
        places = [(y, x) for y in range(rows) for x in range(columns)]
        return {(y, x): plan.window(Unit(0, 0, y, x)) for y, x in places}

    def cell(self, layer: str, unit: Unit, size: Size | None = None) -> Window | None:
        """Returns the pixels at a unit's own position in the grid of its layer.

        Args:
            layer: name of a layer.
            unit: a unit of the layer, such as a token that sees the whole image.
            size: of the images, see `window`.

        Returns:
            Such as the patch of the image that became a token. None if the layer has one position
            only.
        """
        plan = self._plan(self._blank(size), layer)
        _check([unit], unit.image + 1, plan)
        return plan.cell(unit)

    def _blank(self, size: Size | None) -> Tensor:
        """Returns a black image of `size`, to trace the model with."""
        known = self._shape
        given = (size, size) if isinstance(size, int) else tuple(size or (known or ())[1:])
        if len(given) not in (2, 3):
            raise InputError("the size of the images is not known yet: give size=(H, W)")
        channels = (
            given[0] if len(given) == 3 else known[0] if known else input_channels(self.model)
        )
        if channels is None:
            raise InputError(
                f"{type(self.model).__name__} has no convolution, so the number of channels of its "
                "images is "
                "unknown: give size=(C, H, W)"
            )
        weight = next(self.model.parameters(), torch.empty(0))
        return torch.zeros(1, channels, *given[-2:], dtype=weight.dtype, device=weight.device)

    def _chain(self, plan: Plan) -> Chain | None:
        """Returns the layer's chain, if there is one and its windows are smaller than the image."""
        steps = plan.path.chain
        smaller = all(f.field < side for f, side in zip(plan.path.fields, plan.size, strict=True))
        if steps is None or not smaller or self.rules.unpool != "sum" or not Chain.supports(steps):
            return None  # otherwise windows outside the field may overwrite cells inside
        return Chain([step.now() for step in steps], self.rules)

    def _plan(self, images: Tensor, layer: str) -> Plan:
        if images.dim() != 4 or not images.is_floating_point() or not len(images):
            raise InputError(
                f"images are {images.dtype} of shape {tuple(images.shape)}: floating-point (B, C, "
                "H, W) are needed"
            )
        self._shape = (images.shape[1], images.shape[2], images.shape[3])
        state = snapshot(self.model)
        key = (layer, self._shape, self.rules, state)
        known = self._known
        if known is not None and state is not None and known[0] == key:
            return known[1]
        plan = make_plan(self.model, self.rules, images[:1], layer)
        self._known = (key, plan) if self._shares_memory(plan) else None
        return plan

    def _shares_memory(self, plan: Plan) -> bool:
        """Whether the chain uses the memory of the model's weights, so that it stays up to date."""
        own = {_address(tensor) for tensor in [*self.model.parameters(), *self.model.buffers()]}
        used = [
            tensor
            for step in plan.path.chain or []
            if step.kind == "conv"
            for tensor in (step.weight, step.bias)
        ]
        return all(tensor is None or _address(tensor) in own for tensor in used)

    def project_general(
        self, images: Tensor, layer: str, units: Sequence[Unit]
    ) -> tuple[Tensor, Tensor]:
        """Projects by autograd, for any network: the path that the faster ones must equal.

        Args:
            images: (B, C, H, W).
            layer: where the units are.
            units: N of them.

        Returns:
            The projections (N, C, H, W) and the activations (N,).
        """
        plan = self._plan(images, layer)
        if self.contrast.count:
            return self._contrasted(Deconvnet._project_whole, images, plan, units)
        return self._project_whole(images, plan, units)

    def _project_windows(
        self, images: Tensor, plan: Plan, units: Sequence[Unit]
    ) -> tuple[Tensor, Tensor]:
        """Returns projections cut to the windows of the units, and activations."""
        if self.contrast.count:
            return self._contrasted(Deconvnet._project_windows, images, plan, units)
        if chain := self._chain(plan):
            values, projections = chain.project(images, units)
            return projections, values
        return self._cut_projections(images, plan, units)

    def _contrasted(
        self, method: Callable[..., Any], images: Tensor, plan: Plan, units: Sequence[Unit]
    ) -> tuple[Tensor, Tensor]:
        """Returns contrastive projections by a method that returns plain ones, and activations."""
        forced = copy(self)
        forced.rules, forced.contrast = replace(self.rules, seed="forced"), Contrast(0)
        project = partial(method, forced, images, plan)
        signal, channels = self.rules.initial_signal, plan.units[0]
        return self.contrast.project(project, units, channels, signal, images[0].numel())

    def _cut_projections(
        self, images: Tensor, plan: Plan, units: Sequence[Unit]
    ) -> tuple[Tensor, Tensor]:
        """Returns projections by autograd, cut to the windows of the units, and activations."""
        windows = [plan.patch(unit) for unit in units]
        first = plan.patch(Unit(0, 0))
        shape = (first.bottom - first.top, first.right - first.left)
        projections = images.new_zeros(len(units), images.shape[1], *shape)
        values = images.new_zeros(len(units))
        if not plan.croppable:
            whole, values = self._project_whole(images, plan, units)
            return cut(whole, torch.arange(len(units)), starts_of(windows), shape), values
        for places, crops, activations, small in self._project_crops(images, plan, units):
            starts = starts_of([windows[place] for place in places]) - starts_of(crops)
            projections[places] = cut(small, torch.arange(len(places)), starts, shape)
            values[places] = activations
        return projections, values

    def _project_crops(
        self, images: Tensor, plan: Plan, units: Sequence[Unit]
    ) -> Iterator[tuple[list[int], list[Crop], Tensor, Tensor]]:
        """Projects units from crops of the images, those with crops of one size together.

        Yields:
            The places of units in `units`, their crops, activations, and projections of the crops.
        """
        crops = [crop_of(plan.path, plan.window(unit), plan.size) for unit in units]
        shared = share_crops([unit.image for unit in units], crops)
        shared.sort(key=lambda each: len(each.places))
        for shape, rows in group_by_size([each.crop for each in shared]).items():
            count = max(AT_ONCE, PIXELS // math.prod(shape))
            for start in range(0, len(rows), count):
                part = [shared[row] for row in rows[start : start + count]]
                cropped = cut_crops(
                    images, [each.image for each in part], [each.crop for each in part]
                )
                places = [place for each in part for place in each.places]
                chosen = [each.crop for each in part for _ in each.places]
                moved = [
                    move(units[place], plan.path, each.crop, row)
                    for row, each in enumerate(part)
                    for place in each.places
                ]
                projections, activations = self._project_whole(cropped, plan, moved, count)
                yield places, chosen, activations, projections

    def _project_whole(
        self, images: Tensor, plan: Plan, units: Sequence[Unit], count: int = AT_ONCE
    ) -> tuple[Tensor, Tensor]:
        """Projects units by autograd, `count` at once: (N, C, H, W), and their activations (N,)."""
        projections = images.new_zeros(len(units), *images.shape[1:])
        order, activations = list[int](), list[Tensor]()
        least = min(count, AT_LEAST) if images.device.type == "cpu" else count
        for turns in share_passes([unit.image for unit in units], least, count):
            rows = torch.tensor([units[place].image for place in turns[0]])
            pixels, edge, values = self._forward(images[rows], plan.layer)
            for turn in turns:
                chosen = [(units[place].channel, units[place].y, units[place].x) for place in turn]
                where = (torch.arange(len(turn)), *torch.tensor(chosen).unbind(1))
                with torch.inference_mode(False):
                    activation = plan.axes.maps(values)[where]
                    start = torch.zeros_like(values)
                    plan.axes.maps(start)[where] = self.rules.initial_signal(activation)
                left = turn is not turns[-1]
                projections[list(turn)] = self._down(plan.layer, pixels, edge, start, left)
                order += turn
                activations.append(activation)
        if not units:
            return projections, images.new_zeros(0)
        return projections, torch.cat(activations)[torch.tensor(order).argsort()]

    def _forward(self, images: Tensor, layer: str) -> tuple[Tensor, GradientEdge, Tensor]:
        """Runs the model up to the layer: the pixels, and the edge and values of its output."""
        modules = find_modules(self.model, [layer])
        reached: list[tuple[GradientEdge, Tensor]] = []

        def read(_: str, output: Tensor) -> bool:
            reached.append((get_gradient_edge(output), output.detach()))
            return True

        with traced_forward(self.model, DeconvMode(self.rules), images, modules, read) as (
            pixels,
            inputs,
        ):
            self.model(inputs)
        ((edge, values),) = reached
        return pixels, edge, values

    def _down(
        self, layer: str, pixels: Tensor, edge: GradientEdge, start: Tensor, again: bool = False
    ) -> Tensor:
        """Passes the signal `start` at the edge of a layer down to the pixels."""
        try:
            return torch.autograd.grad(edge, pixels, start, retain_graph=again)[0]
        except RuntimeError as error:
            if "modified by an inplace operation" not in str(error):
                raise
            raise InputError(
                f"{type(self.model).__name__} overwrites a value below {layer!r} that is needed on "
                "the way down: let it change a copy"
            ) from error


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _check(units: Sequence[Unit], images: int, plan: Plan) -> None:
    for unit in units:
        limits = zip(("image", "channel", "y", "x"), (images, *plan.units), strict=True)
        for name, limit in limits:
            if not 0 <= getattr(unit, name) < limit:
                what = "there are" if name == "image" else f"{plan.layer} has"
                raise InputError(f"{unit}: {what} {limit} of {name}, from 0 to {limit - 1}")
