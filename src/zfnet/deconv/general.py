"""Projects units of any network by autograd, while the rules replace its operations (mode.py).

A unit that sees a part of the image is projected from a crop (crops.py).

    general = GeneralPass(model, Rules())
    projections, activations = general.project(images, plan, units)  # (N, C, H, W), (N,)
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from zfnet.deconv.crops import Crop, crop_of, cut_crops, group_by_size, move
from zfnet.deconv.mode import DeconvMode
from zfnet.deconv.patches import starts_of
from zfnet.deconv.rules import Rules
from zfnet.deconv.sharing import share_crops, share_passes
from zfnet.deconv.tracing import Plan, traced_forward
from zfnet.deconv.units import Unit
from zfnet.deconv.windows import cut
from zfnet.errors import InputError
from zfnet.models.introspection import find_modules

AT_ONCE = 16  # projections that autograd computes together, at most
AT_LEAST = 4  # and at least, on a CPU, where larger batches are hardly faster
PIXELS = 2**18  # of the crops that it computes together


class GeneralPass:
    """Passes of a network up to a layer, and down to the pixels.

    Args:
        model: any convnet.
        rules: of the backward pass.
    """

    def __init__(self, model: nn.Module, rules: Rules) -> None:
        self.model, self.rules = model, rules

    def project(
        self, images: Tensor, plan: Plan, units: Sequence[Unit], count: int = AT_ONCE
    ) -> tuple[Tensor, Tensor]:
        """Projects units from whole images.

        Args:
            images: (B, C, H, W).
            plan: of the layer.
            units: N units of the layer.
            count: of the projections that are computed together, at most.

        Returns:
            The projections (N, C, H, W) and the activations (N,).
        """
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

    def project_crops(
        self, images: Tensor, plan: Plan, units: Sequence[Unit]
    ) -> Iterator[tuple[list[int], list[Crop], Tensor, Tensor]]:
        """Projects units from crops of the images, those with crops of one size together.

        Args:
            images: (B, C, H, W).
            plan: of the layer.
            units: N units of the layer.

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
                projections, activations = self.project(cropped, plan, moved, count)
                yield places, chosen, activations, projections

    def project_windows(
        self, images: Tensor, plan: Plan, units: Sequence[Unit]
    ) -> tuple[Tensor, Tensor]:
        """Projects units, and cuts the projections to their windows.

        Args:
            images: (B, C, H, W).
            plan: of the layer.
            units: N units of the layer.

        Returns:
            The projections (N, C, h, w) and the activations (N,).
        """
        windows = [plan.patch(unit) for unit in units]
        first = plan.patch(Unit(0, 0))
        shape = (first.bottom - first.top, first.right - first.left)
        projections = images.new_zeros(len(units), images.shape[1], *shape)
        values = images.new_zeros(len(units))
        if not plan.croppable:
            whole, values = self.project(images, plan, units)
            return cut(whole, torch.arange(len(units)), starts_of(windows), shape), values
        for places, crops, activations, small in self.project_crops(images, plan, units):
            starts = starts_of([windows[place] for place in places]) - starts_of(crops)
            projections[places] = cut(small, torch.arange(len(places)), starts, shape)
            values[places] = activations
        return projections, values

    def project_channels(
        self, images: Tensor, plan: Plan, channel: int, channels: Sequence[int]
    ) -> Iterator[list[Tensor]]:
        """Projects several channels, which start with the activations of one of them.

        Args:
            images: (B, C, H, W).
            plan: of the layer.
            channel: whose activations are the signal at the start.
            channels: of the projections.

        Yields:
            For each image, the projection (C, H, W) of each channel.
        """
        for part in images.split(AT_ONCE):
            pixels, edge, values = self._forward(part, plan.layer)
            each = []
            for other in channels:
                with torch.inference_mode(False):
                    start, maps = torch.zeros_like(values), plan.axes.maps(values)
                    plan.axes.maps(start)[:, other] = self.rules.initial_signal(maps[:, channel])
                left = other != channels[-1]
                each.append(self._down(plan.layer, pixels, edge, start, left))
            yield from (list(own) for own in zip(*each, strict=True))

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
