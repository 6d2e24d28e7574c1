"""Average precision by PASCAL VOC's rule (since 2010): the area under the monotone curve.

Images are ranked by decreasing score. At each score, precision P = true / (true + false) and recall
R = true / all true:

    AP = Σ (R_n - R_n-1) · max of P_m over m >= n        Table 6; VOC development kit, VOCevalcls

Images with a target of -1 (only "difficult" objects) do not count. Images of equal score are ranked
together, so that the order of the files does not matter. scikit-learn's average_precision_score has
P_n instead of the maximum, and is therefore never larger."""

import torch
from torch import Tensor

from zfnet.errors import InputError


def average_precision(scores: Tensor, targets: Tensor) -> float:
    """The average precision of one class, 0 to 1.

    >>> average_precision(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([1, 0, 1]))
    0.8333333333333333

    Args:
        scores: (N,).
        targets: (N,), 1 shows the class, 0 does not, -1 is not counted.

    Raises:
        InputError: no image shows the class, or a score is not a number.
    """
    counted = targets >= 0
    scores, shows = scores[counted], targets[counted] > 0
    if not shows.any():
        raise InputError("average precision: no image shows the class")
    if scores.isnan().any():
        raise InputError("average precision: a score is not a number")
    scores, order = scores.sort(descending=True)
    true = shows[order].double().cumsum(0)
    last = torch.ones_like(scores, dtype=torch.bool)  # of equal scores
    last[:-1] = scores[1:] != scores[:-1]
    true, ranked = true[last], (torch.nonzero(last)[:, 0] + 1).double()
    best_from_here = (true / ranked).flip(0).cummax(0).values.flip(0)
    steps = true.diff(prepend=true.new_zeros(1)) / true[-1]
    return float(steps @ best_from_here)
