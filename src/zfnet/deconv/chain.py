"""Projects units of a chain of layers, computing only what lies in their receptive fields.

What is below the last convolution is computed for the windows that the units see, or once for the
whole image if it has so many units that this takes fewer multiplications (forward.py). The last
convolution and the way down are computed for each unit (backward.py).

    chain = Chain(steps, rules)                              # steps from the pixels up to the layer
    activations, projections = chain.project(images, units)  # (N,), (N, C, h, w)
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from zfnet.deconv.backward import UnitPass
from zfnet.deconv.forward import (
    Below,
    count_floats,
    multiplications,
    run_images,
    run_windows,
    split,
)
from zfnet.deconv.rules import Pair, Rules
from zfnet.deconv.steps import Step
from zfnet.deconv.units import Unit
from zfnet.deconv.windows import window_shapes, window_starts

MEMORY = 2**25  # floats in the windows or maps that one batch of units needs: 128 MB
CACHE = 2**21  # floats below or above a step on a CPU, which is slower beyond its cache: 8 MB


class Chain:
    """A chain of layers, forward and backward.

    Args:
        steps: from the pixels up to the layer.
        rules: of the backward pass.
    """

    def __init__(self, steps: list[Step], rules: Rules) -> None:
        self.steps, self.rules = steps, rules
        self.below = steps[: max(i for i, step in enumerate(steps) if step.kind == "conv")]
        self.shapes = window_shapes(steps)

    @staticmethod
    def supports(steps: list[Step]) -> bool:
        """Whether there is a convolution, and no contrast normalization after the last one."""
        kinds = [step.kind for step in steps]
        return "conv" in kinds and "norm" not in kinds[len(kinds) - kinds[::-1].index("conv") :]

    def project(self, images: Tensor, units: Sequence[Unit]) -> tuple[Tensor, Tensor]:
        """Projects units of the last step.

        Args:
            images: (B, C, H, W).
            units: N units.

        Returns:
            Their activations (N,) and projections (N, C, h, w).
        """
        channels = images.shape[1]
        activations = images.new_empty(len(units))
        projections = images.new_empty(len(units), channels, *self.shapes[0])
        bound = CACHE if images.device.type == "cpu" else MEMORY
        shared = self._choose_images(units, channels)
        with torch.inference_mode():
            for places, below in self._run_below(images, units, shared, bound):
                own = torch.tensor([units[place].channel for place in places])
                batch = UnitPass(self.steps, self.rules, below, own)
                activations[places] = batch.activations
                for part, projected in batch.project(channels, bound):
                    projections[places[part]] = projected
        return activations, projections

    def _sizes(self) -> list[Pair]:
        """Returns (h, w) of whole maps before each step, up to the last convolution."""
        sizes = [self.steps[len(self.below)].size]
        for step in reversed(self.below):
            sizes.insert(0, sizes[0] if step.window is None else step.size)
        return sizes

    def _choose_images(self, units: Sequence[Unit], channels: int) -> dict[int, list[int]]:
        """Returns the images to run as a whole, with the places of their units in `units`.

        They have so many units that their windows take more multiplications, below the last
        convolution. Units at one position have one window.
        """
        sizes = self._sizes()
        if sum(count_floats(self.below, sizes, channels)) > MEMORY:
            return {}
        whole, window = (multiplications(self.below, each) for each in (sizes, self.shapes))
        places, positions = defaultdict[int, list[int]](list), defaultdict[int, set[Pair]](set)
        for place, unit in enumerate(units):
            places[unit.image].append(place)
            positions[unit.image].add((unit.y, unit.x))
        return {
            image: own for image, own in places.items() if len(positions[image]) * window > whole
        }

    def _run_below(
        self, images: Tensor, units: Sequence[Unit], shared: dict[int, list[int]], bound: int
    ) -> Iterator[tuple[list[int], Below]]:
        """Runs the steps below the last convolution, for batches of units.

        Args:
            images: (B, C, H, W).
            units: N units.
            shared: the images to run as a whole, with the places of their units.
            bound: the largest number of floats below or above a step.

        Yields:
            The places of a batch in `units`, and what is below it.
        """
        steps, shapes, channels = self.below, self.shapes, images.shape[1]
        floats = count_floats(steps, self._sizes(), channels)
        inputs = count_floats(self.steps, shapes, channels)[len(steps) :]
        for part in split(len(shared), MEMORY // sum(floats)):
            some = list(shared)[part]
            run = run_images(steps, self.rules, images[some], shapes, bound // max(floats))
            together = [(place, row) for row, image in enumerate(some) for place in shared[image]]
            together.sort(key=lambda each: _position(units[each[0]]))
            for few in split(len(together), MEMORY // sum(inputs)):
                places, own = (list(each) for each in zip(*together[few], strict=True))
                starts = window_starts(self.steps, [units[place] for place in places])
                yield places, Below(steps, *run, torch.tensor(own), starts, shapes, whole=True)
        alone = [place for place, unit in enumerate(units) if unit.image not in shared]
        alone.sort(key=lambda place: _position(units[place]))
        floats = count_floats(self.steps, shapes, channels)
        for part in split(len(alone), MEMORY // sum(floats)):
            # Units of several channels at one position have one window.
            windows = dict[Unit, int]()
            positions = [replace(units[place], channel=0) for place in alone[part]]
            rows = torch.tensor([windows.setdefault(each, len(windows)) for each in positions])
            which = torch.tensor([each.image for each in windows])
            starts = window_starts(self.steps, list(windows))
            at_once = bound // max(floats)
            run = run_windows(steps, self.rules, images, which, starts, shapes, at_once)
            starts = [each[rows] for each in starts]
            yield alone[part], Below(steps, *run, rows, starts, shapes, whole=False)


def _position(unit: Unit) -> Pair:
    return unit.y, unit.x
