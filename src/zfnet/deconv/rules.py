"""The rules of the backward pass, one for each kind of layer, and their variants.

relu            deconv     max(R, 0), independent of the forward pass     (the paper, section 2.1)
                guided     max(R, 0) where the unit was active            (Springenberg et al. 2015)
                gradient   R times the derivative                         (Simonyan et al. 2014)
unpool          sum        the exact transpose: windows that share a maximum add up
                overwrite  the last of these windows wins, as in `max_unpool2d`
                center     the middle of the window, whatever the switch
normalization   identity   contrast normalization is ignored; the mean and the deviation of layer,
                           group, instance and root-mean-square norm, and the norm of
                           `F.normalize`, are constant
                gradient   its gradient
seed            activation the unit's activation, if it is positive, otherwise 0
                one        1 if the unit is active, otherwise 0
                forced     1, whether or not the unit is active
others          refuse     gates and attention weights are constant; an operation without a rule is
                           an error
                gradient   the gradient of all these
strict          False      the rules also cover activations like GELU, normalization by statistics
                           of the image, maxima over axes (with unpool="sum"), gates and attention,
                           which the paper's nets do not have
                True       only the paper's rules

The extended rules follow one principle: what multiplies and depends on the image is a switch. It is
recorded on the way up and constant on the way down, as the paper does for max pooling.

>>> import torch
>>> from zfnet.deconv.rules import Rules
>>> signal, active = torch.tensor([-1.0, 2.0]), torch.tensor([True, False])
>>> Rules(relu="guided").backward_relu(signal, active)
tensor([0., 0.])
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from zfnet.errors import InputError

Relu = Literal["deconv", "guided", "gradient"]
CHOICES = {
    "relu": get_args(Relu),
    "unpool": ("sum", "overwrite", "center"),
    "normalization": ("identity", "gradient"),
    "seed": ("activation", "one", "forced"),
    "others": ("refuse", "gradient"),
}
Pair = tuple[int, int]


@dataclass(frozen=True)
class WindowSpec:
    """A sliding window: kernel, stride, padding and dilation, (vertical, horizontal) each."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil: bool = False  # pooling: the last window may reach beyond the border

    def reach(self, axis: int) -> int:
        """Returns the number of cells from the first to the last one in a window."""
        return (self.kernel[axis] - 1) * self.dilation[axis] + 1

    def outputs(self, axis: int, size: int) -> int:
        """Returns the number of windows in a map of `size` cells, unless `ceil`."""
        return (size + 2 * self.padding[axis] - self.reach(axis)) // self.stride[axis] + 1


@dataclass(frozen=True)
class Rules:
    """One choice for each rule.

    Raises:
        InputError: a choice does not exist.
    """

    relu: str = "deconv"
    unpool: str = "sum"
    normalization: str = "identity"
    seed: str = "activation"
    others: str = "refuse"
    strict: bool = False

    def __post_init__(self) -> None:
        if self.unpool == "centre":  # as version 0.1 spelled it
            warnings.warn(
                'unpool="centre" is called "center" now', DeprecationWarning, stacklevel=4
            )
            object.__setattr__(self, "unpool", "center")
        for name, choices in CHOICES.items():
            if (choice := getattr(self, name)) not in choices:
                known = ", ".join(choices)
                raise InputError(
                    f"{name}={choice!r} is no rule of the deconvnet: choose one of {known}"
                )

    @property
    def plain_gradient(self) -> bool:
        """Whether the result is the gradient, without any rule of the deconvnet."""
        return self.relu == self.normalization == self.others == "gradient"

    def initial_signal(self, activation: Tensor) -> Tensor:
        """Returns the signal R at units with these activations."""
        if self.seed == "forced":
            return torch.ones_like(activation)
        return (
            activation.clamp(min=0)
            if self.seed == "activation"
            else (activation > 0).to(activation.dtype)
        )

    def slope(self, rectifier: Callable[[Tensor], Tensor], x: Tensor, out: Tensor) -> Tensor | None:
        """Returns what R is multiplied by below a rectifier, or None for "deconv".

        Args:
            rectifier: the function.
            x: its input.
            out: its output.
        """
        if self.relu == "deconv":
            return None
        if self.relu == "guided" or rectifier is torch.relu:
            return out > 0
        with torch.inference_mode(False), torch.enable_grad():
            inputs = x.detach().clone().requires_grad_()
            return torch.autograd.grad(rectifier(inputs).sum(), inputs)[0]

    def backward_relu(self, r: Tensor, slope: Tensor | None, in_place: bool = False) -> Tensor:
        """Passes R through a rectifier.

        Args:
            r: R above it.
            slope: the result of `slope`.
            in_place: whether R may be overwritten.
        """
        if self.relu != "gradient":
            r = r.clamp_(min=0) if in_place else r.clamp(min=0)
        return r if slope is None else r * slope

    def backward_max_pool(
        self, r: Tensor, switches: Tensor, shape: torch.Size, window: WindowSpec
    ) -> Tensor:
        """Passes R through a max pooling.

        Args:
            r: R (B, C, h, w) above the pooling.
            switches: int64 (B, C, h, w), the positions of the maxima in H * W.
            shape: (B, C, H, W) below the pooling.
            window: its window.
        """
        height, width = shape[-2:]
        if self.unpool == "sum":
            layout = torch.contiguous_format  # with channels last, a GPU adds in no fixed order
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
        if self.unpool == "center":
            y, x = (_centers(window, axis, r.shape[axis - 2], shape[axis - 2]) for axis in (0, 1))
            middle = (y[:, None] * width + x).flatten().to(r.device).expand_as(flat)
            return (
                flat.new_zeros(*shape[:2], height * width).scatter_add(2, middle, flat).view(shape)
            )
        order = torch.arange(flat.shape[2], device=r.device).expand_as(flat)
        last = order.new_full((*shape[:2], height * width), -1)
        # The last window of each cell.
        last = last.scatter_reduce(2, switches.flatten(2), order, "amax")
        return torch.where(last >= 0, flat.gather(2, last.clamp(min=0)), 0).view(shape)


def _centers(window: WindowSpec, axis: int, count: int, size: int) -> Tensor:
    """Returns the middle cell of each window along one axis, clamped to the map."""
    middle = (window.kernel[axis] - 1) // 2 * window.dilation[axis] - window.padding[axis]
    return (torch.arange(count) * window.stride[axis] + middle).clamp(0, size - 1)
