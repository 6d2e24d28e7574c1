"""Computes the features of occluded images: only what an occluder changes in the clean image.

An occluder changes the input of a layer by d, which is 0 outside a small window. A block of the
prefix (a convolution and what follows it, up to the next convolution) has the sums P = W*x + b and
the output O on the clean image. The output changes exactly by

    d' = tail(W*d + P[window]) - O[window']             tail: ReLU, pooling, normalization

Zero padding around d is right everywhere, because d is 0 there. In the first blocks, where layers
have strides, each occluder has a window of its own. Occluders whose positions agree modulo the
total stride (their phase) have windows of the same shape and are computed together. In later blocks
the windows overlap so much that neighboring occluders share a region of the map: a few bands along
each axis.

    sweep = Incremental(steps, image, reads={"conv5": 14})
    features, sums = sweep(tops, lefts, size, fill)  # (ny * nx, C, h, w), {"conv5": (ny * nx, C)}
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from zfnet.analysis.occlusion.blocks import Block, Span, apply_op
from zfnet.deconv.rules import Pair
from zfnet.deconv.steps import Step, convolve
from zfnet.deconv.windows import beyond_border, gather_windows

BANDS = 8  # along each axis: more bands make smaller regions, fewer make larger tensors
AT_ONCE = 256  # occluders that pass through a block together
CALL = 3 * 10**7  # multiplications that take as long as the overhead of one group in one block


class Change(NamedTuple):
    """The change (C, h, w) of a map by one occluder, and its first row and column."""

    d: Tensor
    start: tuple[int, int]

    def span(self, axis: int) -> Span:
        return Span(self.start[axis], self.d.shape[1 + axis])


class Incremental:
    """The prefix of a network on one image, and on this image with many occluders.

    Args:
        steps: of the prefix, see `supports`.
        image: (1, C, H, W), the clean image.
        reads: layer → the number of steps after which it stands.
    """

    def __init__(self, steps: list[Step], image: Tensor, reads: dict[str, int]) -> None:
        self.image, self.reads = image, reads
        self.blocks: list[Block] = []
        x = image
        for i, step in enumerate(_pool_first(steps, reads)):
            if step.kind == "conv":
                x = convolve(step, x, step.filters[0].padding, step.bias)
                self.blocks.append(Block(i, [step], x))
            else:
                x = apply_op(step, x, padded=True)
                self.blocks[-1].steps.append(step)
                self.blocks[-1].stages.append(x)
        self.features = x
        self.coarse = self._first_coarse()
        self.clean = {
            layer: self._stage(after - 1).sum((2, 3))[0] for layer, after in reads.items()
        }

    @staticmethod
    def supports(steps: list[Step]) -> bool:
        """Whether it starts with a convolution, skips no cells, and no pooling follows a
        pooling."""
        windows = [step.window for step in steps if step.window is not None]
        gapless = all(w.reach(axis) >= w.stride[axis] for w in windows for axis in (0, 1))
        kinds = [step.kind for step in steps if step.window is not None]
        return (
            bool(steps)
            and steps[0].kind == "conv"
            and gapless
            and ("pool", "pool") not in pairwise(kinds)
        )

    def is_faster(self, tops: Sequence[int], lefts: Sequence[int]) -> bool:
        """Estimates whether many small windows take less time than whole images."""
        places = torch.tensor([(top, left) for top in tops for left in lefts])
        regions = min(BANDS**2, len(places))
        calls = len(self._group_by_phase(places)) * self.coarse + regions * (
            len(self.blocks) - self.coarse
        )
        whole = sum(block.cost(block.sums.shape[2] * block.sums.shape[3]) for block in self.blocks)
        return calls * CALL < len(places) * whole

    def _stage(self, index: int) -> Tensor:
        """Returns the output of a step on the clean image."""
        block = next(block for block in reversed(self.blocks) if block.first <= index)
        return block.sums if block.first == index else block.stages[index - block.first - 1]

    def _first_coarse(self) -> int:
        """Returns the first block after which nothing has a stride except a final pooling."""
        coarse = len(self.blocks)
        while coarse and self.blocks[coarse - 1].window.stride == (1, 1):
            if self.blocks[coarse - 1].pooling and coarse < len(self.blocks):
                break
            coarse -= 1
        return coarse

    def __call__(
        self, tops: Sequence[int], lefts: Sequence[int], size: int, fill: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the features of all occluded images.

        Args:
            tops: ny first rows of the occluders.
            lefts: nx first columns.
            size: of the occluders, in pixels. They are cut off at the border.
            fill: (C,), their color.

        Returns:
            Features (ny * nx, C, h, w), row by row, and for each layer of `reads` the sums of its
            feature maps (ny * nx, C).
        """
        places = torch.tensor([(top, left) for top in tops for left in lefts])
        sums = {layer: clean.expand(len(places), -1).clone() for layer, clean in self.clean.items()}
        changes = [Change(self.image[0], (0, 0))] * len(places)
        for members in self._group_by_phase(places):
            d, starts = self._pixel_change(places[members], size, fill), places[members]
            for block in self.blocks[: self.coarse]:
                d, starts = self._propagate(block, d, starts, members, sums, cut_to_map=False)
            for member, one, (y, x) in zip(members.tolist(), d, starts.tolist(), strict=True):
                changes[member] = Change(one, (y, x))
        features = (
            self.features.expand(len(places), -1, -1, -1)
            .contiguous(memory_format=torch.channels_last)
            .clone()
        )
        for members in self._group_by_region(changes, len(lefts)):
            d, starts = self._region([changes[member] for member in members.tolist()])
            for block in self.blocks[self.coarse :]:
                if d.numel():
                    d, starts = self._propagate(block, d, starts, members, sums, cut_to_map=True)
            if not d.numel():
                continue  # these occluders change nothing that a later layer reads
            (y, x), (height, width) = starts[0].tolist(), d.shape[2:]
            features[members, :, y : y + height, x : x + width] += d
        return features, sums

    def _group_by_phase(self, places: Tensor) -> list[Tensor]:
        """Groups occluders whose positions agree modulo the stride of the fine blocks."""
        stride = [1, 1]
        for block in self.blocks[: self.coarse]:
            for window in (block.window, *([block.pooling] if block.pooling else [])):
                stride = [a * b for a, b in zip(stride, window.stride, strict=True)]
        groups: dict[tuple[int, int], list[int]] = {}
        for member, (y, x) in enumerate(places.tolist()):
            groups.setdefault((y % stride[0], x % stride[1]), []).append(member)
        return [part for group in groups.values() for part in torch.tensor(group).split(AT_ONCE)]

    def _pixel_change(self, places: Tensor, size: int, fill: Tensor) -> Tensor:
        """Returns the change of the pixels, (N, C, size, size)."""
        shape = (size, size)
        d = fill.view(1, -1, 1, 1) - self._at(self.image, places, shape)
        outside = beyond_border(places, shape, (self.image.shape[2], self.image.shape[3]), d.device)
        return d if outside is None else d.masked_fill_(outside, 0)

    def _propagate(
        self,
        block: Block,
        d: Tensor,
        starts: Tensor,
        members: Tensor,
        sums: dict[str, Tensor],
        cut_to_map: bool,
    ) -> tuple[Tensor, Tensor]:
        """Computes the change of a block's output from that of its input.

        Args:
            block: the block.
            d: (N, C, h, w), the changes of its input.
            starts: their first cells, (N, 2) with equal phases, or (1, 2) for all.
            members: int64 (N,), the occluders.
            sums: to which the changes of the read layers are added.
            cut_to_map: whether windows end at the border.

        Returns:
            The changes (N, C', h', w') of the output and their first cells.
        """
        changed = [Span(int(starts[0, axis]), d.shape[2 + axis]) for axis in (0, 1)]
        spans = [block.spans(span, axis, cut_to_map)[:2] for axis, span in enumerate(changed)]
        (touched_y, read_y), (touched_x, read_x) = spans
        if not touched_y.length or not touched_x.length:
            return d[:, :, :0, :0], starts
        w = block.window
        moved = self._convolve_change(block.steps[0], d, starts[0].tolist(), (touched_y, touched_x))
        shift = (starts - starts[0]) // torch.tensor(w.stride)
        starts = torch.tensor([read_y.start, read_x.start]) + shift
        x = self._at(block.sums, starts, (read_y.length, read_x.length))
        y0, x0 = touched_y.start - read_y.start, touched_x.start - read_x.start
        if (touched_y, touched_x) == (read_y, read_x):
            x = moved.add_(x)
        else:
            x = x if len(x) == len(d) else x.expand(len(d), -1, -1, -1).clone()
            x[:, :, y0 : y0 + touched_y.length, x0 : x0 + touched_x.length] += moved
        self._read(block, 0, x, starts, members, sums)
        for number, step in enumerate(block.tail):
            if (window := step.window) is not None:
                if any(x.shape[2 + axis] < window.reach(axis) for axis in (0, 1)):
                    return x[:, :, :0, :0], starts  # no pooling reads what is touched
                missing = beyond_border(starts, x.shape[2:], step.size, x.device)
                x = x if missing is None else x.masked_fill_(missing, -torch.inf)
                starts = (starts + torch.tensor(window.padding)) // torch.tensor(window.stride)
            x = apply_op(step, x, padded=False)
            self._read(block, number + 1, x, starts, members, sums)
        return self._difference(block.out, x, starts), starts

    @staticmethod
    def _convolve_change(
        step: Step, d: Tensor, start: list[int], touched: tuple[Span, Span]
    ) -> Tensor:
        """Computes W*d at the touched cells. Padding with zeros stands for cells where d is 0."""
        w = step.window
        assert w is not None
        paddings, kept = [], []
        for axis, span in enumerate(touched):
            s, length = w.stride[axis], d.shape[2 + axis]
            first = span.start * s - w.padding[axis] - start[axis]  # first cell seen, in d
            behind = first + (span.length - 1) * s + w.reach(axis) - length
            padding = max(-first, behind, 0)
            padding += -(padding + first) % s
            paddings.append(padding)
            kept.append(slice((padding + first) // s, (padding + first) // s + span.length))
        return convolve(step, d, (paddings[0], paddings[1]))[:, :, kept[0], kept[1]]

    @staticmethod
    def _at(whole: Tensor, starts: Tensor, shape: Pair) -> Tensor:
        """Cuts windows out of a clean map (1, C, H, W). Cells beyond its border are masked
        later."""
        return gather_windows(whole, torch.zeros(len(starts), dtype=torch.long), starts, shape)

    def _difference(self, clean: Tensor, x: Tensor, starts: Tensor) -> Tensor:
        """Subtracts a clean map (1, C, H, W) from windows x (N, C, h, w); 0 beyond the border."""
        shape = (x.shape[2], x.shape[3])
        missing = beyond_border(starts, shape, (clean.shape[2], clean.shape[3]), x.device)
        d = x - self._at(clean, starts, shape)
        return d if missing is None else d.masked_fill_(missing, 0)

    def _read(
        self,
        block: Block,
        number: int,
        x: Tensor,
        starts: Tensor,
        members: Tensor,
        sums: dict[str, Tensor],
    ) -> None:
        """Adds the change after a step to the sums of the layers that stand there."""
        for layer, after in self.reads.items():
            if after - 1 == block.first + number:
                clean = block.sums if number == 0 else block.stages[number - 1]
                sums[layer][members] += self._difference(clean, x, starts).sum((2, 3))

    def _region(self, changes: list[Change]) -> tuple[Tensor, Tensor]:
        """Places changes of the coarse blocks' input in one region that contains them all."""
        (top, height), (left, width) = (
            self._hull([change.span(axis) for change in changes], axis) for axis in (0, 1)
        )
        d = self._before.new_zeros(len(changes), self._before.shape[1], height, width)
        d = d.contiguous(memory_format=torch.channels_last)
        for one, change in zip(d, changes, strict=True):
            y, x = change.span(0), change.span(1)
            y0, x0 = max(y.start, top), max(x.start, left)
            y1, x1 = min(y.end, top + height), min(x.end, left + width)
            if y0 < y1 and x0 < x1:
                part = change.d[:, y0 - y.start : y1 - y.start, x0 - x.start : x1 - x.start]
                one[:, y0 - top : y1 - top, x0 - left : x1 - left] = part
        return d, torch.tensor([[top, left]])

    @property
    def _before(self) -> Tensor:
        """The input of the coarse blocks on the clean image."""
        return self.image if self.coarse == 0 else self.blocks[self.coarse - 1].out

    def _hull(self, spans: list[Span], axis: int) -> Span:
        start, end = min(span.start for span in spans), max(span.end for span in spans)
        return Span(start, end - start).within(self._before.shape[2 + axis])

    def _group_by_region(self, changes: list[Change], columns: int) -> list[Tensor]:
        """Groups occluders that share a region: bands of rows crossed with bands of columns."""
        vertical = self._bands([changes[i].span(0) for i in range(0, len(changes), columns)], 0)
        horizontal = self._bands([changes[i].span(1) for i in range(columns)], 1)
        numbers = torch.arange(len(changes)).view(-1, columns)
        return [
            part
            for band in vertical
            for other in horizontal
            for part in numbers[band][:, other].flatten().split(AT_ONCE)
        ]

    def _bands(self, spans: list[Span], axis: int) -> list[slice]:
        """Divides the occluders along an axis into at most BANDS runs, with least
        multiplications."""

        def cost(first: int, last: int) -> float:
            change, total = self._hull(spans[first:last], axis), 0
            for block in self.blocks[self.coarse :]:
                touched, _, change = block.spans(change, axis, cut_to_map=True)
                total += block.cost(touched.length**2)
            return (last - first) * total

        count = len(spans)
        best: list[tuple[float, list[int]]] = [(0.0, [0])] + [(float("inf"), [])] * count
        for _ in range(BANDS):
            best = [
                min(
                    [
                        best[end],
                        *(
                            (best[i][0] + cost(i, end), [*best[i][1], end])
                            for i in range(end)
                            if best[i][1]
                        ),
                    ]
                )
                for end in range(count + 1)
            ]
        return [slice(start, end) for start, end in pairwise(best[count][1])]


def _pool_first(steps: list[Step], reads: dict[str, int]) -> list[Step]:
    """Moves each ReLU after the pooling that follows it, where there are fewer cells.

    The two commute exactly. A ReLU stays where a layer between them is read.
    """
    steps = list(steps)
    for i in range(len(steps) - 1):
        if [step.kind for step in steps[i : i + 2]] == [
            "relu",
            "pool",
        ] and i + 1 not in reads.values():
            steps[i : i + 2] = steps[i + 1], steps[i]
    return steps
