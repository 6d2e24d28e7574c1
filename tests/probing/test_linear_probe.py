"""The readout against scikit-learn's solvers; the rotation keeps all inner products."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from torch import Tensor
from torch.nn import functional as F

from zfnet.errors import InputError
from zfnet.probing.linear_probe import GramFeatures, choose_C, class_accuracy, fit_linear_probe


def clusters(
    count: int, width: int, classes: int = 4, seed: int = 0, noise: float = 1.5
) -> tuple[Tensor, Tensor]:
    """Features (count, width), not negative, around a centre for each class; labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    return (centres[labels] + noise * torch.randn(count, width, generator=generator)).relu(), labels


def scaled(train: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    scale = 1 / train.norm(dim=1).mean()
    return (train * scale).numpy(), (other * scale).numpy()


@settings(max_examples=30)
@given(
    n=st.integers(2, 30),
    d=st.integers(1, 60),
    seed=st.integers(0, 99),
    twice=st.booleans(),
    dead=st.booleans(),
)
def test_rotated_features_have_the_same_inner_products(
    n: int, d: int, seed: int, twice: bool, dead: bool
) -> None:
    train, _ = clusters(n, d, seed=seed)
    other, _ = clusters(7, d, seed=seed + 1)
    if twice:
        train[-1] = train[0]
    if dead:
        train[: n // 2] = 0
    few = GramFeatures(train)
    assert few.train.shape == (n, min(n, d))
    assert few.train.dtype == torch.float32
    torch.testing.assert_close(few.train @ few.train.T, train @ train.T, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        few.transform(other) @ few.train.T, other @ train.T, rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("strength", [0.01, 1, 100])
@pytest.mark.parametrize("shape", [(60, 300), (200, 40)])
def test_svm_is_linear_svc_and_softmax_logistic_regression(
    strength: float, shape: tuple[int, int]
) -> None:
    train, labels = clusters(*shape)
    other, _ = clusters(500, shape[1], seed=1)
    few, (x, y) = GramFeatures(train), scaled(train, other)
    svm, softmax = (
        fit_linear_probe(few.train, labels, kind, strength).scores(few.transform(other))
        for kind in ("svm", "softmax")
    )
    svc = LinearSVC(C=strength, tol=1e-7, max_iter=10**6).fit(x, labels.numpy())
    margins = torch.from_numpy(svc.decision_function(y)).float()
    torch.testing.assert_close(svm, margins, rtol=0.01, atol=0.02)
    assert (svm.argmax(1) == margins.argmax(1)).double().mean() >= 0.998
    regression = LogisticRegression(C=strength, tol=1e-7, max_iter=10**5).fit(x, labels.numpy())
    probabilities = torch.from_numpy(regression.predict_proba(y)).float()
    torch.testing.assert_close(softmax.softmax(1), probabilities, rtol=0, atol=2e-3)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("strength", [10, 100])
def test_features_that_hardly_differ_are_told_apart_all_the_same(
    seed: int, strength: float
) -> None:
    """As an untrained net's: rounding once drove the softmax's common shift of all scores out of
    bounds."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(300) % 3
    train = torch.rand(1, 40, generator=generator) + 0.02 * torch.randn(
        300, 40, generator=generator
    )
    train[:, :3] += 0.02 * F.one_hot(labels, 3)
    x = scaled(train.double(), train)[0]
    peer = LogisticRegression(C=strength, tol=1e-8, max_iter=10**5).fit(x, labels.numpy())
    probabilities = fit_linear_probe(train, labels, "softmax", strength).scores(train).softmax(1)
    expected = torch.from_numpy(peer.predict_proba(x)).float()
    torch.testing.assert_close(probabilities, expected, rtol=0, atol=1e-5)


def test_sigmoid_is_one_logistic_regression_a_class_of_what_counts() -> None:
    train, labels = clusters(90, 30)
    other, _ = clusters(200, 30, seed=1)
    targets = torch.stack([labels == 0, labels < 2, labels == 3], 1).long()
    targets[::7, 1] = -1
    scores = fit_linear_probe(train, targets, "sigmoid", 3).scores(other)
    x, y = scaled(train, other)
    for column, own in enumerate(targets.T):
        peer = LogisticRegression(C=3, tol=1e-7, max_iter=10**5).fit(x[own >= 0], own[own >= 0])
        torch.testing.assert_close(
            scores[:, column].sigmoid(),
            torch.from_numpy(peer.predict_proba(y)[:, 1]).float(),
            rtol=0,
            atol=2e-3,
        )


def test_a_class_that_no_picture_shows_is_unlikely_and_one_that_none_tells_of_is_even() -> None:
    train, labels = clusters(40, 10)
    targets = torch.stack([labels == 0, torch.zeros(40), -torch.ones(40)], 1).long()
    scores = fit_linear_probe(train, targets, "sigmoid", 1).scores(train)
    assert scores[:, 1].sigmoid().max() < 0.01
    assert torch.equal(scores[:, 2], torch.zeros(40))


def test_the_scale_of_the_features_does_not_matter() -> None:
    train, labels = clusters(50, 80)
    few, many = (
        fit_linear_probe(each, labels, "svm", 1).scores(each) for each in (train, 1000 * train)
    )
    torch.testing.assert_close(few, many, rtol=1e-3, atol=1e-3)


def test_the_strength_is_chosen_on_training_pictures_kept_out() -> None:
    """With features that are mostly noise a weak fit is best; the seed decides which pictures are
    kept out."""
    noisy, labels = clusters(120, 400, noise=6)
    strengths = [100, 0.001, 1.0]
    chosen = choose_C(noisy, labels, "softmax", strengths, seed=0)
    assert chosen in strengths
    test, truth = clusters(2000, 400, seed=5, noise=6)
    quality = {
        c: class_accuracy(fit_linear_probe(noisy, labels, "softmax", c).scores(test), truth)
        for c in strengths
    }
    assert quality[chosen] >= max(quality.values()) - 0.02
    assert choose_C(noisy, labels, "svm", [7]) == 7  # nothing to choose, nothing kept out
    targets = torch.stack([labels == 0, labels == 1], 1).long()
    assert choose_C(noisy, targets, "sigmoid", [0.1, 1]) in (0.1, 1)


def test_class_accuracy_is_the_mean_over_classes() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 2])
    scores = torch.eye(3)[torch.tensor([0, 0, 0, 1, 1, 0])]
    assert class_accuracy(scores, labels) == pytest.approx((3 / 4 + 1 + 0) / 3)


def test_bad_input() -> None:
    train, labels = clusters(8, 5)
    with pytest.raises(
        InputError, match="head='tree' is unknown: choose one of svm, softmax, sigmoid"
    ):
        fit_linear_probe(train, labels, "tree", 1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="C=0: must be above 0"):
        fit_linear_probe(train, labels, "svm", 0)
    with pytest.raises(InputError, match="at least one is needed"):
        choose_C(train, labels, "svm", [])
    with pytest.raises(InputError, match="class 0 has one training image"):
        choose_C(train[:4], labels[:4], "svm", [1, 2])
