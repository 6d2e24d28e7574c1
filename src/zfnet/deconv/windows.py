"""Windows of maps: where the receptive fields of units lie in a chain of layers, and cutting them.

The window of a unit in every lower layer follows from arithmetic. All units of a layer have windows
of the same size, so that many units are computed as one batch. A window may reach beyond the border
of its map.

>>> import torch
>>> from zfnet.deconv.windows import cut
>>> image = torch.arange(9.0).view(1, 1, 3, 3)
>>> cut(image, which=torch.tensor([0]), starts=torch.tensor([[1, -1]]), shape=(2, 2))
tensor([[[[0., 3.],
          [0., 6.]]]])
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from zfnet.deconv.rules import Pair
from zfnet.deconv.steps import Step
from zfnet.deconv.units import Unit


def cut(
    images: Tensor, which: Tensor, starts: Tensor, shape: Sequence[int], fill: float = 0.0
) -> Tensor:
    """Cuts windows out of images.

    Args:
        images: (B, C, H, W).
        which: int64 (N,), the image of each window.
        starts: int64 (N, 2), the first row and column of each window.
        shape: (h, w) of the windows.
        fill: value beyond the border.

    Returns:
        (N, C, h, w).
    """
    windows = gather_windows(images, which, starts, shape)
    outside = beyond_border(starts, shape, (images.shape[2], images.shape[3]), windows.device)
    # in place, because masked_fill with a mask of one channel changes the memory format
    return windows if outside is None else windows.masked_fill_(outside, fill)


def gather_windows(images: Tensor, which: Tensor, starts: Tensor, shape: Sequence[int]) -> Tensor:
    """Cuts windows like `cut`, but repeats the nearest cell beyond the border."""
    height, width = images.shape[2:]
    y = starts[:, 0, None] + torch.arange(shape[0])  # (N, h)
    x = starts[:, 1, None] + torch.arange(shape[1])  # (N, w)
    rows, columns = y.clamp(0, height - 1)[:, :, None], x.clamp(0, width - 1)[:, None, :]
    return images[which[:, None, None], :, rows, columns].permute(0, 3, 1, 2)  # channels last


def beyond_border(
    starts: Tensor, shape: Sequence[int], size: Pair, device: torch.device
) -> Tensor | None:
    """Returns which cells lie beyond a map of `size`, bool (N, 1, h, w); None if none does."""
    ends = starts + torch.tensor(shape)
    if not len(starts) or (int(starts.min()) >= 0 and bool((ends <= torch.tensor(size)).all())):
        return None
    inside = [
        (cells >= 0) & (cells < size[axis])
        for axis in (0, 1)
        for cells in [starts[:, axis, None] + torch.arange(shape[axis])]
    ]
    return ~(inside[0][:, None, :, None] & inside[1][:, None, None, :]).to(device)


def window_shapes(steps: Sequence[Step]) -> list[Pair]:
    """Returns (h, w) of a unit's window before each step of a chain, and after the last."""
    shapes: list[Pair] = [(1, 1)]
    for step in reversed(steps):
        above = shapes[0]
        if (w := step.window) is not None:
            above = tuple((above[a] - 1) * w.stride[a] + w.reach(a) for a in (0, 1))  # type: ignore[assignment]
        shapes.insert(0, above)
    return shapes


def window_starts(steps: Sequence[Step], units: Sequence[Unit]) -> list[Tensor]:
    """Returns where windows start before each step of a chain, and after the last.

    Args:
        steps: from the pixels up.
        units: N units of the last step.

    Returns:
        The first row and column of each window, int64 (N, 2).
    """
    starts = [torch.tensor([(unit.y, unit.x) for unit in units])]
    for step in reversed(steps):
        above = starts[0]
        if (w := step.window) is not None:
            above = above * torch.tensor(w.stride) - torch.tensor(w.padding)
        starts.insert(0, above)
    return starts
