"""Average precision by VOC's rule: by hand, by its definition, and against scikit-learn's."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from torch import Tensor

from zfnet.errors import InputError
from zfnet.probing.average_precision import average_precision


def by_the_rule(scores: list[float], targets: list[int]) -> float:
    """VOCevalcls line by line: for each recall that is reached, the best precision at it or
    beyond."""
    pictures = [
        (score, target) for score, target in zip(scores, targets, strict=True) if target >= 0
    ]
    points = []
    for threshold in sorted({score for score, _ in pictures}, reverse=True):
        taken = [target for score, target in pictures if score >= threshold]
        points.append((sum(taken) / sum(target for _, target in pictures), sum(taken) / len(taken)))
    area, before = 0.0, 0.0
    for recall, _ in points:
        area += (recall - before) * max(
            precision for reached, precision in points if reached >= recall
        )
        before = recall
    return area


def of(scores: list[float], targets: list[int]) -> float:
    # As scikit-learn sees them: 0.1 is no float32.
    exact = torch.tensor(scores, dtype=torch.float64)
    return average_precision(exact, torch.tensor(targets, dtype=torch.int8))


def test_by_hand() -> None:
    """By falling score: yes, no, yes, yes, no: precision 1, 1/2, 2/3, 3/4, 3/5; at recall 2/3 the
    later 3/4 stands above 2/3. The difficult one in front counts for nothing."""
    scores, targets = [0.9, 0.8, 0.7, 0.6, 0.5], [1, 0, 1, 1, 0]
    assert of(scores, targets) == pytest.approx((1 + 3 / 4 + 3 / 4) / 3)
    assert of([1.0, *scores], [-1, *targets]) == of(scores, targets)
    assert average_precision_score(targets, scores) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_equal_scores_come_at_once() -> None:
    """Three equal ones with one that shows the class, in any order: precision 1/3 at recall 1."""
    for targets in ([1, 0, 0], [0, 1, 0], [0, 0, 1]):
        assert of([0.5, 0.5, 0.5], targets) == pytest.approx(1 / 3)


pictures = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1, width=32),
              st.sampled_from([-1, 0, 1])),
    min_size=1, max_size=30,
).filter(lambda pairs: any(target == 1 for _, target in pairs))  # fmt: skip


@given(pictures)
def test_the_rule(pairs: list[tuple[float, int]]) -> None:
    scores, targets = map(list, zip(*pairs, strict=True))
    assert of(scores, targets) == pytest.approx(by_the_rule(scores, targets))


@given(pictures)
def test_never_below_scikit_learn(pairs: list[tuple[float, int]]) -> None:
    """Equal where precision never rises with recall, as with a single picture of the class."""
    scores, targets = map(list, zip(*[pair for pair in pairs if pair[1] >= 0], strict=True))
    assert of(scores, targets) >= average_precision_score(targets, scores) - 1e-12
    single = [int(i == targets.index(1)) for i in range(len(targets))]
    assert of(scores, single) == pytest.approx(average_precision_score(single, scores))


@given(pictures, st.randoms(use_true_random=False))
def test_the_order_of_the_files_decides_nothing(
    pairs: list[tuple[float, int]], random: object
) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = (of(*map(list, zip(*some, strict=True))) for some in (pairs, shuffled))
    assert one == other


def test_a_perfect_ranking_has_one_and_any_score_scale_will_do() -> None:
    scores, targets = torch.arange(6).double(), torch.tensor([0, 0, -1, 1, 1, 1])
    assert average_precision(scores, targets) == 1
    assert average_precision(scores.exp() - 50, targets) == 1


@pytest.mark.parametrize(
    ("scores", "targets"),
    [
        (torch.rand(3), torch.tensor([0, -1, 0])),
        (torch.tensor([0.1, torch.nan]), torch.tensor([1, 0])),
    ],
)
def test_what_has_no_average_precision(scores: Tensor, targets: Tensor) -> None:
    with pytest.raises(InputError, match="average precision"):
        average_precision(scores, targets)
