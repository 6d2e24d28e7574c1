"""Filter renormalization (section 3): a filter whose rms exceeds a radius is scaled back to it.

rms(w) = sqrt(mean(w²)) over (in, kh, kw);    rms > radius  →  w ·= radius / rms
"""

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def renormalize_filters(weights: Sequence[Tensor], radius: float) -> list[Tensor]:
    """Scales filters in place so that their rms does not exceed a radius.

    >>> weight = torch.ones(2, 3, 5, 5)
    >>> renormalize_filters([weight], radius=0.1), weight.max()
    ([tensor(2)], tensor(0.1000))

    Args:
        weights: weights of convolutions, each (out, in, kh, kw).
        radius: the largest rms, above 0; 0.1 in the paper.

    Returns:
        For each weight, the number of filters that were scaled, as a tensor on its device.
    """
    clipped = []
    for weight in weights:
        norm = torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True)
        limit = radius * weight[0].numel() ** 0.5
        above = norm > limit
        clipped.append(above.sum())
        if weight.device.type != "cpu" or above.any():  # on a GPU, the test would synchronize
            weight.mul_((limit / norm).clamp_(max=1))
    return clipped
