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
is projected by autograd (general.py). Both ways give the same result.

The model runs in eval mode and is left unchanged. It may be modified between calls (plans.py).
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from zfnet.deconv.chain import Chain
from zfnet.deconv.contrast import Contrast, Project, subtract_shared
from zfnet.deconv.general import GeneralPass
from zfnet.deconv.patches import Patches, paste
from zfnet.deconv.plans import Plans, Size
from zfnet.deconv.rules import Rules
from zfnet.deconv.tracing import Plan
from zfnet.deconv.trust import caution, describe_path
from zfnet.deconv.units import Unit, Window
from zfnet.errors import InputError
from zfnet.models.introspection import check_not_scripted, user_module
from zfnet.models.unit_axes import UnitAxes
from zfnet.versions.python_names import renamed


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
        self._plans = Plans(self.model, self.rules)

    def project(self, images: Tensor, layer: str, units: Sequence[Unit]) -> Tensor:
        """Projects units of a layer.

        Args:
            images: (B, C, H, W).
            layer: name of a layer, such as "conv5" or "features.10".
            units: N units of the layer.

        Returns:
            (N, C, H, W), signed.
        """
        plan = self._plans.find(images, layer)
        _check(units, len(images), plan)
        if self.contrast.count:
            small, _ = self._project_windows(images, plan, units)
            return paste(small, [plan.patch(unit) for unit in units], plan.size)
        if chain := self._chain(plan):
            _, small = chain.project(images, units)
            return paste(small, [plan.window(unit) for unit in units], plan.size)
        if not plan.croppable:
            return self._general.project(images, plan, units)[0]
        projections = images.new_zeros(len(units), *images.shape[1:])
        for places, crops, _, small in self._general.project_crops(images, plan, units):
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
        plan = self._plans.find(images, layer)
        _check([Unit(0, channel)], len(images), plan)

        channels = [channel, *self.contrast.others(channel, plan.units[0])]
        found = self._general.project_channels(images, plan, channel, channels)
        return torch.stack([subtract_shared(own, others) for own, *others in found])

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
        plan = self._plans.find(images, layer)
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
        chain = self._plans.for_size(layer, size).path.chain or []
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
        return self._plans.for_size(layer, size).units

    def describe(self, layer: str, size: Size | None = None) -> str:
        """Says by which rules a layer is projected, and why not to trust it, for figures.

        Args:
            layer: name of a layer.
            size: of the images, see `window`.

        Returns:
            "" if the rules are the paper's, and there is nothing to say.
        """
        plan = self._plans.for_size(layer, size)
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
        plan = self._plans.for_size(layer, size)
        return caution(plan.path, plan.size, self.rules.relu)

    def axes(self, layer: str, size: Size | None = None) -> UnitAxes:
        """Returns how the output of a layer holds its units.

        Args:
            layer: name of a layer.
            size: of the images, see `window`.
        """
        return self._plans.for_size(layer, size).axes

    def extended_rules(self, layer: str, size: Size | None = None) -> dict[str, int]:
        """Returns the extended rules between a layer and the pixels, with the number of their uses.

        Args:
            layer: name of a layer.
            size: of the images, see `window`.

        Returns:
            Such as {"GELU": 18, "LayerNorm": 23}; {} if the paper's rules suffice, or if none is
            used because all is the gradient.
        """
        path = self._plans.for_size(layer, size).path
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
        plan = self._plans.for_size(layer, size)
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
        plan = self._plans.for_size(layer, size)
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
        plan = self._plans.for_size(layer, size)
        _check([unit], unit.image + 1, plan)
        return plan.cell(unit)

    def project_general(
        self, images: Tensor, layer: str, units: Sequence[Unit]
    ) -> tuple[Tensor, Tensor]:
        """Projects by autograd, for any network: the way that the faster one must equal.

        Args:
            images: (B, C, H, W).
            layer: where the units are.
            units: N of them.

        Returns:
            The projections (N, C, H, W) and the activations (N,).
        """
        plan = self._plans.find(images, layer)
        if self.contrast.count:
            project = partial(self._forced()._general.project, images, plan)
            return self._contrasted(project, images, plan, units)
        return self._general.project(images, plan, units)

    def _chain(self, plan: Plan) -> Chain | None:
        """Returns the layer's chain, if there is one and its windows are smaller than the image."""
        steps = plan.path.chain
        smaller = all(f.field < side for f, side in zip(plan.path.fields, plan.size, strict=True))
        if steps is None or not smaller or self.rules.unpool != "sum" or not Chain.supports(steps):
            return None  # otherwise windows outside the field may overwrite cells inside
        return Chain([step.now() for step in steps], self.rules)

    @property
    def _general(self) -> GeneralPass:
        return GeneralPass(self.model, self.rules)

    def _project_windows(
        self, images: Tensor, plan: Plan, units: Sequence[Unit]
    ) -> tuple[Tensor, Tensor]:
        """Returns projections cut to the windows of the units, and activations."""
        if self.contrast.count:
            project = partial(self._forced()._project_windows, images, plan)
            return self._contrasted(project, images, plan, units)
        if chain := self._chain(plan):
            values, projections = chain.project(images, units)
            return projections, values
        return self._general.project_windows(images, plan, units)

    def _forced(self) -> "Deconvnet":
        """Returns a copy without contrast, whose units start with 1."""
        forced = copy(self)
        forced.rules, forced.contrast = replace(self.rules, seed="forced"), Contrast(0)
        return forced

    def _contrasted(
        self, project: Project, images: Tensor, plan: Plan, units: Sequence[Unit]
    ) -> tuple[Tensor, Tensor]:
        """Returns contrastive projections, by a function that returns plain ones, and
        activations."""
        signal, channels = self.rules.initial_signal, plan.units[0]
        return self.contrast.project(project, units, channels, signal, images[0].numel())


def _check(units: Sequence[Unit], images: int, plan: Plan) -> None:
    for unit in units:
        limits = zip(("image", "channel", "y", "x"), (images, *plan.units), strict=True)
        for name, limit in limits:
            if not 0 <= getattr(unit, name) < limit:
                what = "there are" if name == "image" else f"{plan.layer} has"
                raise InputError(f"{unit}: {what} {limit} of {name}, from 0 to {limit - 1}")
