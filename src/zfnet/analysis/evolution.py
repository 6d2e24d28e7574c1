"""Feature evolution (Figure 4): the strongest activation of every channel, epoch by epoch.

A channel jumps if another image gives its strongest activation than at the epoch before. The paper
sees such sudden changes, and that lower layers converge first. Example::

    now = find_winners(top, ids, searched=3000, **drawn)    # channels, projections, patches
    find_jumps(now, before)                                 # bool (C,)
    tell_story({1: before, 2: now})                         # the numbers of evolution.json
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zfnet.deconv import Top

RENAMED = {"maps": "channels", "pictures": "projections"}  # in files of version 0.1


@dataclass(frozen=True)
class Winners:
    """The strongest activation of each of the C channels of a layer at one epoch, M of which are
    drawn.

    Attributes:
        ids: of the images that win, C strings.
        values, y, x: the activations and their places, (C,).
        searched: the number of images that were searched.
        channels: the M channels that are drawn.
        projections: float16 (M, 1, C, h, w), each with a largest magnitude of 1.
        patches: uint8 (M, 1, C, h, w), the image patches at the same places.

    Raises:
        ValueError: the parts do not fit together, as in a damaged file.
    """

    ids: list[str]
    values: Tensor
    y: Tensor
    x: Tensor
    searched: int
    channels: Tensor
    projections: Tensor
    patches: Tensor

    def __post_init__(self) -> None:
        count, drawn = len(self.ids), (len(self.channels), 1, *self.projections.shape[2:])
        shapes = dict.fromkeys(("values", "y", "x"), (count,)) | {
            "projections": drawn,
            "patches": drawn,
        }
        for name, shape in shapes.items():
            if (found := tuple(getattr(self, name).shape)) != shape:
                raise ValueError(f"{name} are {found}, not {shape}")
        if not (
            self.values.isfinite().all() and 0 <= self.channels.min() <= self.channels.max() < count
        ):
            raise ValueError("the values or channels are out of range")
        if not (all(isinstance(id_, str) for id_ in self.ids) and type(self.searched) is int):
            raise ValueError("the ids are no strings")


def find_winners(
    top: Top,
    ids: Sequence[str],
    searched: int,
    channels: Tensor,
    projections: Tensor,
    patches: Tensor,
) -> Winners:
    """The winners of a search with k=1.

    Projections are kept at half precision on their own scale, which is a sixteenth of a gray level
    at most.

    Args:
        top: of a layer of C channels.
        ids: of all images.
        searched: how many of them were searched.
        channels: (M,), those to be drawn.
        projections: (M, C, h, w), of their winners.
        patches: (M, C, h, w) in [0, 1], the image patches.
    """
    largest = projections.abs().amax((1, 2, 3), keepdim=True)
    return Winners(
        ids=[ids[index] for index in top.images[:, 0].tolist()],
        values=top.values[:, 0].float(),
        y=top.y[:, 0],
        x=top.x[:, 0],
        searched=searched,
        channels=channels,
        projections=(projections / largest.clamp(min=torch.finfo(torch.float32).tiny)).half()[
            :, None
        ],
        patches=(patches * 255).round().to(torch.uint8)[:, None],
    )


def read_evaluation(content: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Winners]]:
    """The settings and each layer's winners of an evaluation's file, of this version or of 0.1.

    Raises:
        ValueError, KeyError, TypeError: it is damaged.
    """
    settings = {RENAMED.get(key, key): value for key, value in content["settings"].items()}
    found = {layer: content["winners"][layer] for layer in settings["layers"]}
    return settings, {
        layer: Winners(**{RENAMED.get(key, key): value for key, value in winners.items()})
        for layer, winners in found.items()
    }


def find_jumps(now: Winners, before: Winners | None) -> Tensor:
    """Whether another image wins than before, bool (C,). Without an epoch before, no channel
    jumps."""
    if before is None:
        return torch.zeros(len(now.ids), dtype=torch.bool)
    return torch.tensor([a != b for a, b in zip(now.ids, before.ids, strict=True)])


def tell_story(winners: Mapping[int, Winners]) -> list[dict[str, Any]]:
    """For each epoch of a layer, the share of channels that jumped, and the winner of each channel
    that is drawn."""
    story: list[dict[str, Any]] = []
    before: Winners | None = None
    for epoch, now in winners.items():
        drawn = {
            channel: {
                "image": now.ids[channel],
                "y": int(now.y[channel]),
                "x": int(now.x[channel]),
                "value": float(now.values[channel]),
            }
            for channel in now.channels.tolist()
        }
        changed = None if before is None else find_jumps(now, before).double().mean().item()
        story.append({"epoch": epoch, "changed": changed, "maps": drawn})
        before = now
    return story
