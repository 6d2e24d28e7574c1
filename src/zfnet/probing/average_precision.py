"""Average precision by PASCAL VOC's rule (since 2010): the area under the precision-recall curve made monotone.

Pictures come by falling score; at each score precision P = true / (true + false) and recall R = true / all true:

    AP = Σ (R_n - R_n-1) · max of P_m over m >= n        Table 6; VOC development kit, VOCevalcls

Pictures that show the class only as "difficult" objects count neither as right nor as wrong. Pictures of equal
score come all at once, so that the order of the files decides nothing. scikit-learn's average_precision_score
takes P_n in place of the maximum and is therefore never larger.

    average_precision(scores[:, 3], targets[:, 3])      # of class 3: 0 ... 1
"""

import torch
from torch import Tensor

from zfnet.errors import InputError


def average_precision(scores: Tensor, targets: Tensor) -> float:
    """scores (N,), targets (N,) of 1 (shows the class), 0 (does not) and -1 (not counted).

    Raises InputError without a picture that shows the class, or with a score that is not a number.
    """
    counted = targets >= 0
    scores, shows = scores[counted], targets[counted] > 0
    if not shows.any():
        raise InputError("average precision: no picture shows the class")
    if scores.isnan().any():
        raise InputError("average precision: a score is not a number")
    scores, order = scores.sort(descending=True)
    true = shows[order].double().cumsum(0)
    last = torch.ones_like(scores, dtype=torch.bool)  # of its equals
    last[:-1] = scores[1:] != scores[:-1]
    true, taken = true[last], (torch.nonzero(last)[:, 0] + 1).double()
    best_from_here = (true / taken).flip(0).cummax(0).values.flip(0)
    steps = true.diff(prepend=true.new_zeros(1)) / true[-1]
    return float(steps @ best_from_here)
