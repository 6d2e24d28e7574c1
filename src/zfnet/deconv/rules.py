"""The deconvnet's rules on the way down, for one layer each, with their variants as named options.

relu            deconv    max(R, 0), not masked by the forward pass               (the paper, section 2.1)
                guided    max(R, 0) where the unit was active                     (Springenberg et al. 2015)
                gradient  R where the unit was active                             (Simonyan et al. 2014)
unpool          sum       the exact transpose: windows that share a maximum add up
                overwrite of those windows the last, in rows, wins                (as max_unpool2d does)
                centre    the middle of the window, whatever the switch           (what the switches add)
normalisation   identity  contrast normalisation is undone by nothing
                gradient  its gradient
seed            activation, or one: what a unit that is active starts with, any other with 0
                forced    every chosen unit starts with its map's value 1, active or not
others          refuse    an operation without a deconvnet is an error; gradient lets its gradient through

rules = Rules(relu="guided")
rules.rectified(R, active), rules.unpooled(R, switches, shape, window)
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from zfnet.errors import InputError

CHOICES = {
    "relu": ("deconv", "guided", "gradient"),
    "unpool": ("sum", "overwrite", "centre"),
    "normalisation": ("identity", "gradient"),
    "seed": ("activation", "one", "forced"),
    "others": ("refuse", "gradient"),
}
Pair = tuple[int, int]


@dataclass(frozen=True)
class WindowSpec:
    """A window that slides over a map: (vertical, horizontal) each."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil: bool = False  # pooling: the last window may hang over the edge

    def reach(self, axis: int) -> int:
        """Cells from the first to the last that one window touches."""
        return (self.kernel[axis] - 1) * self.dilation[axis] + 1


@dataclass(frozen=True)
class Rules:
    """One choice for each rule; InputError names a choice that does not exist."""

    relu: str = "deconv"
    unpool: str = "sum"
    normalisation: str = "identity"
    seed: str = "activation"
    others: str = "refuse"

    def __post_init__(self) -> None:
        for field in fields(self):
            if (choice := getattr(self, field.name)) not in CHOICES[field.name]:
                known = ", ".join(CHOICES[field.name])
                raise InputError(
                    f"{field.name}={choice!r} is no rule of the deconvnet: choose one of {known}"
                )

    def seeded(self, activation: Tensor) -> Tensor:
        """What units of these activations start with."""
        if self.seed == "forced":
            return torch.ones_like(activation)
        return activation.clamp(min=0) if self.seed == "activation" else (activation > 0).to(activation.dtype)

    def rectified(self, r: Tensor, active: Tensor | None) -> Tensor:
        """R below a rectifier; `active` says where its output was above 0 (None: the rule does not ask)."""
        if self.relu != "gradient":
            r = r.clamp(min=0)
        return r if active is None else r * active

    @property
    def asks_for_active(self) -> bool:
        return self.relu != "deconv"

    def unpooled(self, r: Tensor, switches: Tensor, shape: torch.Size, window: WindowSpec) -> Tensor:
        """R (B, C, h, w) above a pooling → below it, `shape` (B, C, H, W); switches are positions in H * W."""
        height, width = shape[-2:]
        if self.unpool == "sum":
            layout = torch.contiguous_format  # a GPU adds in no fixed order where channels come last
            if not r.is_cuda and r.is_contiguous(memory_format=torch.channels_last):
                layout = torch.channels_last
            below = torch.empty(shape, dtype=r.dtype, device=r.device, memory_format=layout)
            geometry = (window.kernel, window.stride, window.padding, window.dilation, window.ceil)
            return torch.ops.aten.max_pool2d_with_indices_backward(
                r.contiguous(memory_format=layout),
                below,
                *geometry,
                switches.contiguous(memory_format=layout),
            )
        flat = r.flatten(2)
        if self.unpool == "centre":
            y, x = (_centres(window, axis, r.shape[axis - 2], shape[axis - 2]) for axis in (0, 1))
            middle = (y[:, None] * width + x).flatten().to(r.device).expand_as(flat)
            return flat.new_zeros(*shape[:2], height * width).scatter_add(2, middle, flat).view(shape)
        order = torch.arange(flat.shape[2], device=r.device).expand_as(flat)
        last = order.new_full((*shape[:2], height * width), -1)
        last = last.scatter_reduce(2, switches.flatten(2), order, "amax")  # the last window of each cell
        return torch.where(last >= 0, flat.gather(2, last.clamp(min=0)), 0).view(shape)


def _centres(window: WindowSpec, axis: int, count: int, size: int) -> Tensor:
    """The middle cell of each window along one axis, within the map."""
    middle = (window.kernel[axis] - 1) // 2 * window.dilation[axis] - window.padding[axis]
    return (torch.arange(count) * window.stride[axis] + middle).clamp(0, size - 1)
